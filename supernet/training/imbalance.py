"""Training on classes of unequal size: which method to use, and what it changes in the loss or the order of examples.

A network that minimises the mean loss over examples learns the frequent classes first and may never answer the rare
ones. Three remedies are offered: weights of the classes in the loss (King and Zeng, 2001), as many examples of each
class in training (Kang et al., "Decoupling representation and classifier", 2020, compare such sampling), and logits
adjusted by the shares of the classes (Menon et al., "Long-tail learning via logit adjustment", 2021).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import torch
from torch import Tensor

from factory_base.foreign import printable
from factory_base.wording import counted
from supernet.data.examples import Targets
from supernet.tasks.classification import Classification
from supernet.tasks.task import Task
from supernet.training.config import Balancing, Imbalance

UNEVEN: Final = 3.0
"""With `auto`, classes whose largest is less than this many times the smallest are left as they are."""
_WORDS = {
    "none": "all examples count alike",
    "class_weights": "the loss of an example is divided by the share of its class",
    "balanced_sampling": "each class is drawn equally often",
    "logit_adjustment": "the loss adds the logarithm of each class's share to its logit",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Balance:
    """What a training run does about classes of unequal size.

    Attributes:
        method: The method.
        counts: The number of training examples of each class.
        shares: How much each class counts among all training examples, by number and weight; the sum is 1.
        is_chosen: Whether `auto` chose the method.
    """

    method: Balancing
    counts: tuple[int, ...]
    shares: tuple[float, ...]
    is_chosen: bool = False

    @property
    def ratio(self) -> float:
        """How many times as many examples the largest class has as the smallest that has any."""
        return imbalance_ratio(self.counts)

    def describe(self, names: Sequence[str]) -> str:
        """One sentence: the method, what it does, and the largest and the smallest class, given their names."""
        present = [index for index, count in enumerate(self.counts) if count]
        least, most = (pick(present, key=lambda index: self.counts[index]) for pick in (min, max))
        sizes = f"each class has {counted(self.counts[most], 'training example')}"
        if self.ratio > 1:
            sizes = (
                f"{printable(names[most])!r} has {counted(self.counts[most], 'training example')} and "
                f"{printable(names[least])!r} {self.counts[least]:,}, {self.ratio:.3g} to 1"
            )
        chosen = "chosen by auto" if self.is_chosen else "as asked"
        limit = f"; auto changes nothing below {UNEVEN:g} to 1" if self.is_chosen and self.method == "none" else ""
        return f"imbalance: {self.method} ({chosen}), {_WORDS[self.method]}; {sizes}{limit}"

    def adjusted(self, task: Task) -> Task:
        """`task` with the offsets of the outputs that the method adds in the loss.

        They are the logarithms of the shares (Menon et al., equation 10 with a temperature of 1). A class without
        examples counts as if it had one.
        """
        if self.method != "logit_adjustment" or not isinstance(task, Classification):
            return task
        fewest = 1 / sum(self.counts)
        return replace(task, offsets=tuple(math.log(max(share, fewest)) for share in self.shares))

    def weighted(self, targets: Targets) -> Targets:
        """`targets`, in which with `class_weights` all classes weigh the same in sum over the training examples."""
        if self.method != "class_weights":
            return targets
        present = sum(share > 0 for share in self.shares)
        each = torch.tensor([1 / (present * share) if share else 0.0 for share in self.shares])
        weights = each[targets.labels]
        return Targets(targets.labels, weights if targets.weights is None else weights * targets.weights)

    def order(self, labels: Tensor, generator: torch.Generator) -> Tensor:
        """The examples of one epoch in order, int64 `(n,)`, given their labels, int64 `(n,)`.

        With `balanced_sampling` each class has an equal share of the epoch, up to one example: those of a small class
        come several times, each of them equally often up to once, and of a large class as many as fit are drawn without
        replacement. Otherwise every example comes once.
        """
        if self.method != "balanced_sampling":
            return torch.randperm(len(labels), generator=generator)
        present = labels.unique()  # type: ignore[no-untyped-call]
        turns = torch.arange(len(labels)) % len(present)
        turns = torch.randperm(len(present), generator=generator)[turns]  # the classes that get one more
        shares = turns.bincount(minlength=len(present)).tolist()
        drawn = [
            _repeated((labels == label).nonzero()[:, 0], share, generator)
            for label, share in zip(present, shares, strict=True)
        ]
        return torch.cat(drawn)[torch.randperm(len(labels), generator=generator)]


def balance(method: Imbalance, labels: Tensor, classes: int = 0, weights: Tensor | None = None) -> Balance:
    """What to do about classes of unequal size.

    `auto` chooses `balanced_sampling` if the largest class has at least three times as many examples as the smallest.
    In short trainings, which are usual here, it is the one that learns rare classes at all: the other two show their
    examples as rarely as before (`benchmarks/imbalance.py` compares them).

    Args:
        method: What the config asks for.
        labels: The labels of all training examples, int64 `(n,)`; those of other kinds are left as they are.
        classes: The number of classes; by default those that the labels need.
        weights: How much each example counts, `(n,)`; None if all count alike.
    """
    if labels.ndim > 1:
        return Balance(method="none", counts=(), shares=())
    counts = tuple(labels.bincount(minlength=classes).tolist())
    sums = labels.bincount(weights, minlength=classes).double()
    shares = tuple((sums / sums.sum()).tolist())
    if method != "auto":
        return Balance(method=method, counts=counts, shares=shares)
    chosen: Balancing = "none" if imbalance_ratio(counts) < UNEVEN else "balanced_sampling"
    return Balance(method=chosen, counts=counts, shares=shares, is_chosen=True)


def imbalance_ratio(counts: Sequence[int]) -> float:
    """The largest of `counts` divided by the smallest that is not 0; 1 if all are 0."""
    present = [count for count in counts if count]
    return max(present) / min(present) if present else 1.0


def _repeated(rows: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """`count` of `rows`, in whole passes and a last incomplete one, each pass in an order of its own."""
    passes = -(-count // len(rows))
    orders = [rows[torch.randperm(len(rows), generator=generator)] for _ in range(passes)]
    return torch.cat(orders)[:count] if orders else rows[:0]
