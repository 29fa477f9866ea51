"""All subnets of a small space."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from factory_base.errors import ConfigError
from supernet.space import Option, SearchSpace, SubnetConfig

_MOST_SUBNETS: Final = 5000
"""The largest space that is scored in full: hours at a second per subnet, and not weeks by mistake."""


def require_small(space: SearchSpace) -> None:
    """Raise `ConfigError` if the space is too large to score all of its subnets."""
    size = space.count()
    if size > _MOST_SUBNETS:
        raise ConfigError(
            f"sampler exhaustive: the space has {_count(size)} subnets, and at most {_MOST_SUBNETS:,} are scored in "
            "full; choose another sampler, or give the model section fewer options"
        )


def every_subnet(space: SearchSpace) -> Iterator[SubnetConfig]:
    """Every distinct subnet of a space, in the order of its options."""
    partial: list[dict[str, Option]] = [{}]
    for choice in space:
        partial = [
            values | {choice.name: option}
            for values in partial
            for option in (choice.options if space.exists(choice, values) else choice.options[:1])
        ]
    return (space.subnet(values) for values in partial)


def _count(size: int) -> str:
    return f"{size:,}" if size < 10**9 else f"{size:.0e}"
