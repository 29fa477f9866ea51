"""The accuracy predictor: a ridge regression on one-hot choices, fitted to the scored subnets."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from search.scored import Scored
from supernet.space import SearchSpace, SubnetConfig

_PENALTIES = (0.1, 0.3, 1.0, 3.0, 10.0)
"""Half-decade steps. A ridge penalty p shrinks the coefficient of an option that k subnets have to about k / (k + p).
0.1 keeps 91 % of it even if k = 1; 10 halves it if k = 10, typical for one of 3 or 4 options and 40 subnets."""


class AccuracyPredictor:
    """Predicts accuracy as a sum over the choices. The penalty is chosen by leave-one-out error.

    Args:
        space: The search space of the subnets.
        scored: At least two subnets with their accuracy.
    """

    def __init__(self, space: SearchSpace, scored: Sequence[Scored]) -> None:
        from sklearn.linear_model import RidgeCV

        self._space = space
        features = self._features([s.subnet for s in scored])
        self._model = RidgeCV(alphas=_PENALTIES).fit(features, [s.accuracy for s in scored])

    def predict(self, subnets: Sequence[SubnetConfig]) -> NDArray[np.float64]:
        """Predicted held-out accuracy of `subnets`, `(n,)`."""
        return np.asarray(self._model.predict(self._features(subnets)), dtype=np.float64)

    def _features(self, subnets: Sequence[SubnetConfig]) -> NDArray[np.float64]:
        """One-hot features, `(n, total number of options)`; the choices of absent blocks are all zero."""
        rows = [self._one_hot(subnet) for subnet in subnets]
        return np.asarray(rows, dtype=np.float64)

    def _one_hot(self, subnet: SubnetConfig) -> list[float]:
        values = subnet.to_dict()
        return [
            float(self._space.exists(choice, values) and values[choice.name] == option)
            for choice in self._space
            for option in choice.options
        ]
