"""Labelled examples, the same interface for images and text: batches, random draws, and network inputs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

# The increment and the two multipliers of splitmix64, as signed 64-bit numbers.
_GOLDEN, _MIX1, _MIX2 = -7046029254386353131, -4658895280553007687, -7723592293110705685


@dataclass(frozen=True, slots=True)
class Draws:
    """Random numbers addressed by example, epoch and purpose: they do not depend on the batch or worker of an example.

    A counter-based generator (splitmix64; Steele et al., 2014): each number is a hash of its address.

    Attributes:
        seed: Seed of the training run, int64.
        epoch: Number of the epoch, from 0.
    """

    seed: int
    epoch: int

    def uniform(self, rows: Tensor, purpose: int, count: int = 1) -> Tensor:
        """Uniform numbers, float32 in [0, 1), shape (len(rows), count).

        Args:
            rows: Rows of the examples in the data set, int64 (n,).
            purpose: What the numbers are for; other purposes get independent numbers.
            count: How many numbers per example.
        """
        columns = torch.arange(count, dtype=torch.int64, device=rows.device)
        state = _hash(_hash(_hash(torch.tensor(self.seed, device=rows.device)) + self.epoch) + purpose)
        bits = _hash(_hash(state + rows.to(torch.int64))[:, None] + columns)
        return ((bits >> 40) & 0xFFFFFF).to(torch.float32) / (1 << 24)  # the top 24 bits: what a float32 holds exactly

    def integers(self, rows: Tensor, purpose: int, low: int, high: int) -> Tensor:
        """Uniform integers from `low` to `high`, both included, int64 (len(rows),). See `uniform`."""
        return low + (self.uniform(rows, purpose)[:, 0] * (high - low + 1)).to(torch.int64)


def _hash(x: Tensor) -> Tensor:
    """The mixing function of splitmix64; shifts and multipliers are the algorithm's."""
    x = x + _GOLDEN  # int64 wraps around
    x = (x ^ _shifted(x, 30)) * _MIX1
    x = (x ^ _shifted(x, 27)) * _MIX2
    return x ^ _shifted(x, 31)


def _shifted(x: Tensor, bits: int) -> Tensor:
    """Logical shift to the right: the sign bit is not copied."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)


class Targets(NamedTuple):
    """What a batch is to teach.

    Attributes:
        labels: The labels, as `supernet.data.types.Labels`.
        weights: How much each example counts, float32 (batch,), of mean 1 over the training examples; None if all count
            alike.
    """

    labels: Tensor
    weights: Tensor | None = None

    def split(self, size: int) -> list[Targets]:
        """These in parts of at most `size` examples."""
        labels = torch.split(self.labels, size)
        weights = [None] * len(labels) if self.weights is None else torch.split(self.weights, size)
        return [Targets(*part) for part in zip(labels, weights, strict=True)]

    def to(self, device: torch.device) -> Targets:
        """These on another device."""
        weights = None if self.weights is None else self.weights.to(device, non_blocking=True)
        return Targets(self.labels.to(device, non_blocking=True), weights)


class Examples(Protocol):
    """One split of a data set, as training and evaluation see it."""

    @property
    def labels(self) -> Tensor:
        """The label of each example, on the CPU: int64 (n,), uint8 (n, classes) or float32 (n, values)."""

    @property
    def weights(self) -> Tensor | None:
        """How much each example counts in training, float32 (n,) of mean 1, on the CPU; None if all count alike."""

    def __len__(self) -> int:
        """The number of examples."""

    def batch(self, rows: Tensor, draws: Draws | None) -> Tensor:
        """The examples at `rows` before `to_input`: uint8 images (b, 3, size, size), or int64 tokens (b, length).

        Args:
            rows: int64 (b,), in any order, repeats allowed.
            draws: Random numbers for the augmentation; None turns it off.

        Raises:
            DataError: An example cannot be read.
        """

    def to_input(self, batch: Tensor, shape: tuple[int, ...]) -> Tensor:
        """A result of `batch` as inputs (b, *shape) of one subnet: resized and normalised, or truncated to a length."""


class Inputs(Protocol):
    """Network inputs (n, *shape), computed slice by slice on demand."""

    def __len__(self) -> int: ...

    def __getitem__(self, rows: slice) -> Tensor: ...


@dataclass(frozen=True, slots=True)
class ExampleInputs:
    """Examples as network inputs, without augmentation.

    Attributes:
        examples: The examples.
        shape: Shape of one input, without the batch.
        rows: The examples to use, int64 (n,); None for all.
    """

    examples: Examples
    shape: tuple[int, ...]
    rows: Tensor | None = None

    def __len__(self) -> int:
        return len(self.examples) if self.rows is None else len(self.rows)

    def __getitem__(self, rows: slice) -> Tensor:
        chosen = torch.arange(len(self.examples)) if self.rows is None else self.rows
        return self.examples.to_input(self.examples.batch(chosen[rows], None), self.shape)
