"""Figures with their intervals, and the check that every measurement begins with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from factory_base.errors import DataError
from factory_base.intervals import wilson


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A figure that was estimated from examples.

    Attributes:
        value: The estimate.
        low: Lower end of its 95 % interval.
        high: Upper end of its 95 % interval.
    """

    value: float
    low: float
    high: float


def share(count: int, examples: int) -> Estimate:
    """The share `count / examples`, of at least one example, with its Wilson score interval."""
    low, high = wilson(count, examples)
    return Estimate(value=count / examples, low=low, high=high)


def check_examples(outputs: NDArray[Any], labels: NDArray[Any]) -> None:
    """Check that there is one label for each of at least one output, and that all are numbers.

    Raises:
        DataError: There are no examples, another number of labels than of outputs, or values that are not finite.
    """
    if not len(outputs) or len(outputs) != len(labels):
        raise DataError(
            f"cannot measure {len(outputs)} outputs against {len(labels)} labels; pass one label per output, "
            "at least one"
        )
    for name, values in (("outputs", outputs), ("labels", labels)):
        wrong = int(np.count_nonzero(~np.isfinite(values)))
        if wrong:
            raise DataError(f"{wrong:,} of the {values.size:,} values of the {name} are NaN or infinite; none may be")
