"""Search spaces: named choices with ordered options, and the subnets they span. Imports no torch."""

from __future__ import annotations

import hashlib
import json
import math
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from factory_base.documents import nearest
from factory_base.errors import SpaceError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Option = int | float
"""A value of a choice: a number, so that options have an order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """One elastic dimension.

    Attributes:
        name: A unique, dotted name, for example `stages.0.depth`.
        options: The values to choose from, ascending and distinct.
        depth_choice: Name of the choice that decides whether the block described here exists; "" if it always exists.
        exists_from: The smallest value of `depth_choice` at which the block exists.

    Raises:
        SpaceError: The options are empty, not ascending, or not distinct.
    """

    name: str
    options: tuple[Option, ...]
    depth_choice: str = ""
    exists_from: Option = 0

    def __post_init__(self) -> None:
        if not self.options or list(self.options) != sorted(set(self.options)):
            raise SpaceError(f"choice {self.name!r}: options {self.options} must be non-empty, ascending and distinct")


@dataclass(frozen=True, slots=True, order=True)
class SubnetConfig:
    """One point of a search space, in canonical form: the choices of absent blocks have their smallest option.

    Create it with `SearchSpace.subnet`, never directly. It is hashable, and equal configs have equal ids.
    """

    values: tuple[tuple[str, Option], ...]

    def __getitem__(self, name: str) -> Option:
        return self.to_dict()[name]

    @property
    def id(self) -> str:
        """12 hex digits (48 bits) of the SHA-256 of the JSON form, the same in every process and version.

        Among 100,000 subnets, two have the same id with a probability of 2e-5.
        """
        return hashlib.sha256(json.dumps(self.values, separators=(",", ":")).encode()).hexdigest()[:12]

    def to_dict(self) -> dict[str, Option]:
        """Name -> value, the JSON form. `SearchSpace.subnet` is the inverse."""
        return dict(self.values)


@dataclass(frozen=True, slots=True)
class SearchSpace:
    """Named choices with ordered options, and the subnets that they span.

    It counts, samples and validates subnets, and encodes them as integer vectors.

    >>> import random
    >>> from supernet import Choice, SearchSpace
    >>> depth, width = Choice(name="depth", options=(1, 2)), Choice(name="width", options=(16, 24, 32))
    >>> kernel = Choice(name="blocks.1.kernel", options=(3, 5, 7), depth_choice="depth", exists_from=2)
    >>> space = SearchSpace((depth, width, kernel))
    >>> space.count()  # without the second block, its kernel does not matter
    12
    >>> subnet = space.subnet({"depth": 2, "width": 24, "blocks.1.kernel": 5})
    >>> subnet["width"], space.encode(subnet)
    (24, (1, 1, 1))
    >>> space.sample(random.Random(0)).to_dict()
    {'depth': 2, 'width': 24, 'blocks.1.kernel': 3}

    Attributes:
        choices: The choices. A depth choice comes before the choices that depend on it.

    Raises:
        SpaceError: A choice is declared twice, or its depth choice does not come before it.
    """

    choices: tuple[Choice, ...]
    _by_name: dict[str, Choice] = field(init=False, repr=False, compare=False, hash=False)

    def __post_init__(self) -> None:
        by_name: dict[str, Choice] = {}
        for choice in self.choices:
            if choice.name in by_name:
                raise SpaceError(f"choice {choice.name!r} is declared twice")
            if choice.depth_choice and choice.depth_choice not in by_name:
                raise SpaceError(
                    f"choice {choice.name!r} depends on {choice.depth_choice!r}, which must come before it"
                )
            by_name[choice.name] = choice
        object.__setattr__(self, "_by_name", by_name)

    def subnet(self, values: Mapping[str, Option]) -> SubnetConfig:
        """The subnet with these values, in canonical form.

        Raises:
            SpaceError: A choice is unknown or missing, or a value is not one of its options.
        """
        for name in values:
            if name not in self._by_name:
                raise SpaceError(f"unknown choice {name!r}; {nearest(name, self._by_name)}")
        canonical: dict[str, Option] = {}
        for choice in self.choices:
            if choice.name not in values:
                raise SpaceError(f"choice {choice.name!r} is missing; options: {list(choice.options)}")
            value = values[choice.name]
            if value not in choice.options:
                raise SpaceError(f"choice {choice.name!r}: {value!r} is not one of {list(choice.options)}")
            # take the option itself: 3.0 equals 3, but would give another id
            option = choice.options[choice.options.index(value)]
            canonical[choice.name] = option if self.exists(choice, canonical) else choice.options[0]
        return SubnetConfig(tuple(canonical.items()))

    @property
    def largest(self) -> SubnetConfig:
        """The subnet with the last option of every choice."""
        return self.subnet({choice.name: choice.options[-1] for choice in self.choices})

    @property
    def smallest(self) -> SubnetConfig:
        """The subnet with the first option of every choice."""
        return self.subnet({choice.name: choice.options[0] for choice in self.choices})

    def sample(self, rng: random.Random) -> SubnetConfig:
        """A subnet whose choices are drawn uniformly and independently."""
        return self.subnet({choice.name: rng.choice(choice.options) for choice in self.choices})

    def sample_near(self, level: float, rng: random.Random, scatter: float = 1.0) -> SubnetConfig:
        """A subnet whose choices scatter around `level`.

        Subnets with uniform, independent choices are nearly all of medium size. Levels that are evenly spread over 0 to
        1 give sizes that are spread, too.

        Args:
            level: 0 for the smallest subnet, 1 for the largest; around 0.5 every subnet is possible.
            rng: The random generator.
            scatter: How far choices may be from `level`, from 0 (all of them at it) to 1 (as far as the range allows).
        """
        spread = scatter * min(level, 1 - level)
        at = {choice.name: level + rng.uniform(-spread, spread) for choice in self.choices}
        return self.subnet({c.name: c.options[round(at[c.name] * (len(c.options) - 1))] for c in self.choices})

    def mutate(self, subnet: SubnetConfig, rng: random.Random, probability: float) -> SubnetConfig:
        """`subnet`, in which each choice is redrawn uniformly with `probability`, in [0, 1]."""
        values = subnet.to_dict()
        for choice in self.choices:
            if rng.random() < probability:
                values[choice.name] = rng.choice(choice.options)
        return self.subnet(values)

    def encode(self, subnet: SubnetConfig) -> tuple[int, ...]:
        """The index of the option taken for each choice, in the order of `choices`."""
        return tuple(c.options.index(v) for c, (_, v) in zip(self.choices, subnet.values, strict=True))

    def decode(self, indices: tuple[int, ...]) -> SubnetConfig:
        """The inverse of `encode`; the result is canonical whatever the indices of absent blocks are.

        Raises:
            SpaceError: There are too few or too many indices, or one is out of range.
        """
        if len(indices) != len(self.choices):
            raise SpaceError(f"{len(indices)} indices for {len(self.choices)} choices; expected one for each")
        for choice, index in zip(self.choices, indices, strict=True):
            if not 0 <= index < len(choice.options):
                raise SpaceError(f"choice {choice.name!r}: index {index} is outside 0..{len(choice.options) - 1}")
        return self.subnet({c.name: c.options[i] for c, i in zip(self.choices, indices, strict=True)})

    def count(self) -> int:
        """The number of distinct subnets; subnets that differ only in absent blocks count once."""
        return math.prod(self._ways(choice) for choice in self.choices if not choice.depth_choice)

    def to_json(self) -> list[dict[str, object]]:
        """A JSON value that identifies the space."""
        return [
            {"name": c.name, "options": list(c.options), "depth_choice": c.depth_choice, "exists_from": c.exists_from}
            for c in self.choices
        ]

    def exists(self, choice: Choice, values: Mapping[str, Option]) -> bool:
        """Whether the block that `choice` describes is present in a subnet with these values."""
        if not choice.depth_choice:
            return True
        depth = self._by_name[choice.depth_choice]
        return values[depth.name] >= choice.exists_from and self.exists(depth, values)

    def existing(self, vectors: NDArray[np.integer]) -> NDArray[np.bool_]:
        """Whether the block that each choice describes is present, (subnets, choices).

        Args:
            vectors: Subnets as `encode` returns them, (subnets, choices).
        """
        import numpy as np

        columns = {choice.name: column for column, choice in enumerate(self.choices)}
        exists = np.ones(vectors.shape, dtype=bool)
        for column, choice in enumerate(self.choices):
            if choice.depth_choice:
                depth = columns[choice.depth_choice]
                options = self.choices[depth].options
                first = next((i for i, option in enumerate(options) if option >= choice.exists_from), len(options))
                exists[:, column] = exists[:, depth] & (vectors[:, depth] >= first)
        return exists

    def _ways(self, choice: Choice) -> int:
        """The number of combinations of a present `choice` and all choices that depend on it."""
        dependents = [c for c in self.choices if c.depth_choice == choice.name]
        return sum(math.prod(self._ways(c) for c in dependents if depth >= c.exists_from) for depth in choice.options)

    def __iter__(self) -> Iterator[Choice]:
        return iter(self.choices)
