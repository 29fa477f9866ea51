"""The question of a fleet as values: which devices there are, and which models each could run."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetProblem:
    """Classes of devices, and the models to choose among.

    Attributes:
        classes: The name of each class of devices.
        shares: The share of installs of each class, float (classes,), above 0, adding up to 1.
        serves: Whether a model keeps every budget of a class, bool (classes, models).
        values: The metric of each model, float (models,): the same on all devices, for it belongs to the file.
        sizes: What a device downloads for each model, in bytes, int (models,).
    """

    classes: tuple[str, ...]
    shares: NDArray[np.float64]
    serves: NDArray[np.bool_]
    values: NDArray[np.float64]
    sizes: NDArray[np.int64]

    def worth(self, models: NDArray[np.int64]) -> float | None:
        """The mean metric if every class gets the best of `models` that it can run; None if one can run none."""
        return self.mean(models) if len(models) and self.serves[:, models].any(axis=1).all() else None

    def mean(self, models: NDArray[np.int64]) -> float:
        """The mean metric over installs if every class gets the best of `models`, one of which it can run."""
        best = np.where(self.serves[:, models], self.values[models], -np.inf).max(axis=1)
        return float(best @ self.shares)

    def assigned(self, models: NDArray[np.int64]) -> NDArray[np.int64]:
        """The best of `models` that each class can run, as an index, int (classes,)."""
        worths = np.where(self.serves[:, models], self.values[models], -np.inf)
        return np.asarray(models[worths.argmax(axis=1)])


def grouped(problem: FleetProblem) -> FleetProblem:
    """The same question with classes that can run the same models as one; each has the name of its first."""
    packed = np.packbits(problem.serves, axis=1)
    _, first, group = np.unique(packed, axis=0, return_index=True, return_inverse=True)
    return FleetProblem(
        classes=tuple(problem.classes[index] for index in first),
        shares=np.bincount(group.ravel(), weights=problem.shares, minlength=len(first)).astype(np.float64),
        serves=problem.serves[first],
        values=problem.values,
        sizes=problem.sizes,
    )


def undominated(problem: FleetProblem) -> NDArray[np.int64]:
    """The models that no other one makes superfluous, as indices, the best first.

    A model is superfluous if another is as good, is no larger, and runs on every class that it runs on.
    """
    order = np.lexsort((np.arange(len(problem.values)), problem.sizes, -problem.values))
    serves = problem.serves.astype(np.float32)
    kept: list[int] = []
    for model in order:
        runs = serves[:, model]
        smaller = [other for other in kept if problem.sizes[other] <= problem.sizes[model]]
        if not runs.any() or (smaller and bool((runs @ serves[:, smaller] == runs.sum()).any())):
            continue
        kept.append(int(model))
    return np.array(kept, dtype=np.int64)
