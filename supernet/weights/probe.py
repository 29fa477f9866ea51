"""A linear probe: the head of a pretrained network is fitted to its features before anything is trained.

With a head of random weights the first gradients say little about the task, and move good features at random. Fitting
the head first keeps them (Kumar et al., "Fine-Tuning can Distort Pretrained Features and Underperform
Out-of-Distribution", 2022), and gives sorting by gradients something to sort by.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from supernet.data.examples import ExampleInputs, Examples, Targets
from supernet.evaluation.calibration import seeded_rows
from supernet.evaluation.evaluation import parts, recalibrate
from supernet.sharing.head import head_inputs
from supernet.sharing.supernet import Supernet
from supernet.tasks.task import Task

_Fitted = tuple[Tensor, Tensor]
"""The weight (k, features) and bias (k,) of a linear layer on standardised features."""

_MOST_EXAMPLES = 20_000
"""Examples to fit to: with more, a linear layer hardly changes, and features of 1280 channels take 100 MB."""
_RECALIBRATION = 1000
"""Training examples on which the network is recalibrated before features are taken."""
_PENALTIES = (3.0, 1.0, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001)
"""Weights of the penalty, half the squared weights of standardised features, from the strongest on. The best were 0.03
to 0.3 for 5,000 images and 1280 features."""
_FOLDS = 3
_ITERATIONS = 60
"""Steps of L-BFGS for one penalty; it starts from the solution for the penalty before, which is close."""
_HISTORY = 10
"""Gradients that L-BFGS remembers; the usual number."""
_LEAST_SHARE, _LEAST_OF_SIZE = 0.1, 1e-3
"""Least standard deviation to which a feature is standardised, as a share of that of all features and of their size
(root mean squares): the weights of one that hardly varies would be so large that rounding decides the outputs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """What the probe found.

    Attributes:
        examples: Number of training examples that the head was fitted to.
        penalty: The weight of the penalty that was best on left-out folds.
        metric: The first metric of the task.
        score: That metric on left-out folds.
        baseline: What the best constant answer reaches.
    """

    examples: int
    penalty: float
    metric: str
    score: float
    baseline: float

    def __str__(self) -> str:
        return (
            f"fitted to the features of {self.examples:,} training examples; {self.metric} on left-out folds of them "
            f"{self.score:.1%} (the best constant answer: {self.baseline:.1%})"
        )


def fit_head(supernet: Supernet, head: str, examples: Examples, task: Task, *, seed: int) -> Probe:
    """Fit the linear layer `head` of the largest network to its features. Nothing else changes.

    The features come from the largest network, recalibrated, for training examples without augmentation. They are
    standardised, and the mean loss plus a penalty on the weights is minimised by L-BFGS: for classes, multinomial
    logistic regression; for values, ridge regression. The penalty with the lowest loss on left-out folds is taken.

    Args:
        supernet: The supernet, on the CPU, changed in place.
        head: Name of the layer, see `supernet.sharing.head.head_name`.
        examples: The training examples.
        task: What the networks learn. Its loss is convex in the outputs.
        seed: Seed of the choice of the examples and of the folds.

    Raises:
        DataError: An example cannot be read.
    """
    features, rows = head_features(supernet, head, examples, seed)
    weights, biases = (getattr(supernet.largest.get_submodule(head), name) for name in ("weight", "bias"))
    has_bias = biases is not None
    mean = features.mean(0) if has_bias else torch.zeros(features.shape[1])
    std = _scale(features)
    targets = Targets(examples.labels[rows], None if examples.weights is None else examples.weights[rows])
    problem = _Problem(
        features=features.sub_(mean).div_(std), targets=targets, task=task, outputs=len(weights), has_bias=has_bias
    )
    penalty, score = problem.choose()
    weight, bias = problem.fit(torch.ones(len(features), dtype=torch.bool), penalty, problem.nothing())
    with torch.no_grad():
        weights.copy_(weight / std)
        if has_bias:
            biases.copy_(bias - (weight / std) @ mean)
    metric = task.metrics[0]
    baseline = task.baseline(targets.labels.numpy(), metric)
    return Probe(examples=len(features), penalty=penalty, metric=metric, score=score, baseline=baseline)


def _scale(features: Tensor) -> Tensor:
    """By what to divide each feature: its standard deviation, but not far less than that of all: (features,)."""
    std = features.std(0, correction=0)
    least = _LEAST_SHARE * std.square().mean().sqrt() + _LEAST_OF_SIZE * features.square().mean().sqrt()
    return std.clamp_min(max(float(least), torch.finfo(std.dtype).tiny))


def head_features(supernet: Supernet, head: str, examples: Examples, seed: int) -> tuple[Tensor, Tensor]:
    """What `head` receives in the largest network for training examples, float32 (n, features), and their rows (n,)."""
    subnet = supernet.model_space.space.largest
    shape, network = supernet.model_space.input_shape(subnet), supernet.extract(subnet)
    recalibrate(network, ExampleInputs(examples, shape, seeded_rows(len(examples), _RECALIBRATION, seed)))
    rows = seeded_rows(len(examples), _MOST_EXAMPLES, seed)
    inputs = ExampleInputs(examples, shape, rows)
    with torch.no_grad(), head_inputs(network.get_submodule(head)) as found:
        for part in parts(network, inputs):
            network(part)
    return torch.cat([x.float() for x in found]), rows


@dataclass(frozen=True, slots=True, kw_only=True)
class _Problem:
    """Features with labels, in random order, to which linear layers are fitted.

    Attributes:
        features: Standardised, float32 (n, features).
        targets: What they are to teach.
        task: Its loss, and its first metric.
        outputs: Number of outputs.
        has_bias: Whether the layer has a bias.
    """

    features: Tensor
    targets: Targets
    task: Task
    outputs: int
    has_bias: bool

    def choose(self) -> tuple[float, float]:
        """The penalty with the lowest mean loss on left-out folds, and the metric on them."""
        folds = torch.arange(len(self.features)) % min(_FOLDS, len(self.features))
        left_out = [folds == i for i in range(int(folds.max()) + 1)]
        fitted: list[_Fitted] = [self.nothing()] * len(left_out)
        losses: list[float] = []
        scores: list[float] = []
        for penalty in _PENALTIES:
            fitted = [self.fit(~rows, penalty, start) for rows, start in zip(left_out, fitted, strict=True)]
            judged = [self.judge(one, rows) for one, rows in zip(fitted, left_out, strict=True)]
            losses.append(sum(loss for loss, _ in judged) / len(judged))
            scores.append(sum(score for _, score in judged) / len(judged))
            if losses[-1] > min(losses):  # it falls, then rises
                break
        best = losses.index(min(losses))
        return _PENALTIES[best], scores[best]

    def nothing(self) -> _Fitted:
        """A weight and a bias of zeros."""
        return torch.zeros(self.outputs, self.features.shape[1]), torch.zeros(self.outputs)

    def fit(self, rows: Tensor, penalty: float, start: _Fitted) -> _Fitted:
        """Weight (outputs, features) and bias (outputs,) for the examples at `rows`, from `start` on."""
        features, targets = self.features[rows], self._targets(rows)
        weight, bias = start
        weight, bias = weight.clone().requires_grad_(), bias.clone().requires_grad_(self.has_bias)
        optimizer = torch.optim.LBFGS(
            [weight, bias] if self.has_bias else [weight],
            max_iter=_ITERATIONS,
            history_size=_HISTORY,
            line_search_fn="strong_wolfe",
        )

        def closure() -> Tensor:
            optimizer.zero_grad()
            value = self.task.loss(features @ weight.T + bias, *targets) + penalty / 2 * weight.square().sum()
            value.backward()  # type: ignore[no-untyped-call]
            return value

        optimizer.step(closure)  # type: ignore[no-untyped-call]
        return weight.detach(), bias.detach()

    def judge(self, fitted: _Fitted, rows: Tensor) -> tuple[float, float]:
        """The mean loss of the examples at `rows`, and their metric."""
        weight, bias = fitted
        outputs, labels = self.features[rows] @ weight.T + bias, self.targets.labels.numpy()
        scores = self.task.scores(outputs.numpy(), labels[rows.numpy()], self.task.metrics[0], labels)
        return float(self.task.loss(outputs, *self._targets(rows))), float(scores.mean())

    def _targets(self, rows: Tensor) -> Targets:
        weights = self.targets.weights
        return Targets(self.targets.labels[rows], None if weights is None else weights[rows])
