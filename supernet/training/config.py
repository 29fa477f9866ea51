"""The `training` section of a config. Imports no torch."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from factory_base.documents import ADDED, HANDLING, Document
from supernet.data.augmentation_config import AugmentConfig

Balancing = Literal["none", "class_weights", "balanced_sampling", "logit_adjustment"]
"""What a training run does about classes of unequal size."""

Imbalance = Literal[Balancing, "auto"]
"""The values of `training.imbalance`."""


class TrainingConfig(Document):
    """How to train. The defaults are a usual recipe for small images, such as CIFAR-10.

    Limits on numbers only catch typing errors.
    """

    epochs: float = Field(ge=0, le=1_000_000_000)
    """Passes over the training examples; 0 searches initial weights as they are, which must be trained."""
    batch_size: int = Field(default=128, ge=2, le=1_000_000)
    """Examples in one step, over all workers."""
    micro_batch_size: int | None = Field(default=None, ge=2, le=1_000_000)
    """Examples that a worker processes at a time, and over which batch normalisation takes its statistics. A step adds
    up their gradients. It must divide `batch_size`. Set it to bound memory, or to get the same weights from any number
    of workers. The default is a worker's whole share of the batch."""

    optimizer: Literal["sgd", "adamw"] = "sgd"
    """SGD with Nesterov momentum for convolutional networks, AdamW for transformers."""
    learning_rate: float = Field(default=0.1, gt=0, le=1000)
    """Peak learning rate, for the whole batch. AdamW needs about a hundredth of the rate of SGD."""
    warmup: float = Field(default=0.1, ge=0, lt=1)
    """Share of the steps in which the learning rate rises from 0; afterwards it follows half a cosine."""
    momentum: float = Field(default=0.9, ge=0, lt=1)
    """Momentum of SGD, or the decay of AdamW's first moment."""
    weight_decay: float = Field(default=5e-4, ge=0, le=100)
    """Weight decay, applied to parameters with two or more axes, not to biases and scales."""
    clip_norm: float = Field(default=5.0, gt=0, le=1_000_000)
    """Largest norm of a step's gradient; larger gradients are scaled down to it."""

    initial_weights: str | None = None
    """A safetensors file with weights of the largest network to start from, relative to the config's folder: a
    checkpoint of this package, or a plain state dict with the same names. Usually `largest_only` is then 0, and the
    learning rate is a fifth to a tenth of the rate for training from scratch."""
    fresh_parameters: tuple[str, ...] = ()
    """Patterns of parameter names that are not taken from `initial_weights`, for example `classifier.*` if the classes
    differ."""
    keep_statistics: Annotated[bool, ADDED] = True
    """Whether the statistics of batch normalisation that come with initial weights keep their effect: scales and shifts
    are changed once, so that the largest network computes with the statistics of these data what it computed with those
    in the file. It matters if the data look different from what the weights were trained on. No effect if the file has
    no statistics."""
    probe: Annotated[bool | Literal["auto"], ADDED] = "auto"
    """Whether a fresh head is fitted to the features of the initial weights before training, instead of starting from
    random weights: a linear probe, which takes seconds to minutes. `auto`: if the head is fresh and a linear layer;
    `true` is an error if it is not."""
    backbone_rate: Annotated[float, ADDED] = Field(default=1.0, gt=0, le=1)
    """Learning rate of everything but the head, relative to `learning_rate`. Below 1, pretrained features change less
    than the head."""
    sort_by_importance: bool = False
    """Whether to reorder the channels, heads and neurons of `initial_weights` before the first step, so that the most
    important ones come first, where smaller networks keep them. The largest network computes the same as before."""
    importance: Literal["weights", "gradients"] = "gradients"
    """What they are sorted by. `gradients`: how much the loss on 1024 training examples would change without them, to
    first order (Hou et al., 2020), which takes seconds to minutes. `weights`: the magnitude of the weights that read
    them (Cai et al., 2020), which does not depend on the classifier, so that it suits a fresh one."""

    largest_only: float = Field(default=0.4, ge=0, le=1)
    """Share of the steps, at the start, in which the largest network trains alone (DepS, Annavajjala et al., 2024,
    takes up to half). With 1 it is the only network that is trained."""
    random_subnets: int = Field(default=1, ge=0, le=64)
    """Random subnets per step, beside the largest and the smallest. One suits small budgets, two suit long runs."""
    sampler: Literal["uniform", "macs", "coupled"] = "uniform"
    """How random subnets are drawn. `uniform`: every choice uniformly, which gives mostly subnets of medium size.
    `macs`: stratified, every eighth of the range of log MACs as often as any other. `coupled`: stratified, and the
    choices of one subnet are about equally large (after CompOFA, Sahni et al., 2021)."""
    label_smoothing: float = Field(default=0.1, ge=0, lt=1)
    """Label smoothing for the largest network. The other networks learn from its outputs."""
    distillation: Literal["kl", "alpha"] = "kl"
    """What the other networks minimise towards the teacher. `kl`: the Kullback-Leibler divergence. `alpha`: the
    adaptive alpha-divergence of AlphaNet (Wang et al., 2021), which was better on ImageNet and worse on small data."""
    teacher: Literal["largest", "ema"] = "largest"
    """Whose outputs the other networks learn. `largest`: those of the largest network in the same step. `ema`: those of
    the exponential moving average of its weights, which costs one more forward pass of the largest network."""
    ema_decay: float = Field(default=0.998, gt=0, lt=1)
    """Decay per step of the moving average, if `teacher` is `ema`. The default averages over about 500 steps."""
    hard_label_share: float = Field(default=0.0, ge=0, le=1)
    """Weight of the labels, against the teacher, in the loss of the other networks. About 0.5 helps if the largest
    network fits the training data perfectly, because its outputs then say no more than the labels."""
    subnet_weight: float = Field(default=1.0, gt=0, le=1000)
    """Weight of the loss of each network other than the largest. A lower weight favours the large end of the family."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to train; `auto` takes a GPU if there is one."""
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    """Precision of activations and their gradients. bfloat16 is faster on CPUs and GPUs that support it in hardware;
    float16, with scaled gradients, is faster on older GPUs."""
    compile: bool = False
    """Whether to compile the largest and the smallest network with `torch.compile`. It needs a C++ compiler, and is
    worthwhile for long runs."""

    imbalance: Annotated[Imbalance, ADDED] = "none"
    """What to do about classes with very different numbers of training examples, of which networks tend to ignore the
    rare ones. `class_weights`: the loss of an example is divided by the share of its class. `balanced_sampling`: each
    class is drawn equally often, so that examples of rare classes are repeated. `logit_adjustment`: the loss adds the
    logarithm of each class's share to its logit (Menon et al., 2021), so that the network itself ranks classes as if
    all were equally frequent. `auto`: one of them that suits the numbers; the plan says which. All of them raise the
    recall of rare classes at some cost in accuracy on frequent ones."""

    augment: AugmentConfig = AugmentConfig()
    """Random changes of the training images."""
    save_every: Annotated[float, HANDLING] = Field(default=20.0, gt=0, le=1_000_000)
    """Seconds between saved states, which is the most that a killed run loses."""
    rollbacks: int = Field(default=3, ge=0, le=1000)
    """How often a run that diverged (a loss or gradient that is not finite, a loss far above its lowest, an accuracy
    that falls back to chance, by more than the noise of the held-out images) returns to its last good state with half
    the learning rate before it gives up."""

    @model_validator(mode="after")
    def _micro_batches_fit(self) -> TrainingConfig:
        if self.micro_batch_size and self.batch_size % self.micro_batch_size:
            raise ValueError(
                f"micro_batch_size {self.micro_batch_size} does not divide batch_size {self.batch_size}; "
                "choose one that does"
            )
        return self
