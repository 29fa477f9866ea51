"""Regression: one or several numbers for each example."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from factory_base.errors import DataError
from supernet.data.types import LabelKind, Labels
from supernet.spaces.config import InputKind
from supernet.tasks.config import RegressionConfig
from supernet.tasks.task import Distillation, Outputs, Published, weighted_mean

if TYPE_CHECKING:
    from torch import Tensor

_SAME = 0.01
"""Two answers count as the same if no value differs by more than this share of its standard deviation: far less than
the error of any network that is worth shipping, and more than what float32 rounds off."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Regression:
    """One or several numbers for each example. See `supernet.tasks.task.Task`.

    The outputs are standardised: an output of 0 is the mean of the training labels, and 1 is a standard deviation more.

    >>> import numpy as np
    >>> from supernet.tasks import Regression
    >>> ages = np.array([[20.0], [40.0], [60.0]], dtype=np.float32)
    >>> task = Regression.of(("age",), ages)
    >>> task.predictions(np.array([[0.0]]))
    array([[40.]], dtype=float32)

    Attributes:
        names: The name of each value.
        mean: The mean of each value over the training labels.
        std: The standard deviation of each value over the training labels, above 0.
    """

    names: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @staticmethod
    def of(names: tuple[str, ...], labels: Labels) -> Regression:
        """The task for these training labels, float32 (n, values).

        Raises:
            DataError: A value is the same in all training labels.
        """
        mean, std = labels.mean(axis=0, dtype=np.float64), labels.std(axis=0, dtype=np.float64)
        constant = [name for name, one in zip(names, std, strict=True) if not one > 0]
        if constant:
            raise DataError(f"the value {constant[0]!r} is the same in all training labels; leave it out")
        return Regression(names=names, mean=tuple(mean.tolist()), std=tuple(std.tolist()))

    @property
    def name(self) -> str:
        """See `Task`."""
        return "regression"

    @property
    def labels(self) -> LabelKind:
        """See `Task`."""
        return "values"

    @property
    def inputs(self) -> InputKind:
        """See `Task`."""
        return "images"

    @property
    def metrics(self) -> tuple[str, ...]:
        """The explained share of the variance."""
        return RegressionConfig().metrics

    def loss(
        self,
        outputs: Tensor,
        labels: Tensor,
        weights: Tensor | None = None,
        smoothing: float = 0.0,  # noqa: ARG002 - there are no classes between which to share
    ) -> Tensor:
        """Half the squared error of the standardised values, added up. See `Task`."""
        mean, std = (outputs.new_tensor(value) for value in (self.mean, self.std))
        return _half_squares(outputs, (labels.to(outputs.dtype) - mean) / std, weights)

    def teach(self, outputs: Tensor) -> Tensor:
        """The outputs themselves."""
        return outputs

    def distillation(
        self,
        outputs: Tensor,
        target: Tensor,
        kind: Distillation = "kl",  # noqa: ARG002 - a config that asks for another is refused
        weights: Tensor | None = None,
    ) -> Tensor:
        """Half the squared difference from the teacher, which is the divergence of two Gaussians. See `Task`."""
        return _half_squares(outputs, target, weights)

    def scores(
        self,
        outputs: Outputs,
        labels: Labels,
        metric: str,  # noqa: ARG002 - there is one
        population: Labels,
    ) -> NDArray[np.float64]:
        """1 less the squared error as a share of the variance, the mean over the values. See `Task`."""
        variance = np.maximum(population.var(axis=0, dtype=np.float64), np.finfo(np.float32).tiny)
        errors = self._restored(outputs) - labels
        return np.asarray(1 - (errors**2 / variance).mean(axis=1), dtype=np.float64)

    def baseline(self, labels: Labels, metric: str) -> float:  # noqa: ARG002 - the same for all labels
        """What always answering the mean of the labels reaches. See `Task`."""
        return 0.0

    def predictions(self, outputs: Outputs) -> Labels:
        """The values in the unit of the labels, float32 (n, outputs)."""
        return np.asarray(self._restored(outputs), dtype=np.float32)

    def same(self, a: Outputs, b: Outputs) -> NDArray[np.bool_]:
        """Whether no value differs by more than a hundredth of its standard deviation. See `Task`."""
        return np.asarray((np.abs(a - b) <= _SAME).all(axis=1))

    def published(self) -> Published:
        """See `Task`."""
        return Published(kind="values", names=self.names, scale=self.std, offset=self.mean)

    def _restored(self, outputs: Outputs) -> NDArray[np.float64]:
        return np.asarray(np.asarray(outputs, dtype=np.float64) * self.std + self.mean)


def _half_squares(outputs: Tensor, target: Tensor, weights: Tensor | None) -> Tensor:
    return weighted_mean((outputs - target).square().sum(1) / 2, weights)
