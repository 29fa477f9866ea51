"""The `finetune` section of a config. Imports no torch."""

from __future__ import annotations

from pydantic import Field

from model_factory.base.documents import Document
from supernet.training_config import TrainingConfig


class FinetuneConfig(Document):
    """How each chosen subnet is trained a little further on its own; what is not named here is as in `training`."""

    epochs: float = Field(default=1.0, gt=0)
    """Passes over the training examples, for each chosen subnet."""
    learning_rate: float | None = Field(default=None, gt=0)
    """Peak; by default a sixth of that of `training`."""
    warmup: float = Field(default=0.1, ge=0, lt=1)
    """Share of the steps in which the learning rate rises from 0; afterwards it follows half a cosine."""
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    """Small networks have no capacity to spare."""

    def recipe(self, training: TrainingConfig) -> TrainingConfig:
        """The training of one subnet on the labels alone."""
        changes = self.model_dump() | {
            "learning_rate": self.learning_rate or training.learning_rate / 6,
            "largest_only": 1.0,
            "sampler": "uniform",
            "teacher": "largest",
            "compile": False,
            "initial_weights": None,
            "fresh_parameters": (),
            "sort_by_importance": False,
        }
        return training.model_copy(update=changes)
