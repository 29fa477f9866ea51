"""The protocol of a model space: a search space, and how to build an ordinary network for any of its subnets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

from supernet.space import SearchSpace, SubnetConfig

if TYPE_CHECKING:
    from torch import nn

    from supernet.data.image_form import ImageForm


class ModelSpace(Protocol):
    """Everything that the factory needs to know about an architecture.

    A class with these members is a model space; it does not inherit from this one. The networks are plain PyTorch.

    >>> from torch import nn
    >>> from supernet import Choice, ModelSpace, SearchSpace
    >>> class TinySpace:
    ...     space = SearchSpace((Choice(name="width", options=(8, 16)), Choice(name="size", options=(24, 32))))
    ...     def build(self, subnet):
    ...         conv = nn.Conv2d(3, subnet["width"], 3, stride=2)
    ...         pool = nn.Sequential(nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    ...         return nn.Sequential(conv, pool, nn.Linear(subnet["width"], 10))
    ...     def input_shape(self, subnet):
    ...         return (3, subnet["size"], subnet["size"])
    >>> model_space: ModelSpace = TinySpace()
    >>> model_space.build(model_space.space.smallest)[-1]
    Linear(in_features=8, out_features=10, bias=True)
    """

    @property
    def space(self) -> SearchSpace:
        """The named choices."""

    def build(self, subnet: SubnetConfig) -> nn.Module:
        """An ordinary static network with fresh weights, `(batch, *input_shape(subnet)) -> (batch, classes)`.

        A parameter name must mean the same thing in every subnet.
        """

    def input_shape(self, subnet: SubnetConfig) -> tuple[int, ...]:
        """The shape of one input, without the batch: `(channels, height, width)` for images, `(length,)` for texts."""


@runtime_checkable
class TokenModelSpace(ModelSpace, Protocol):
    """A model space whose inputs are texts as tokens: int64 `(batch, length)`."""

    @property
    def vocabulary(self) -> int:
        """Number of different tokens: all are below it."""

    @property
    def padding(self) -> int | None:
        """The token after the end of a text, which networks ignore; None if they know none."""


def takes_tokens(model_space: ModelSpace) -> bool:
    """Whether the inputs are tokens: an input with a single axis is a text."""
    return len(model_space.input_shape(model_space.space.largest)) == 1


@runtime_checkable
class ImageModelSpace(Protocol):
    """A model space whose networks can take images of other channels and proportions than square ones in colour."""

    def for_images(self, images: ImageForm) -> ModelSpace:
        """The same choices for images of this form: a resolution is the number of rows of an input."""


def space_name(model_space: ModelSpace) -> str:
    """The name of a model space for messages: the import path of a user's own, else its class."""
    return str(getattr(model_space, "import_path", type(model_space).__name__))
