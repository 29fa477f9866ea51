"""Where the activations of a network lie in one block of memory, and how small any plan could be.

An activation is a buffer that lives from the step that writes it to the last step that reads it. Buffers that live at
the same time must not overlap; the arena ends where the highest buffer ends. Finding the smallest arena is NP-hard, but
no arena is smaller than the most bytes that live at one step, so a plan that meets that bound is proven optimal.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Sequence
from dataclasses import dataclass

from factory_base.errors import FactoryError

_WORK = 10_000_000
"""How many times the search may look from one buffer at another that it meets: seconds, whatever the buffers.

Nothing is searched where a greedy plan meets the bound. Placing a buffer at all costs as much as some looks.
"""
_LOOKS_TO_PLACE = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Buffer:
    """Memory that must keep its content from step `first` to step `last`, both included.

    Attributes:
        size_bytes: 0 or more.
        first: the step that writes it.
        last: the last step that reads it, not before `first`.

    Raises:
        FactoryError: a size below zero, or a life that ends before it begins.
    """

    size_bytes: int
    first: int
    last: int

    def __post_init__(self) -> None:
        if self.size_bytes < 0 or self.last < self.first:
            raise FactoryError(f"{self} must have a size of 0 or more and end no earlier than it begins")


@dataclass(frozen=True, slots=True, kw_only=True)
class ArenaPlan:
    """A place for every buffer.

    Attributes:
        offsets: in bytes from the start of the arena, in the order of the buffers given.
        arena_bytes: where the highest buffer ends.
        bound_bytes: the most bytes that live at one step, sizes rounded up to the alignment; no plan needs less.
    """

    offsets: tuple[int, ...]
    arena_bytes: int
    bound_bytes: int

    @property
    def is_optimal(self) -> bool:
        """Whether this is proven to be the smallest arena."""
        return self.arena_bytes == self.bound_bytes


def plan_arena(buffers: Sequence[Buffer], alignment: int = 1) -> ArenaPlan:
    """The smallest arena of four plans, the harder to make only if none before meets the lower bound.

    1. Greedy by size: the largest buffer first, each into the tightest gap that is free over its whole life
       (Pisarchyk and Lee, "Efficient memory management for deep neural net inference", 2020).
    2. Greedy by breadth: the same, with the buffers of the fullest step first, then those of the next such step.
    3. Greedy by height: whichever buffer can now lie lowest, on top of those it meets; of equals the one that takes
       most bytes times steps.
    4. A search over the orders of placing: a buffer that ends at the arena's top, or one that it meets, is placed at
       another turn, and the change is kept unless the arena grows. Seeded, so that equal buffers give equal plans.

    Args:
        buffers: in any order; their steps are any numbers that are ordered in time.
        alignment: every offset is a multiple of it, in bytes.

    Raises:
        FactoryError: the alignment is below 1.
    """
    if alignment < 1:
        raise FactoryError(f"an alignment of {alignment} bytes is below 1")
    lives = _Lives(buffers, alignment)
    offsets = _placed(lives, lives.by_size())
    if lives.arena(offsets) > lives.bound:
        offsets = min(offsets, _placed(lives, lives.by_breadth()), _stacked(lives), key=lives.arena)
    if lives.arena(offsets) > lives.bound:
        offsets = _searched(lives, offsets)
    return ArenaPlan(offsets=tuple(offsets), arena_bytes=lives.arena(offsets), bound_bytes=lives.bound)


class _Lives:
    """Buffers by number: sizes rounded up to the alignment, and which ones each meets."""

    def __init__(self, buffers: Sequence[Buffer], alignment: int) -> None:
        self.buffers = buffers
        self.sizes = [-(-buffer.size_bytes // alignment) * alignment for buffer in buffers]
        self.by_first = sorted(range(len(buffers)), key=lambda number: buffers[number].first)
        self.met: list[list[int]] = [[] for _ in buffers]
        self.fullness = [0] * len(buffers)
        """The bytes that live where each buffer begins; the last one to begin at a step sees all that live there."""
        living: list[int] = []
        for number in self.by_first:
            living = [other for other in living if buffers[other].last >= buffers[number].first]
            for other in living:
                self.met[other].append(number)
            self.met[number] += living
            living.append(number)
            self.fullness[number] = sum(self.sizes[other] for other in living)
        self.bound = max(self.fullness, default=0)

    def arena(self, offsets: Sequence[int]) -> int:
        """Where the highest buffer ends."""
        return max((offset + size for offset, size in zip(offsets, self.sizes, strict=True)), default=0)

    def by_size(self) -> list[int]:
        """The largest first, of equal ones the one that meets most."""
        return sorted(range(len(self.sizes)), key=lambda number: (-self.sizes[number], -len(self.met[number])))

    def by_breadth(self) -> list[int]:
        """Those of the fullest step first, of one step the largest first."""
        breadth = self.fullness.copy()
        for number in self.by_first:
            reached = (self.fullness[other] for other in self.met[number] if self._begins_within(other, number))
            breadth[number] = max(self.fullness[number], *reached, 0)
        return sorted(self.by_size(), key=lambda number: -breadth[number])

    def _begins_within(self, other: int, number: int) -> bool:
        return self.buffers[number].first <= self.buffers[other].first

    def bulk(self, number: int) -> int:
        """Bytes times steps."""
        return self.sizes[number] * (self.buffers[number].last - self.buffers[number].first + 1)


def _placed(lives: _Lives, order: Sequence[int]) -> list[int]:
    """Offsets when each buffer in turn takes the tightest gap between those that it meets, else the place on top."""
    offsets = [-1] * len(order)
    for number in order:
        size, top, offset, tightest = lives.sizes[number], 0, -1, -1
        blocks = sorted((offsets[other], lives.sizes[other]) for other in lives.met[number] if offsets[other] >= 0)
        for start, length in blocks:
            gap = start - top
            if gap >= size and (offset < 0 or gap < tightest):
                offset, tightest = top, gap
            top = max(top, start + length)
        offsets[number] = offset if offset >= 0 else top
    return offsets


def _stacked(lives: _Lives) -> list[int]:
    """Offsets when whichever buffer can lie lowest is next, on top of all that it meets."""
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
        for other in lives.met[number]:
            heights[other] = max(heights[other], height + lives.sizes[number])
    return offsets


def _searched(lives: _Lives, offsets: list[int]) -> list[int]:
    """Offsets at least as good as those given."""
    rng = random.Random(0)
    order = sorted(range(len(offsets)), key=lambda number: (offsets[number], -lives.bulk(number)))
    arena = lives.arena(offsets)
    looks = sum(_LOOKS_TO_PLACE + len(met) for met in lives.met)
    for _ in range(_WORK // looks):
        if arena == lives.bound:
            break
        changed = _moved(lives, offsets, order, arena, rng)
        candidate = _placed(lives, changed)
        if lives.arena(candidate) <= arena:
            order, offsets, arena = changed, candidate, lives.arena(candidate)
    return offsets


def _moved(lives: _Lives, offsets: list[int], order: list[int], arena: int, rng: random.Random) -> list[int]:
    """`order` with a buffer from the top earlier, or one that it meets anywhere else."""
    top = rng.choice([n for n, offset in enumerate(offsets) if offset + lives.sizes[n] == arena])
    number = rng.choice([top, rng.choice(lives.met[top])])
    place = order.index(number)
    rest = order[:place] + order[place + 1 :]
    turn = rng.randrange(place + 1 if number == top else len(order))
    return [*rest[:turn], number, *rest[turn:]]
