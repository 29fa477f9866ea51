"""A linear probe: the head of a pretrained network is fitted to its features before anything is trained.

With a head of random weights the first gradients say little about the task, and move good features at random. Fitting
the head first keeps them (Kumar et al., "Fine-Tuning can Distort Pretrained Features and Underperform
Out-of-Distribution", 2022), and gives sorting by gradients something to sort by.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from supernet.data.examples import ExampleInputs, Examples
from supernet.evaluation.calibration import seeded_rows
from supernet.evaluation.evaluation import parts, recalibrate
from supernet.sharing.head import head_inputs
from supernet.sharing.supernet import Supernet

Loss = Callable[[Tensor, Tensor], Tensor]
"""`(outputs (n, k), labels (n, ...)) -> scalar`, convex in the outputs."""

_Fitted = tuple[Tensor, Tensor]
"""The weight (k, features) and bias (k,) of a linear layer on standardised features."""

_MOST_EXAMPLES = 20_000
"""Examples to fit to: with more, a linear layer hardly changes, and features of 1280 channels take 100 MB."""
_RECALIBRATION = 2000
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
        loss: The mean loss on left-out folds with it, in nats.
        constant_loss: The loss of the best constant output, to compare with.
    """

    examples: int
    penalty: float
    loss: float
    constant_loss: float

    def __str__(self) -> str:
        return (
            f"fitted to the features of {self.examples:,} training examples; loss on left-out folds of them "
            f"{self.loss:.3f} (best constant output: {self.constant_loss:.3f})"
        )


def fit_head(supernet: Supernet, head: str, examples: Examples, loss: Loss, *, seed: int) -> Probe:
    """Fit the linear layer `head` of the largest network to its features. Nothing else changes.

    The features come from the largest network, recalibrated, for training examples without augmentation. They are
    standardised, and the mean loss plus a penalty on the weights is minimised by L-BFGS (for classes, this is
    multinomial logistic regression). The penalty with the lowest loss on left-out folds is taken.

    Args:
        supernet: The supernet, on the CPU, changed in place.
        head: Name of the layer, see `supernet.sharing.head.head_name`.
        examples: The training examples.
        loss: The loss of the task.
        seed: Seed of the choice of the examples and of the folds.

    Raises:
        DataError: An example cannot be read.
    """
    features, labels = head_features(supernet, head, examples, seed)
    layer = supernet.largest.get_submodule(head)
    weights, biases = layer.weight, layer.bias
    if not isinstance(weights, Tensor):
        raise TypeError(f"{head!r} is not a linear layer")
    has_bias = isinstance(biases, Tensor)
    mean = features.mean(0) if has_bias else torch.zeros(features.shape[1])
    std = _scale(features)
    problem = _Problem(
        features=features.sub_(mean).div_(std),
        labels=labels,
        loss=loss,
        outputs=len(weights),
        has_bias=has_bias,
    )
    penalty, left_out = problem.choose()
    weight, bias = problem.fit(torch.ones(len(features), dtype=torch.bool), penalty, problem.nothing())
    with torch.no_grad():
        weights.copy_(weight / std)
        if isinstance(biases, Tensor):
            biases.copy_(bias - (weight / std) @ mean)
    return Probe(examples=len(features), penalty=penalty, loss=left_out, constant_loss=problem.constant_loss())


def _scale(features: Tensor) -> Tensor:
    """By what to divide each feature: its standard deviation, but not far less than that of all: (features,)."""
    std = features.std(0, correction=0)
    least = _LEAST_SHARE * std.square().mean().sqrt() + _LEAST_OF_SIZE * features.square().mean().sqrt()
    return std.clamp_min(max(float(least), torch.finfo(std.dtype).tiny))


def head_features(supernet: Supernet, head: str, examples: Examples, seed: int) -> tuple[Tensor, Tensor]:
    """What `head` receives in the largest network for training examples: float32 (n, features), and their labels."""
    subnet = supernet.model_space.space.largest
    shape, network = supernet.model_space.input_shape(subnet), supernet.extract(subnet)
    recalibrate(network, ExampleInputs(examples, shape, seeded_rows(len(examples), _RECALIBRATION, seed)))
    rows = seeded_rows(len(examples), _MOST_EXAMPLES, seed)
    inputs = ExampleInputs(examples, shape, rows)
    with torch.no_grad(), head_inputs(network.get_submodule(head)) as found:
        for part in parts(network, inputs):
            network(part)
    return torch.cat([x.float().flatten(0, -2) for x in found]), examples.labels[rows]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Problem:
    """Features with labels, in random order, to which linear layers are fitted.

    Attributes:
        features: Standardised, float32 (n, features).
        labels: The labels, (n, ...).
        loss: The loss of the task.
        outputs: Number of outputs.
        has_bias: Whether the layer has a bias.
    """

    features: Tensor
    labels: Tensor
    loss: Loss
    outputs: int
    has_bias: bool

    def choose(self) -> tuple[float, float]:
        """The penalty with the lowest mean loss on left-out folds, and that loss."""
        folds = torch.arange(len(self.features)) % min(_FOLDS, len(self.features))
        left_out = [folds == i for i in range(int(folds.max()) + 1)]
        fitted: list[_Fitted] = [self.nothing()] * len(left_out)
        found: list[float] = []
        for penalty in _PENALTIES:
            fitted = [self.fit(~rows, penalty, start) for rows, start in zip(left_out, fitted, strict=True)]
            losses = [self.loss_of(one, rows) for one, rows in zip(fitted, left_out, strict=True)]
            found.append(sum(losses) / len(losses))
            if found[-1] > min(found):  # it falls, then rises
                break
        return _PENALTIES[found.index(min(found))], min(found)

    def constant_loss(self) -> float:
        """The loss of the best constant output."""
        nothing = torch.zeros(len(self.features), 1)
        alone = _Problem(features=nothing, labels=self.labels, loss=self.loss, outputs=self.outputs, has_bias=True)
        everything = torch.ones(len(nothing), dtype=torch.bool)
        return alone.loss_of(alone.fit(everything, _PENALTIES[0], alone.nothing()), everything)

    def nothing(self) -> _Fitted:
        """A weight and a bias of zeros."""
        return torch.zeros(self.outputs, self.features.shape[1]), torch.zeros(self.outputs)

    def fit(self, rows: Tensor, penalty: float, start: _Fitted) -> _Fitted:
        """Weight (outputs, features) and bias (outputs,) for the examples at `rows`, from `start` on."""
        features, labels = self.features[rows], self.labels[rows]
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
            value = self.loss(features @ weight.T + bias, labels) + penalty / 2 * weight.square().sum()
            value.backward()  # type: ignore[no-untyped-call]
            return value

        optimizer.step(closure)  # type: ignore[no-untyped-call]
        return weight.detach(), bias.detach()

    @torch.no_grad()
    def loss_of(self, fitted: _Fitted, rows: Tensor) -> float:
        """The mean loss of the examples at `rows`."""
        weight, bias = fitted
        return float(self.loss(self.features[rows] @ weight.T + bias, self.labels[rows]))
