import itertools
import random
import statistics
import time

import pytest

from exports.onnx.arena import ArenaPlan, Buffer, plan_arena
from factory_base.errors import FactoryError


def buffer(size: int, first: int, last: int) -> Buffer:
    return Buffer(size_bytes=size, first=first, last=last)


def random_buffers(seed: int, count: int, steps: int = 12) -> list[Buffer]:
    rng = random.Random(seed)
    spans = [sorted(rng.choices(range(steps), k=2)) for _ in range(count)]
    return [buffer(rng.choice([0, 1, 7, 64, rng.randrange(1000)]), *span) for span in spans]


def tiled(seed: int, count: int) -> list[Buffer]:
    """A full rectangle of 40 steps by 4096 bytes, cut at random: hard to plan, but some plan meets the bound."""
    rng, tiles = random.Random(seed), [(0, 40, 0, 4096)]
    while len(tiles) < count:
        first, end, low, high = tiles.pop(rng.randrange(len(tiles)))
        if rng.random() < 0.5 and end - first > 1:
            cut = rng.randrange(first + 1, end)
            tiles += [(first, cut, low, high), (cut, end, low, high)]
        elif high - low > 1:
            cut = rng.randrange(low + 1, high)
            tiles += [(first, end, low, cut), (first, end, cut, high)]
        else:
            tiles.append((first, end, low, high))
    return [buffer(high - low, first, end - 1) for first, end, low, high in tiles]


def overlaps(buffers: list[Buffer], plan: ArenaPlan) -> list[tuple[int, int]]:
    """Pairs that are live at the same time and share a byte."""
    numbered = list(enumerate(zip(buffers, plan.offsets, strict=True)))
    return [
        (i, j)
        for (i, (a, low)), (j, (b, other)) in itertools.combinations(numbered, 2)
        if a.first <= b.last and b.first <= a.last
        if low < other + b.size_bytes and other < low + a.size_bytes
    ]


def most_alive(buffers: list[Buffer]) -> int:
    steps = {step for b in buffers for step in (b.first, b.last)}
    return max(sum(b.size_bytes for b in buffers if b.first <= step <= b.last) for step in steps)


def first_fit(buffers: list[Buffer], order: tuple[int, ...]) -> int:
    """The arena if each buffer in turn gets the lowest free offset."""
    offsets: dict[int, int] = {}
    for i in order:
        met = [j for j in offsets if buffers[j].first <= buffers[i].last and buffers[i].first <= buffers[j].last]
        offset = 0
        for j in sorted(met, key=offsets.__getitem__):
            if offsets[j] - offset >= buffers[i].size_bytes:
                break
            offset = max(offset, offsets[j] + buffers[j].size_bytes)
        offsets[i] = offset
    return max(offset + buffers[i].size_bytes for i, offset in offsets.items())


def best_fit_by_size(buffers: list[Buffer]) -> int:
    """The plain greedy plan, written independently of the product's: every offset on or between others is tried."""
    offsets: dict[int, int] = {}
    for i in sorted(range(len(buffers)), key=lambda i: (-buffers[i].size_bytes, -met_by(buffers, i))):
        near = [j for j in offsets if buffers[j].first <= buffers[i].last and buffers[i].first <= buffers[j].last]
        gaps = []
        for low in {0, *(offsets[j] + buffers[j].size_bytes for j in near)}:
            above = [offsets[j] - low for j in near if offsets[j] + buffers[j].size_bytes > low]
            if min(above, default=1 << 40) >= buffers[i].size_bytes:
                gaps.append((min(above, default=1 << 40), low))
        offsets[i] = min(gaps)[1]
    return max(offset + buffers[i].size_bytes for i, offset in offsets.items())


def met_by(buffers: list[Buffer], i: int) -> int:
    return sum(b.first <= buffers[i].last and buffers[i].first <= b.last for b in buffers)


@pytest.mark.parametrize("alignment", [1, 64])
def test_buffers_that_are_live_at_the_same_time_do_not_overlap(alignment: int) -> None:
    for seed in range(60):
        buffers = random_buffers(seed, count=3 + seed % 20)
        plan = plan_arena(buffers, alignment)
        assert len(plan.offsets) == len(buffers)
        assert overlaps(buffers, plan) == []
        assert all(offset >= 0 and offset % alignment == 0 for offset in plan.offsets)
        ends = [offset + b.size_bytes for offset, b in zip(plan.offsets, buffers, strict=True)]
        assert max(ends) <= plan.arena_bytes < max(ends) + alignment


def test_the_bound_is_the_most_that_is_live_at_one_step_and_no_arena_is_smaller() -> None:
    for seed in range(60):
        buffers = random_buffers(seed, count=3 + seed % 20)
        plan = plan_arena(buffers)
        assert plan.bound_bytes == most_alive(buffers) <= plan.arena_bytes
        assert plan.is_optimal == (plan.arena_bytes == plan.bound_bytes)


def test_no_plan_is_worse_than_greedy_by_size_and_hard_ones_are_better() -> None:
    hard = [tiled(seed, 30) for seed in range(6)]
    easy = [random_buffers(seed, 12) for seed in range(30)]
    ratios = [plan_arena(buffers).arena_bytes / best_fit_by_size(buffers) for buffers in (*hard, *easy)]
    assert max(ratios) <= 1
    assert statistics.mean(ratios[: len(hard)]) < 0.93


def test_hard_cuts_of_a_full_rectangle_are_planned_near_its_height() -> None:
    plans = [plan_arena(tiled(seed, 30)) for seed in range(6)]
    assert {plan.bound_bytes for plan in plans} == {4096}
    assert max(plan.arena_bytes for plan in plans) < 1.25 * 4096


def test_few_buffers_are_planned_as_well_as_by_the_best_of_all_orders() -> None:
    for seed in range(12):
        buffers = tiled(seed, 6)
        best = min(first_fit(buffers, order) for order in itertools.permutations(range(6)))
        assert plan_arena(buffers).arena_bytes == best


def test_a_chain_of_layers_needs_its_largest_pair() -> None:
    chain = [buffer(size, step, step + 1) for step, size in enumerate([30, 100, 70, 90, 10])]
    plan = plan_arena(chain)
    assert (plan.arena_bytes, plan.bound_bytes, plan.is_optimal) == (170, 170, True)


def test_sizes_are_rounded_up_to_the_alignment_in_the_bound_too() -> None:
    plan = plan_arena([buffer(10, 0, 1), buffer(10, 1, 2)], alignment=64)
    assert (plan.arena_bytes, plan.bound_bytes) == (128, 128)
    assert sorted(plan.offsets) == [0, 64]


def test_equal_buffers_give_equal_plans() -> None:
    assert plan_arena(tiled(3, 20)) == plan_arena(tiled(3, 20))


def test_nothing_needs_nothing() -> None:
    assert plan_arena([]) == ArenaPlan(offsets=(), arena_bytes=0, bound_bytes=0)
    assert plan_arena([buffer(0, 0, 3), buffer(0, 1, 2)]).is_optimal


def test_thousands_of_layers_are_planned_at_once() -> None:
    rng = random.Random(0)
    chain = [buffer(rng.randrange(1, 10**6), step, step + rng.choice([1, 1, 1, 6])) for step in range(4000)]
    started = time.process_time()
    plan = plan_arena(chain)
    assert time.process_time() - started < 5  # a tenth of that on an idle machine
    assert plan.is_optimal


@pytest.mark.parametrize(("size", "first", "last"), [(-1, 0, 0), (1, 2, 1)])
def test_an_impossible_buffer_is_refused(size: int, first: int, last: int) -> None:
    with pytest.raises(FactoryError, match="must have a size of 0 or more"):
        buffer(size, first, last)


def test_an_alignment_below_one_is_refused() -> None:
    with pytest.raises(FactoryError, match="alignment of 0 bytes"):
        plan_arena([], alignment=0)
