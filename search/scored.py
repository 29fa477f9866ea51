"""Scored subnets as values. Imports neither torch nor optuna, so that a finished build is read without them."""

from __future__ import annotations

from dataclasses import dataclass

from supernet.space import SubnetConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """A subnet and its accuracy on the held-out images, in [0, 1]."""

    subnet: SubnetConfig
    accuracy: float
