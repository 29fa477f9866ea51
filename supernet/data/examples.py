"""Labelled examples and how they become a network's inputs. Images and text look alike from here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

_GOLDEN, _MIX1, _MIX2 = (
    -7046029254386353131,
    -4658895280553007687,
    -7723592293110705685,
)  # splitmix64, as signed numbers


@dataclass(frozen=True, slots=True)
class Draws:
    """Random numbers that belong to an example, an epoch and a purpose, whatever batch or worker the example is in.

    A counter-based generator (splitmix64; Steele et al., 2014): each number is a hash of its address.
    """

    seed: int
    epoch: int

    def uniform(self, rows: Tensor, purpose: int, count: int = 1) -> Tensor:
        """float32 in [0, 1), shape (len(rows), count), for examples `rows` (int64)."""
        columns = torch.arange(count, dtype=torch.int64, device=rows.device)
        state = _hash(_hash(_hash(torch.tensor(self.seed, device=rows.device)) + self.epoch) + purpose)
        bits = _hash(_hash(state + rows.to(torch.int64))[:, None] + columns)
        return ((bits >> 40) & 0xFFFFFF).to(torch.float32) / (1 << 24)

    def integers(self, rows: Tensor, purpose: int, low: int, high: int) -> Tensor:
        """int64 in low..high, both included, shape (len(rows),)."""
        return low + (self.uniform(rows, purpose)[:, 0] * (high - low + 1)).to(torch.int64)


def _hash(x: Tensor) -> Tensor:
    x = x + _GOLDEN  # int64 wraps around
    x = (x ^ _shifted(x, 30)) * _MIX1
    x = (x ^ _shifted(x, 27)) * _MIX2
    return x ^ _shifted(x, 31)


def _shifted(x: Tensor, bits: int) -> Tensor:
    """A logical shift to the right: the sign does not come along."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)


class Examples(Protocol):
    """One part of a data set, as training and evaluation see it."""

    @property
    def labels(self) -> Tensor:
        """int64 (n,)."""

    def __len__(self) -> int:
        """The number of examples."""

    def batch(self, rows: Tensor, draws: Draws | None) -> Tensor:
        """Examples `rows` (int64, (b,)) as stored: uint8 images (b, 3, size, size), int64 tokens (b, length).

        Args:
            rows: any order, repeats allowed.
            draws: decide the augmentation; None for none.

        Raises:
            DataError: an example cannot be read.
        """

    def to_input(self, batch: Tensor, shape: tuple[int, ...]) -> Tensor:
        """What `batch` gave, as inputs of one subnet, (b, *shape): resized and normalised, or cut to a length."""


class Inputs(Protocol):
    """Network inputs (n, *shape), made when a slice is asked for."""

    def __len__(self) -> int: ...

    def __getitem__(self, rows: slice) -> Tensor: ...


@dataclass(frozen=True, slots=True)
class ExampleInputs:
    """`examples` (those in `rows` only, where given) as inputs of shape `shape`, not augmented."""

    examples: Examples
    shape: tuple[int, ...]
    rows: Tensor | None = None

    def __len__(self) -> int:
        return len(self.examples) if self.rows is None else len(self.rows)

    def __getitem__(self, rows: slice) -> Tensor:
        chosen = torch.arange(len(self.examples)) if self.rows is None else self.rows
        return self.examples.to_input(self.examples.batch(chosen[rows], None), self.shape)
