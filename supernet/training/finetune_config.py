"""The `finetune` section of a config. Imports no torch."""

from __future__ import annotations

from pydantic import Field

from factory_base.documents import Document
from supernet.training.config import TrainingConfig


class FinetuneConfig(Document):
    """How each chosen subnet is trained a little further on its own; what is not named here is as in `training`."""

    epochs: float = Field(default=1.0, gt=0)
    """Passes over the training examples, for each chosen subnet."""
    learning_rate: float | None = Field(default=None, gt=0)
    """Peak; by default a sixth of that of `training`."""
    warmup: float = Field(default=0.1, ge=0, lt=1)
    """Share of the steps in which the learning rate rises from 0; afterwards it follows half a cosine."""
    batch_size: int | None = Field(default=None, ge=2)
    """Examples of one step; by default as in `training`. A build is one process: after a training on many GPUs set it,
    or `micro_batch_size`, to what one of them holds."""
    micro_batch_size: int | None = Field(default=None, ge=2)
    """Examples at a time; divides the batch size. By default as in `training` where `batch_size` is, too."""
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    """Small networks have no capacity to spare."""

    def recipe(self, training: TrainingConfig) -> TrainingConfig:
        """The training of one subnet on the labels alone. Raises `ValueError` where the micro-batches do not fit."""
        changes = self.model_dump(exclude_none=True) | {
            "learning_rate": self.learning_rate or training.learning_rate / 6,
            "micro_batch_size": self.micro_batch_size or (None if self.batch_size else training.micro_batch_size),
            "largest_only": 1.0,
            "sampler": "uniform",
            "teacher": "largest",
            "compile": False,
            "initial_weights": None,
            "fresh_parameters": (),
            "sort_by_importance": False,
        }
        return TrainingConfig.model_validate(training.model_dump() | changes)
