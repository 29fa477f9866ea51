"""The `training` section of a config. Imports no torch."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from model_factory.base.documents import Document


class AugmentConfig(Document):
    """Random changes of training images."""

    flip: bool = False
    """Mirror half of the images left to right. Wrong for digits and text."""
    shift: int = Field(default=4, ge=0)
    """Largest shift in pixels in each direction; the border is reflected."""
    cutout: int = Field(default=0, ge=0)
    """Side in pixels of one grey square per image; 0 for none (DeVries and Taylor, 2017)."""


class TrainingConfig(Document):
    """How to train. Defaults suit small images."""

    epochs: float = Field(gt=0)
    """Passes over the training images."""
    batch_size: int = Field(default=128, ge=2)
    learning_rate: float = Field(default=0.1, gt=0)
    """Peak, for the whole batch."""
    warmup: float = Field(default=0.1, ge=0, lt=1)
    """Share of the steps in which the learning rate rises from 0; afterwards it follows half a cosine."""
    momentum: float = Field(default=0.9, ge=0, lt=1)
    """Of Nesterov's method."""
    weight_decay: float = Field(default=5e-4, ge=0)
    """On convolution and linear weights only."""
    label_smoothing: float = Field(default=0.1, ge=0, lt=1)
    """For the largest network; the others learn from its outputs."""
    clip_norm: float = Field(default=5.0, gt=0)
    """Largest norm of the gradient."""
    largest_only: float = Field(default=0.4, ge=0, lt=1)
    """Share of the steps in which the largest network trains alone."""
    random_subnets: int = Field(default=1, ge=0)
    """Random subnets per step, beside the largest and the smallest."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Of activations and their gradients. bfloat16 pays on CPUs and GPUs that compute in it."""
    augment: AugmentConfig = AugmentConfig()
    save_every: float = Field(default=20.0, gt=0)
    """Seconds between saved states: what a kill loses at most."""
