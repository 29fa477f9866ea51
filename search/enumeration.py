"""All subnets of a small space."""

from __future__ import annotations

from collections.abc import Iterator

from supernet.space import Option, SearchSpace, SubnetConfig


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
