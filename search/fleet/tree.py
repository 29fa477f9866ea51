"""The integer program of a fleet over the tree of its classes' models, for `search.fleet.program`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from search.fleet.problem import FleetProblem

_ROOT = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """Every class is a path from the root: its models, the best first. Classes with the same best models share a part.

    Attributes:
        parent: The node before each node, `_ROOT` before a first one, int (nodes,).
        model: The model of each node, int (nodes,).
        cost: What is lost over all classes if neither the model of the node nor one before it is chosen, (nodes,).
        last: Whether a class has no further model, so that one on the path must be chosen, bool (nodes,).
        most: What the fleet reaches if every class gets its best model.
    """

    parent: NDArray[np.int64]
    model: NDArray[np.int64]
    cost: NDArray[np.float64]
    last: NDArray[np.bool_]
    most: float


def tree_of(problem: FleetProblem) -> Tree:
    """The tree of the classes of a problem, each of which can run a model."""
    order = np.argsort(-problem.values, kind="stable")
    nodes: dict[tuple[int, int], int] = {}
    costs: list[float] = []
    last: list[int] = []
    most = 0.0
    for share, serves in zip(problem.shares, problem.serves, strict=True):
        models = order[serves[order]]
        values = problem.values[models]
        most += share * values[0]
        losses = share * (values - np.append(values[1:], values[-1]))
        at = _ROOT
        for model, loss in zip(models.tolist(), losses.tolist(), strict=True):
            node = nodes.setdefault((at, model), len(nodes))
            if node == len(costs):
                costs.append(0.0)
            costs[node] += loss
            at = node
        last.append(at)
    parent, model = np.array(list(nodes), dtype=np.int64).T
    ends = np.zeros(len(nodes), dtype=bool)
    ends[last] = True
    return Tree(parent=parent, model=model, cost=np.array(costs), last=ends, most=float(most))


def solve_tree(
    problem: FleetProblem, most: int, download: int | None, seconds: float
) -> tuple[NDArray[np.int64], float] | None:
    """The best models for a problem, and a bound on what any choice reaches.

    Args:
        problem: The problem.
        most: The most models.
        download: The most bytes of all models together; None for no limit.
        seconds: The time limit of the solver.

    Returns:
        The indices of the models that the solver found and the bound; None if no choice serves every class.
    """
    from scipy.optimize import Bounds, milp

    tree, count = tree_of(problem), len(problem.values)
    nodes = len(tree.parent)
    # A node in which a class ends is 0, so one of the models on its path is chosen.
    upper = np.concatenate([np.ones(count), np.where(tree.last, 0.0, 1.0)])
    solved = milp(
        np.concatenate([np.zeros(count), tree.cost]),
        integrality=np.concatenate([np.ones(count), np.zeros(nodes)]),
        bounds=Bounds(np.zeros(count + nodes), upper),
        constraints=_constraints(problem, tree, most, download),
        options={"time_limit": seconds, "mip_rel_gap": 0.0},
    )
    if solved.status == 2:
        return None
    bound = tree.most - (solved.mip_dual_bound if solved.mip_dual_bound is not None else 0.0)
    chosen = np.flatnonzero(solved.x[:count] > 0.5) if solved.x is not None else np.empty(0, dtype=np.int64)
    return chosen.astype(np.int64), float(bound)


def _constraints(problem: FleetProblem, tree: Tree, most: int, download: int | None) -> list[object]:
    """A node is 1 unless its model is chosen or its parent is 0; at most so many models, and bytes."""
    from scipy.optimize import LinearConstraint
    from scipy.sparse import csr_array

    count, nodes = len(problem.values), len(tree.parent)
    rows, inner = np.arange(nodes), np.flatnonzero(tree.parent != _ROOT)
    matrix = csr_array(
        (
            np.concatenate([np.ones(nodes), np.ones(nodes), -np.ones(len(inner))]),
            (
                np.concatenate([rows, rows, inner]),
                np.concatenate([count + rows, tree.model, count + tree.parent[inner]]),
            ),
        ),
        shape=(nodes, count + nodes),
    )
    least = np.where(tree.parent == _ROOT, 1.0, 0.0)
    limits: list[object] = [LinearConstraint(matrix, lb=least)]
    padding = np.zeros(nodes)
    limits.append(LinearConstraint(np.concatenate([np.ones(count), padding]), ub=most))
    if download is not None:
        limits.append(LinearConstraint(np.concatenate([problem.sizes, padding]), ub=download))
    return limits
