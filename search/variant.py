"""A variant: a subnet in a precision, which is what the search picks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, get_args

from device_profiles.engine import Precision
from search.scored import Scored
from supernet.space import SubnetConfig

PRECISIONS: Final[tuple[Precision, ...]] = get_args(Precision)
"""All precisions of files."""


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Variant:
    """A subnet in a precision.

    Attributes:
        subnet: The subnet.
        precision: The precision of its file.
    """

    subnet: SubnetConfig
    precision: Precision = "fp32"

    @property
    def name(self) -> str:
        """A name for files and records."""
        return f"{self.subnet.id}-{self.precision}"

    def describe(self) -> str:
        """The subnet's id for people and, unless it is fp32, the precision."""
        return self.subnet.id if self.precision == "fp32" else f"{self.subnet.id} in {self.precision}"


def variant_of(scored: Scored) -> Variant:
    """The variant that was scored. Raises `KeyError` if its precision is unknown."""
    return Variant(subnet=scored.subnet, precision=_NAMED[scored.precision])


_NAMED: dict[str, Precision] = {precision: precision for precision in PRECISIONS}
