"""The `finetune` section of a config. Imports no torch."""

from __future__ import annotations

from pydantic import Field

from factory_base.documents import Document
from supernet.training.config import TrainingConfig

_PEAK_DIVISOR = 6
"""Peak learning rate of `training` over that of fine-tuning. With 0.3 in `training`, 0.05 was about the best of 0.025
to 0.2 on CIFAR-10 (benchmarks/README.md)."""

_QUANTISED_PEAK_DIVISOR = 30
"""As `_PEAK_DIVISOR`, for fine-tuning for an int8 file, whose rounding noise a high rate would only add to."""


class FinetuneConfig(Document):
    """How each chosen subnet is trained a little further on its own. All other settings are those of `training`."""

    epochs: float = Field(default=1.0, gt=0, le=1_000_000_000)
    """Passes over the training examples, for each chosen subnet."""
    learning_rate: float | None = Field(default=None, gt=0, le=1000)
    """Peak learning rate; by default a sixth of that in `training`."""
    warmup: float = Field(default=0.1, ge=0, lt=1)
    """Share of the steps in which the learning rate rises from 0; afterwards it follows half a cosine."""
    batch_size: int | None = Field(default=None, ge=2, le=1_000_000)
    """Examples in one step; by default as in `training`. A build is a single process: after training on many GPUs, set
    this or `micro_batch_size` to what fits on one GPU."""
    micro_batch_size: int | None = Field(default=None, ge=2, le=1_000_000)
    """Examples that are processed at a time; it must divide the batch size. By default it is that of `training` if
    `batch_size` is, too, else the batch size."""
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    """Label smoothing. The default is none, because small networks have no capacity to spare."""

    def recipe(self, training: TrainingConfig) -> TrainingConfig:
        """How to train one subnet on the labels alone.

        Args:
            training: The config that the supernet was trained with.

        Raises:
            ValueError: The micro-batches do not divide the batch.
        """
        changes = self.model_dump(exclude_none=True) | {
            "learning_rate": self.learning_rate or training.learning_rate / _PEAK_DIVISOR,
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


class QuantisedFinetuneConfig(Document):
    """How a chosen subnet is trained a little further for its int8 file, if the file loses too much accuracy.

    All other settings are those of `training`.
    """

    epochs: float = Field(default=0.5, ge=0, le=1_000_000_000)
    """Passes over the training examples, for each such subnet; 0 for no such fine-tuning."""
    learning_rate: float | None = Field(default=None, gt=0, le=1000)
    """Peak learning rate; by default a thirtieth of that in `training`."""

    def recipe(self, training: TrainingConfig) -> TrainingConfig:
        """How to train one subnet, in float32: bfloat16 is coarser than the steps of 8-bit integers."""
        rate = self.learning_rate or training.learning_rate / _QUANTISED_PEAK_DIVISOR
        plain = FinetuneConfig(epochs=self.epochs, learning_rate=rate).recipe(training)
        return plain.model_copy(update={"precision": "float32"})
