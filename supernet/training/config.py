"""The `training` section of a config. Imports no torch."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from factory_base.documents import HANDLING, Document
from supernet.data.augmentation_config import AugmentConfig


class TrainingConfig(Document):
    """How to train. Defaults suit small images."""

    epochs: float = Field(gt=0)
    """Passes over the training examples."""
    batch_size: int = Field(default=128, ge=2)
    """Examples of one step, over all workers."""
    micro_batch_size: int | None = Field(default=None, ge=2)
    """Examples that a worker takes at a time, and that batch normalisation sees together; a step adds up the gradients.
    Divides `batch_size`. Set it to bound memory, or to get the same weights from any number of workers; the default is
    a worker's whole share of the batch."""

    optimizer: Literal["sgd", "adamw"] = "sgd"
    """SGD with Nesterov's momentum for convolutional networks, AdamW for transformers."""
    learning_rate: float = Field(default=0.1, gt=0)
    """Peak, for the whole batch. With AdamW about a hundredth of that with SGD."""
    warmup: float = Field(default=0.1, ge=0, lt=1)
    """Share of the steps in which the learning rate rises from 0; afterwards it follows half a cosine."""
    momentum: float = Field(default=0.9, ge=0, lt=1)
    """Of SGD; the first moment's decay of AdamW."""
    weight_decay: float = Field(default=5e-4, ge=0)
    """On weights of two and more axes, not on biases and scales."""
    clip_norm: float = Field(default=5.0, gt=0)
    """Largest norm of a step's gradient."""

    initial_weights: str | None = None
    """A safetensors file with weights of the largest network to start from, relative to the config's folder: a
    checkpoint of ours, or a plain state dict with the same names. Then `largest_only` is usually 0 and the learning
    rate a fifth to a tenth of that from scratch."""
    fresh_parameters: tuple[str, ...] = ()
    """Patterns of parameter names that `initial_weights` leaves fresh, for example `classifier.*` for other classes."""
    sort_by_importance: bool = False
    """Before the first step, put the channels, heads and neurons of `initial_weights` that matter most first, where
    smaller networks keep them. The largest network computes the same as before."""
    importance: Literal["weights", "gradients"] = "gradients"
    """What they are sorted by: how much the loss on 1024 training examples would change without them, to first order
    (Hou et al., 2020), which takes seconds to minutes; or the magnitude of the weights that read them (Cai et al.,
    2020), which needs no classifier and so suits a fresh one."""

    largest_only: float = Field(default=0.4, ge=0, le=1)
    """Share of the steps, at the start, in which the largest network trains alone; 1 trains it and nothing else."""
    random_subnets: int = Field(default=1, ge=0)
    """Random subnets per step, beside the largest and the smallest. One suits small budgets, two long runs."""
    sampler: Literal["uniform", "macs", "coupled"] = "uniform"
    """Where random subnets come from: each choice drawn uniformly (most are then of middle size); stratified, each
    eighth of the range of log MACs as often as any other; or stratified and coupled, so that the choices of one subnet
    are all about as large (CompOFA, Sahni et al., 2021)."""
    label_smoothing: float = Field(default=0.1, ge=0, lt=1)
    """For the largest network; the others learn from its outputs."""
    distillation: Literal["kl", "alpha"] = "kl"
    """What the others minimise towards the teacher: the Kullback-Leibler divergence, or the adaptive alpha-divergence
    of AlphaNet (Wang et al., 2021), which gained on ImageNet and lost on small data."""
    teacher: Literal["largest", "ema"] = "largest"
    """Whose outputs they learn: the largest network's of the same step, or those of the running mean of its weights,
    which costs one more pass of the largest network forward."""
    ema_decay: float = Field(default=0.998, gt=0, lt=1)
    """Of the running mean per step, where `teacher` is `ema`."""
    hard_label_share: float = Field(default=0.0, ge=0, le=1)
    """Weight of the labels, against the teacher, in what the others minimise. About 0.5 helps where the largest network
    fits the training data perfectly, so that its outputs tell no more than the labels."""
    subnet_weight: float = Field(default=1.0, gt=0)
    """Weight of the loss of each network but the largest. Lower favours the large end of the family."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to train; `auto` is a GPU where there is one."""
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    """Of activations and their gradients. bfloat16 pays on CPUs and GPUs that compute in it; float16, with scaled
    gradients, on older GPUs."""
    compile: bool = False
    """Compile the largest and the smallest network with `torch.compile`: needs a C++ compiler, pays on long runs."""

    augment: AugmentConfig = AugmentConfig()
    save_every: Annotated[float, HANDLING] = Field(default=20.0, gt=0)
    """Seconds between saved states: what a kill loses at most."""
    rollbacks: int = Field(default=3, ge=0)
    """How often a run that went astray (a loss or gradient that is not finite, divergence, collapse to chance) goes
    back to its last good state with half the learning rate before it gives up."""

    @model_validator(mode="after")
    def _initial_weights_are_there(self) -> TrainingConfig:
        if self.initial_weights is None and (self.fresh_parameters or self.sort_by_importance):
            key = "fresh_parameters" if self.fresh_parameters else "sort_by_importance"
            raise ValueError(f"{key} is for weights that are brought along; set initial_weights, or remove it")
        return self

    @model_validator(mode="after")
    def _micro_batches_fit(self) -> TrainingConfig:
        if self.micro_batch_size and self.batch_size % self.micro_batch_size:
            raise ValueError(
                f"micro_batch_size {self.micro_batch_size} does not divide batch_size {self.batch_size}; "
                "choose one that does"
            )
        return self
