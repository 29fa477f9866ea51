"""Accuracy predictors: a ridge regression on one-hot choices, fitted to the scored subnets."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from search.archive import Scored
from supernet.space import SearchSpace, SubnetConfig

_PENALTIES = (0.1, 0.3, 1.0, 3.0, 10.0)


class AccuracyPredictor:
    """Additive in the choices; the penalty is chosen by leave-one-out error.

    Args:
        space: of the subnets.
        scored: at least two subnets with their accuracy.
    """

    def __init__(self, space: SearchSpace, scored: Sequence[Scored]) -> None:
        from sklearn.linear_model import RidgeCV

        self._space = space
        features = self._features([s.subnet for s in scored])
        self._model = RidgeCV(alphas=_PENALTIES).fit(features, [s.accuracy for s in scored])

    def predict(self, subnets: Sequence[SubnetConfig]) -> NDArray[np.float64]:
        """Predicted held-out accuracy (n,) of `subnets`."""
        return np.asarray(self._model.predict(self._features(subnets)), dtype=np.float64)

    def _features(self, subnets: Sequence[SubnetConfig]) -> NDArray[np.float64]:
        """(n, total number of options): one-hot; the choices of absent blocks are all zero."""
        rows = [self._one_hot(subnet) for subnet in subnets]
        return np.asarray(rows, dtype=np.float64)

    def _one_hot(self, subnet: SubnetConfig) -> list[float]:
        values = subnet.to_dict()
        return [
            float(self._space.exists(choice, values) and values[choice.name] == option)
            for choice in self._space
            for option in choice.options
        ]
