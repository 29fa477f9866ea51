"""Draws a split by whole groups, such as patients or sessions, with about the same share of every stratum."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from factory_base.errors import DataError
from factory_base.wording import counted
from supernet.data.split_names import listed
from supernet.data.types import Groups, Rows

Strata = NDArray[np.int64]
"""A number for each row, `(count,)`; every stratum should have the same share of every split."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupRules:
    """What a draw of groups must leave, and how its errors name things.

    Attributes:
        left: How many groups with rows of a stratum must be left: 1, or 2 if there will be another draw.
        class_names: Name of each stratum if every one must be in every split; None if strata only guide the draw.
        group_names: Name of each group.
        purpose: What is drawn, for messages.
    """

    left: int
    class_names: Sequence[str] | None
    group_names: Sequence[str]
    purpose: str


def draw_groups(strata: Strata, groups: Groups, fraction: float, order: NDArray[np.int64], rules: GroupRules) -> Rows:
    """Rows of whole groups, ascending: about a `fraction` of the rows of each stratum.

    Iterative stratification (Sechidis et al., 2011) over groups in place of examples: strata are filled from the rarest
    on. A group is taken if it brings its strata nearer to their shares on the whole, each relative to its share.

    Args:
        strata: Stratum of each row.
        groups: Group of each row.
        fraction: 0 to 1.
        order: A permutation of the rows: groups are tried in the order of their first rows in it.
        rules: What must be left.

    Raises:
        DataError: A stratum that must be in every split is in too few groups; the message names class and group.
    """
    _, units = np.unique(groups, return_inverse=True)
    if rules.class_names is None and len(np.unique(units)) <= rules.left:
        raise _too_few(rules, None, np.unique(groups))
    draw = _Draw.of(strata, units, fraction, order, rules)
    for stratum in draw.rarest_first():
        draw.fill(stratum)
    for stratum in draw.rarest_first():
        is_needed = draw.must and not draw.taken_rows[stratum]
        if (is_needed or not draw.taken_rows[-1]) and not draw.force(stratum):
            raise _too_few(rules, stratum, np.unique(groups[strata == stratum]))
    return np.flatnonzero(np.array(draw.taken)[units])


def _too_few(rules: GroupRules, stratum: int | None, groups: Groups) -> DataError:
    named = listed([repr(rules.group_names[int(group)]) for group in groups])
    names = rules.class_names or ()
    subject = "the data" if stratum is None or stratum >= len(names) else f"class {names[stratum]!r}"
    return DataError(
        f"{subject}: {rules.purpose} need {rules.left + 1} separate groups, but there "
        f"{'is' if len(groups) == 1 else 'are'} {counted(len(groups), 'group')} ({named}), of which a draw "
        "would leave none for one of them; add groups, or name a column with the split of each row in 'split_column'"
    )


@dataclass(slots=True, kw_only=True, eq=False)
class _Draw:
    """The state of a draw. Lists, since Python reads their elements faster than those of arrays.

    A cell is a pair of a group and a stratum that have rows in common. The last stratum is that of all rows.

    Attributes:
        strata: For each cell, in the order of the groups, its stratum.
        counts: For each cell, in the order of the groups, its number of rows.
        starts: For each group, its first cell; and, at the end, the number of cells.
        members: For each cell, in the order of the strata and then of the draw, its group.
        edges: For each stratum, its first cell in `members`; and, at the end, the number of cells.
        weights: For each stratum, what a row too few or too many counts.
        wanted: For each stratum, how many rows are still to be taken; below 0 after too many.
        open_groups: For each stratum, the number of its groups that have not been taken.
        taken_rows: For each stratum, the number of rows taken.
        taken: Whether each group was taken.
        seen: Whether each group was looked at.
        left: See `GroupRules`.
        must: Whether every stratum must keep `left` groups.
    """

    strata: list[int]
    counts: list[int]
    starts: list[int]
    members: list[int]
    edges: list[int]
    weights: list[float]
    wanted: list[float]
    open_groups: list[int]
    taken_rows: list[int]
    taken: list[bool]
    seen: list[bool]
    left: int
    must: bool

    @staticmethod
    def of(strata: Strata, units: Groups, fraction: float, order: NDArray[np.int64], rules: GroupRules) -> _Draw:
        """The start of a draw; `units` number the groups from 0 without gaps."""
        count, kinds = int(units.max()) + 1, int(strata.max()) + 1
        cells, sizes = np.unique(units * kinds + strata, return_counts=True)
        owners = np.concatenate([cells // kinds, np.arange(count)])
        of = np.concatenate([cells % kinds, np.full(count, kinds)])
        sizes = np.concatenate([sizes, np.bincount(units)])
        first = np.full(count, len(units))
        np.minimum.at(first, units[order], np.arange(len(units)))
        by_group, by_stratum = np.argsort(owners, kind="stable"), np.lexsort((first[owners], of))
        totals = np.bincount(of, weights=sizes)
        groups = np.bincount(of)
        must = rules.class_names is not None
        shares = [max(1.0, fraction * total) if must else fraction * total for total in totals.tolist()]
        weights = [1] * kinds + [1 if must else kinds]  # if strata only guide, the number of rows comes first
        return _Draw(
            strata=of[by_group].tolist(),
            counts=sizes[by_group].tolist(),
            starts=[0, *np.cumsum(np.bincount(owners)).tolist()],
            members=owners[by_stratum].tolist(),
            edges=[0, *np.cumsum(groups).tolist()],
            weights=[weight / share if share else 0.0 for weight, share in zip(weights, shares, strict=True)],
            wanted=shares,
            open_groups=groups.tolist(),
            taken_rows=[0] * (kinds + 1),
            taken=[False] * count,
            seen=[False] * count,
            left=rules.left,
            must=must,
        )

    def rarest_first(self) -> list[int]:
        """The strata that have rows, by the rows that are wanted."""
        return sorted((s for s, groups in enumerate(self.open_groups) if groups), key=lambda s: (self.wanted[s], s))

    def parts(self, group: int) -> Iterator[tuple[int, int]]:
        """The strata of the rows of a group, and their counts."""
        start, stop = self.starts[group], self.starts[group + 1]
        return zip(self.strata[start:stop], self.counts[start:stop], strict=True)

    def groups_of(self, stratum: int) -> list[int]:
        """The groups with rows of a stratum, in the order in which they are tried."""
        return self.members[self.edges[stratum] : self.edges[stratum + 1]]

    def fill(self, stratum: int) -> None:
        """Take groups with rows of `stratum` until it has its share.

        A group that gains nothing now never will, since what is wanted only falls: each is looked at once.
        """
        for group in self.groups_of(stratum):
            if self.wanted[stratum] <= 0:
                return
            if not self.seen[group]:
                self.seen[group] = True
                if self._is_free(group) and self._gain(group) > 0:
                    self._take(group)

    def force(self, stratum: int) -> bool:
        """Take the group with rows of `stratum` that overshoots least; whether there was one."""
        free = [group for group in self.groups_of(stratum) if self._is_free(group)]
        if free:
            self._take(max(free, key=self._gain))
        return bool(free)

    def _is_free(self, group: int) -> bool:
        """Whether a group can be taken, so that enough groups of each of its strata are left."""
        if self.taken[group] or self.open_groups[-1] <= self.left:
            return False
        return not self.must or all(self.open_groups[stratum] > self.left for stratum, _ in self.parts(group))

    def _gain(self, group: int) -> float:
        """By how much the strata come nearer to their shares, each as a fraction of its share."""
        wanted, weights = self.wanted, self.weights
        return sum((abs(wanted[s]) - abs(wanted[s] - count)) * weights[s] for s, count in self.parts(group))

    def _take(self, group: int) -> None:
        self.taken[group] = True
        for stratum, count in self.parts(group):
            self.wanted[stratum] -= count
            self.taken_rows[stratum] += count
            self.open_groups[stratum] -= 1
