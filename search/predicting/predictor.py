"""Accuracy predictors: one that a solver can maximise exactly, and a richer one on top of it.

The first is a Bayesian linear model. Every option of a choice that exists adds a value, which may change with the level
of a choice that concerns the whole network, such as the resolution. The values of one choice lean towards a line, the
lines of choices of one kind or of one stage lean towards each other, and MACs add a concave curve. How much so is found
from the scores, by their marginal likelihood. The second model adds a Gaussian process over few coordinates, so that
choices may interact.

All scores come from the same held-out images, so their noise is correlated: images that are hard for all subnets move
all scores together. Its covariance is estimated image by image, and only the rest is left for the models to explain.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from device_profiles.workload.workloads import Workloads
from search.objective import Objective
from search.predicting.features import Array, EffectGroup, Features
from search.predicting.gaussian_process import GaussianProcess, Kernel
from search.predicting.noise import noise_covariance
from search.predicting.prediction_errors import PredictorErrors
from search.scored import Scored
from supernet.space import SearchSpace

_LENGTHS = (0.5, 1.0)
"""Length scales of the Gaussian process, as multiples of the median distance between scored subnets."""
_TYPICAL_INTERACTION = 0.2
_TYPICAL_MISFIT = 0.15
"""Most likely scales of interactions and of what no feature explains, as `EffectGroup.typical`. The scores decide
unless they are few."""
_REDRAWS = 20
"""Most draws of weights until no curve bends upwards."""
_BAND = 0.1
"""Subnets whose MACs differ by at most this share have similar MACs, as in `PredictorErrors.tau_band`."""


class AccuracyPredictor:
    """Predicts the accuracy of subnets from those that were scored.

    >>> import numpy as np
    >>> from device_profiles import Workloads
    >>> from search import AccuracyPredictor, Scored
    >>> from supernet import MobileNetConfig, StageConfig, make_model_space
    >>> stages = (StageConfig(widths=(8, 16, 24), depths=(1,), expands=(2, 4)),)
    >>> model = MobileNetConfig(resolutions=(12, 16), stem_width=8, stages=stages, head_width=32)
    >>> model_space = make_model_space(model, classes=10)
    >>> space, workloads = model_space.space, Workloads(model_space)
    >>> small = Scored(subnet=space.smallest, images=8, correct="f0")  # 4 of 8 images are labelled correctly
    >>> large = Scored(subnet=space.largest, images=8, correct="fe")
    >>> predictor = AccuracyPredictor(space, workloads, [small, large])
    >>> vectors = np.array([space.encode(space.smallest), space.encode(space.largest)])
    >>> mean, std = predictor.predict(vectors, workloads.macs_of(vectors))
    >>> bool(0.5 < mean[0] < mean[1] < 0.875)
    True

    Args:
        space: The search space of the subnets.
        workloads: Counts the MACs of subnets.
        scored: The scored subnets, at least one.
    """

    def __init__(self, space: SearchSpace, workloads: Workloads, scored: Sequence[Scored]) -> None:
        self._space = space
        self._vectors = np.array([space.encode(s.subnet) for s in scored])
        ends = np.array([space.encode(space.smallest), space.encode(space.largest)])
        low, high, *macs = workloads.macs_of(np.concatenate([ends, self._vectors])).tolist()
        self._features, self._macs = Features(space, low, high), np.array(macs)
        self._design = self._features.design(self._vectors, self._macs)
        self._scores, self._noise = np.array([s.accuracy for s in scored]), noise_covariance(scored)
        self._unit = float(max(self._scores.std(), np.sqrt(np.diag(self._noise).mean())))

    @property
    def objective(self) -> Objective:
        """The posterior mean of the linear model, as a solver maximises it: `predict` without the intervals."""
        return self._features.objective(self._linear.mean)

    def draw(self, rng: np.random.Generator) -> Objective:
        """The linear model with weights drawn from their posterior.

        Maximising draws explores what may be best (Thompson, 1933), in proportion to the probability that it is.
        """
        weights = self._linear.mean
        for _ in range(_REDRAWS):
            weights = self._linear.mean + self._linear.root @ rng.standard_normal(self._linear.root.shape[1])
            if (weights[self._features.curve_columns] >= 0).all():
                break
        return self._features.objective(weights)

    def predict(self, vectors: NDArray[np.integer], macs: Array) -> tuple[Array, Array]:
        """Predict with the linear model.

        Args:
            vectors: Subnets as `SearchSpace.encode` returns them, (subnets, choices).
            macs: Their MACs, (subnets,).

        Returns:
            The accuracy on the population that the held-out images are drawn from, in [0, 1], up to the part of their
            noise that all scores share, and its standard deviation, (subnets,) each.
        """
        design = self._features.design(vectors, macs)
        variance = ((design @ self._linear.root) ** 2).sum(1) + self._linear.process.variances[-1]
        return design @ self._linear.mean, np.sqrt(variance)

    def refine(self, vectors: NDArray[np.integer], macs: Array) -> tuple[Array, Array]:
        """Predict with the richer model; arguments and result as those of `predict`."""
        return self._rich.predict(self._features.design(vectors, macs), self._features.points(vectors, macs))

    def errors(self) -> PredictorErrors:
        """The errors of the richer model by leave-one-out; only the scales of its kernels come from all scores."""
        predicted = self._rich.left_out()
        differences = np.subtract.outer(self._scores, self._scores) * np.subtract.outer(predicted, predicted)
        close = np.abs(np.subtract.outer(np.log(self._macs), np.log(self._macs))) <= np.log1p(_BAND)
        spread = np.diag(self._noise) - self._noise.mean()
        return PredictorErrors(
            rmse_points=100 * float(np.sqrt(((predicted - self._scores) ** 2).mean())),
            noise_points=100 * float(np.sqrt(max(spread.mean(), 0.0))),
            tau=_concordance(differences),
            tau_band=_concordance(differences[close]),
        )

    @cached_property
    def _linear(self) -> _Linear:
        return _Linear(self._features, self._design, self._scores, self._noise, self._unit)

    @cached_property
    def _rich(self) -> _Rich:
        points = self._features.points(self._vectors, self._macs)
        return _Rich(self._linear.groups, self._design, points, self._scores, self._noise, self._unit)


class _Linear:
    """The posterior of the weights of `Features.design`: mean (columns,) and a root of the covariance."""

    def __init__(self, features: Features, design: Array, scores: Array, noise: Array, unit: float) -> None:
        used = np.ones(len(features.curves), dtype=bool)
        self._fit(features, used, design, scores, noise, unit)
        while (self.mean[features.curve_columns] < 0).any():  # then MACs have no such effect here
            used[np.argmin(self.mean[features.curve_columns])] = False
            self._fit(features, used, design, scores, noise, unit)

    def _fit(
        self, features: Features, used: NDArray[np.bool_], design: Array, scores: Array, noise: Array, unit: float
    ) -> None:
        self.groups = features.groups(used)
        misfit = Kernel(matrix=np.eye(len(design)), typical=_TYPICAL_MISFIT)
        self.process = GaussianProcess(scores, noise, [*_kernels(self.groups, design), misfit], unit)
        variances = self.process.variances
        effects = [np.sqrt(v) * group.effects for v, group in zip(variances, self.groups, strict=False)]
        constant = np.zeros((design.shape[1], 1))
        constant[-1] = np.sqrt(self.process.constant_variance)
        prior = np.concatenate([*effects, constant], axis=1)  # (columns, effects), a root of the prior covariance
        seen = design @ prior
        self.mean = prior @ (seen.T @ self.process.weights)
        self.mean[-1] += self.process.centre
        values, vectors = np.linalg.eigh(np.eye(prior.shape[1]) - seen.T @ self.process.inverse @ seen)
        self.root = prior @ (vectors * np.sqrt(np.maximum(values, 0)))


class _Rich:
    """The kernels of the linear model and, over the points, squared exponential ones."""

    def __init__(
        self, groups: list[EffectGroup], design: Array, points: Array, scores: Array, noise: Array, unit: float
    ) -> None:
        self._groups, self._design, self._points, self._scores = groups, design, points, scores
        distances = np.sqrt(_squared_distances(points, points)[np.triu_indices(len(points), 1)])
        self._distance = float(np.median(distances)) if distances.any() else 1.0
        smooth = [Kernel(matrix=k, typical=_TYPICAL_INTERACTION) for k in self._smooth(points)]
        misfit = Kernel(matrix=np.eye(len(points)), typical=_TYPICAL_MISFIT)
        self._process = GaussianProcess(scores, noise, [*_kernels(groups, design), *smooth, misfit], unit)

    def predict(self, design: Array, points: Array) -> tuple[Array, Array]:
        """Mean and standard deviation, (subnets,) each."""
        cross = self._covariance(design, points)
        own = np.full(len(points), self._process.constant_variance + self._process.variances[len(self._groups) :].sum())
        for variance, group in zip(self._process.variances, self._groups, strict=False):
            own += variance * ((design @ group.effects) ** 2).sum(1)
        variance = own - ((cross @ self._process.inverse) * cross).sum(1)
        return self._process.centre + cross @ self._process.weights, np.sqrt(np.maximum(variance, 0))

    def left_out(self) -> Array:
        """The predictions for the fitted subnets, each without its own score, (subnets,).

        Without row and column i, the inverse of a matrix is that of the rest less q q^T / Q_ii, where q is column i of
        the inverse Q without Q_ii.
        """
        covariance = self._covariance(self._design, self._points)
        np.fill_diagonal(covariance, 0.0)
        inverse, weights = self._process.inverse, self._process.weights
        correction = (covariance * inverse).sum(1) * weights / np.diag(inverse)
        return np.asarray(self._process.centre + covariance @ weights - correction)

    def _covariance(self, design: Array, points: Array) -> Array:
        """Of the accuracies of other subnets with those of the fitted ones, (others, fitted)."""
        variances = self._process.variances
        covariance = np.full((len(design), len(self._design)), self._process.constant_variance)
        for variance, group in zip(variances, self._groups, strict=False):
            covariance += variance * (design @ group.effects) @ (self._design @ group.effects).T
        for variance, kernel in zip(variances[len(self._groups) :], self._smooth(points), strict=False):
            covariance += variance * kernel
        return covariance

    def _smooth(self, points: Array) -> list[Array]:
        squares = _squared_distances(points, self._points) / self._distance**2
        return [np.exp(-squares / (2 * length**2)) for length in _LENGTHS]


def _kernels(groups: list[EffectGroup], design: Array) -> list[Kernel]:
    seen = [(design @ group.effects, group.typical) for group in groups]
    return [Kernel(matrix=effects @ effects.T, typical=typical) for effects, typical in seen]


def _squared_distances(a: Array, b: Array) -> Array:
    return np.asarray(np.maximum((a**2).sum(1)[:, None] + (b**2).sum(1) - 2 * a @ b.T, 0))


def _concordance(products: Array) -> float | None:
    """Kendall's tau from products of paired differences; ties count as nothing."""
    compared = np.abs(np.sign(products)).sum()
    return float(np.sign(products).sum() / compared) if compared else None
