"""Good choices of models in little time: what the exact program starts from, and what it is compared with."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from search.fleet.problem import FleetProblem


def greedy_models(problem: FleetProblem, most: int, download: int | None = None) -> NDArray[np.int64]:
    """Models that are added one by one, each time the one that gains most.

    Args:
        problem: The question.
        most: The most models.
        download: The most bytes of all models together; None for no limit.

    Returns:
        The indices of at most `most` models. They need not serve every class.
    """
    worths, chosen = _worths(problem), np.empty(0, dtype=np.int64)
    best = np.full(len(problem.shares), _unserved(problem))
    for _ in range(most):
        gains = np.maximum(worths, best[:, None]).T @ problem.shares
        gains[~_affordable(problem, chosen, download)] = -np.inf
        model = int(gains.argmax())
        if not np.isfinite(gains[model]) or gains[model] <= best @ problem.shares:
            break
        chosen = np.append(chosen, model)
        best = np.maximum(best, worths[:, model])
    return chosen


def improved_models(problem: FleetProblem, models: NDArray[np.int64], download: int | None = None) -> NDArray[np.int64]:
    """`models` after exchanging one of them for another as long as that gains something (Teitz and Bart, 1968)."""
    worths, chosen = _worths(problem), models.copy()
    value = float(worths[:, chosen].max(axis=1) @ problem.shares) if len(chosen) else -np.inf
    improved = True
    while improved:
        improved = False
        for place in range(len(chosen)):
            others = np.delete(chosen, place)
            kept = worths[:, others].max(axis=1, initial=_unserved(problem))
            gains = np.maximum(worths, kept[:, None]).T @ problem.shares
            gains[~_affordable(problem, others, download)] = -np.inf
            model = int(gains.argmax())
            if gains[model] > value + 1e-12:
                chosen[place], value, improved = model, float(gains[model]), True
    return chosen


def _worths(problem: FleetProblem) -> NDArray[np.float64]:
    """What each model is worth to each class, (classes, models): far less than any model if it does not run there."""
    return np.where(problem.serves, problem.values, _unserved(problem))


def _unserved(problem: FleetProblem) -> float:
    low, high = float(problem.values.min()), float(problem.values.max())
    return low - 10 * (high - low + 1)


def _affordable(problem: FleetProblem, chosen: NDArray[np.int64], download: int | None) -> NDArray[np.bool_]:
    """The models that can be added to `chosen` within the limit on bytes."""
    free = np.ones(len(problem.values), dtype=bool)
    free[chosen] = False
    return free if download is None else free & (problem.sizes + problem.sizes[chosen].sum() <= download)
