"""Offsets of the activations of a network in one block of memory (the arena), and a lower bound of its size.

An activation is a buffer that is live from the step that writes it to the last step that reads it. Buffers that are
live at the same time must not overlap; the arena ends where the highest buffer ends. Finding the smallest arena is
NP-hard, but no arena is smaller than the most bytes that are live at one step, so a plan that meets this bound is
proven optimal.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Sequence
from dataclasses import dataclass

from factory_base.errors import FactoryError

_WORK = 10_000_000
"""The number of times that the search may compare a buffer with one that overlaps it in time. Measured on 400 buffers
and one x86 core, this takes 0.1 s if few of them overlap and 1 s if many do."""
_COMPARISONS_TO_PLACE = 50
"""The cost of placing a buffer besides comparisons, in comparisons. Measured is about 4; the rest is a margin that
makes the search shorter if few buffers overlap."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Buffer:
    """Memory that must keep its content from step `first` to step `last`, both included.

    Attributes:
        size_bytes: The size, 0 or more.
        first: The step that writes it.
        last: The last step that reads it, not before `first`.

    Raises:
        FactoryError: The size is negative, or `last` is before `first`.
    """

    size_bytes: int
    first: int
    last: int

    def __post_init__(self) -> None:
        if self.size_bytes < 0 or self.last < self.first:
            raise FactoryError(f"{self} must have a size of 0 or more, and its last step must not be before its first")


@dataclass(frozen=True, slots=True, kw_only=True)
class ArenaPlan:
    """An offset for every buffer.

    Attributes:
        offsets: Bytes from the start of the arena, in the order of the given buffers.
        arena_bytes: The size of the arena: where the highest buffer ends.
        bound_bytes: The most bytes that are live at one step, sizes rounded up to the alignment; no plan needs less.
    """

    offsets: tuple[int, ...]
    arena_bytes: int
    bound_bytes: int

    @property
    def is_optimal(self) -> bool:
        """Whether this is proven to be the smallest arena."""
        return self.arena_bytes == self.bound_bytes


def plan_arena(buffers: Sequence[Buffer], alignment: int = 1) -> ArenaPlan:
    """The best of up to four plans. A more expensive one is made only if those before it do not meet the lower bound.

    1. Greedy by size: the largest buffer first, each into the tightest gap that is free during its whole lifetime
       (Pisarchyk and Lee, "Efficient memory management for deep neural net inference", 2020).
    2. Greedy by breadth: the same, with the buffers of the step with most live bytes first, then those of the next.
    3. Greedy by height: next is the buffer with the lowest possible offset, on top of those that overlap it in time;
       among equals, the one with most bytes times steps.
    4. A search over placement orders: a buffer that ends at the top of the arena, or one that overlaps it in time, is
       moved to another position in the order, and the move is kept unless the arena grows. It is seeded, so equal
       buffers give equal plans.

    Args:
        buffers: The buffers in any order; their steps are numbers that increase with time.
        alignment: Every offset is a multiple of this number of bytes.

    Raises:
        FactoryError: The alignment is below 1.
    """
    if alignment < 1:
        raise FactoryError(f"an alignment of {alignment} bytes is not possible; use 1 or more")
    lives = _Lives(buffers, alignment)
    offsets = _placed(lives, lives.by_size())
    if lives.arena(offsets) > lives.bound:
        offsets = min(offsets, _placed(lives, lives.by_breadth()), _stacked(lives), key=lives.arena)
    if lives.arena(offsets) > lives.bound:
        offsets = _searched(lives, offsets)
    return ArenaPlan(offsets=tuple(offsets), arena_bytes=lives.arena(offsets), bound_bytes=lives.bound)


class _Lives:
    """Buffers by number: sizes rounded up to the alignment, and for each the buffers that overlap it in time."""

    def __init__(self, buffers: Sequence[Buffer], alignment: int) -> None:
        self.buffers = buffers
        self.sizes = [-(-buffer.size_bytes // alignment) * alignment for buffer in buffers]
        self.by_first = sorted(range(len(buffers)), key=lambda number: buffers[number].first)
        self.overlapping: list[list[int]] = [[] for _ in buffers]
        self.live_bytes = [0] * len(buffers)
        """Bytes that are live when each buffer is written; the last one written at a step counts all of that step."""
        live: list[int] = []
        for number in self.by_first:
            live = [other for other in live if buffers[other].last >= buffers[number].first]
            for other in live:
                self.overlapping[other].append(number)
            self.overlapping[number] += live
            live.append(number)
            self.live_bytes[number] = sum(self.sizes[other] for other in live)
        self.bound = max(self.live_bytes, default=0)

    def arena(self, offsets: Sequence[int]) -> int:
        """The size of the arena: where the highest buffer ends."""
        return max((offset + size for offset, size in zip(offsets, self.sizes, strict=True)), default=0)

    def by_size(self) -> list[int]:
        """The largest first; among equals, the one with most overlapping buffers."""
        return sorted(range(len(self.sizes)), key=lambda number: (-self.sizes[number], -len(self.overlapping[number])))

    def by_breadth(self) -> list[int]:
        """The buffers of the step with most live bytes first; within a step, the largest first."""
        breadth = self.live_bytes.copy()
        for number in self.by_first:
            reached = (
                self.live_bytes[other] for other in self.overlapping[number] if self._begins_within(other, number)
            )
            breadth[number] = max(self.live_bytes[number], *reached, 0)
        return sorted(self.by_size(), key=lambda number: -breadth[number])

    def _begins_within(self, other: int, number: int) -> bool:
        return self.buffers[number].first <= self.buffers[other].first

    def bulk(self, number: int) -> int:
        """Bytes times steps."""
        return self.sizes[number] * (self.buffers[number].last - self.buffers[number].first + 1)


def _placed(lives: _Lives, order: Sequence[int]) -> list[int]:
    """Offsets if each buffer in turn takes the tightest gap among those that overlap it in time, else goes on top."""
    offsets = [-1] * len(order)
    for number in order:
        size, top, offset, tightest = lives.sizes[number], 0, -1, -1
        blocks = sorted(
            (offsets[other], lives.sizes[other]) for other in lives.overlapping[number] if offsets[other] >= 0
        )
        for start, length in blocks:
            gap = start - top
            if gap >= size and (offset < 0 or gap < tightest):
                offset, tightest = top, gap
            top = max(top, start + length)
        offsets[number] = offset if offset >= 0 else top
    return offsets


def _stacked(lives: _Lives) -> list[int]:
    """Offsets if the buffer with the lowest possible offset is always next, on top of those that overlap it in time."""
    offsets = [-1] * len(lives.sizes)
    heights = [0] * len(lives.sizes)
    waiting = [(0, -lives.bulk(number), number) for number in lives.by_first]
    heapq.heapify(waiting)
    while waiting:
        height, bulk, number = heapq.heappop(waiting)
        if height < heights[number]:
            heapq.heappush(waiting, (heights[number], bulk, number))
            continue
        offsets[number] = height
        for other in lives.overlapping[number]:
            heights[other] = max(heights[other], height + lives.sizes[number])
    return offsets


def _searched(lives: _Lives, offsets: list[int]) -> list[int]:
    """Offsets whose arena is at most as large as that of `offsets`."""
    rng = random.Random(0)
    order = sorted(range(len(offsets)), key=lambda number: (offsets[number], -lives.bulk(number)))
    arena = lives.arena(offsets)
    comparisons = sum(_COMPARISONS_TO_PLACE + len(others) for others in lives.overlapping)
    for _ in range(_WORK // comparisons):
        if arena == lives.bound:
            break
        changed = _moved(lives, offsets, order, arena, rng)
        candidate = _placed(lives, changed)
        if lives.arena(candidate) <= arena:
            order, offsets, arena = changed, candidate, lives.arena(candidate)
    return offsets


def _moved(lives: _Lives, offsets: list[int], order: list[int], arena: int, rng: random.Random) -> list[int]:
    """`order` with a buffer at the top of the arena moved earlier, or one that overlaps it in time moved anywhere."""
    top = rng.choice([n for n, offset in enumerate(offsets) if offset + lives.sizes[n] == arena])
    number = rng.choice([top, rng.choice(lives.overlapping[top])])
    position = order.index(number)
    rest = order[:position] + order[position + 1 :]
    new = rng.randrange(position + 1 if number == top else len(order))
    return [*rest[:new], number, *rest[new:]]
