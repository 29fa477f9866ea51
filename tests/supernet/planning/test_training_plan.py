"""A training run is measured before it starts, and made to fit the limits on time and memory."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from factory_base.errors import ConfigError, PlanError, TrainingError
from supernet.data.image_examples import Normalisation
from supernet.planning import preflight
from supernet.planning.plan import (
    MEMORY_MARGIN,
    TIME_MARGIN,
    StepCost,
    TrainingCosts,
    TrainingLimits,
    epochs_of,
    expected_peak,
    fit_steps,
    make_plan,
    micro_batches,
    seconds_until,
    time_span,
)
from supernet.planning.preflight import plan_training, precision_warning
from supernet.sharing.supernet import Supernet
from supernet.training.config import TrainingConfig
from supernet.training.training import check_interval, steps_of, train
from supernet.training.workers import one_worker

RECIPE = {"epochs": 3, "batch_size": 32, "learning_rate": 0.05, "largest_only": 0.3}
COSTS = TrainingCosts(
    alone=StepCost(seconds=1.0, waiting_seconds=0.0),
    sandwich=StepCost(seconds=2.0, waiting_seconds=0.5),
    largest_check_seconds=10.0,
    smallest_check_seconds=5.0,
    save_seconds=2.0,
    idle_bytes=2**29,
    peak_bytes=2**30,
    subnet_bytes=2**20,
    total_bytes=2**32,
    device="cpu",
)
GIB = 2**30


def test_the_time_of_the_first_steps_counts_each_phase_by_its_own_costs() -> None:
    config = TrainingConfig(epochs=1, batch_size=8, largest_only=0.4, save_every=1e6)
    until = seconds_until(config, 100, 10, COSTS)
    assert until(0) == 0
    assert until(9) == pytest.approx(9, rel=1e-4)
    assert until(40) == pytest.approx(40 + 4 * 12, rel=1e-4)  # 12 s: a check of the largest network, and a save
    assert until(41) - until(40) == pytest.approx(2, rel=1e-4)
    assert until(100) == pytest.approx(make_plan(config, 100, 10, COSTS).seconds)


def recipe(**changes: object) -> TrainingConfig:
    return TrainingConfig.model_validate(RECIPE | changes)


def plan(space, images, config=None, **limits):
    return plan_training(
        lambda: Supernet(space), images, config or recipe(),
        limits=TrainingLimits(**limits), seed=0, check=lambda *_: 0.5, workers=one_worker(),
    )  # fmt: skip


class CountedMemory:
    """Stands in for `PeakMemory`: an idle GiB, and the inputs of the largest micro-batch since it was made.

    What a process really takes depends on what the tests before have left in the heap, and filling so much memory in
    every step takes long.
    """

    largest = 0

    def __init__(self, _device: torch.device) -> None:
        type(self).largest = 0

    def bytes(self) -> int:
        return GIB + self.largest


class HungryImages:
    """`images` whose inputs take 8 MiB of `CountedMemory` each; more than `most` at a time exceed the GPU's memory."""

    def __init__(self, images, most: int = 1000) -> None:
        self._images, self._most, self.labels = images, most, images.labels
        self.weights = images.weights

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, rows, draws):
        return self._images.batch(rows, draws)

    def to_input(self, batch, shape):
        if len(batch) > self._most:
            raise torch.OutOfMemoryError
        CountedMemory.largest = max(CountedMemory.largest, len(batch) * 8 * 2**20)
        return self._images.to_input(batch, shape)


def test_the_time_is_that_of_steps_checks_and_saves():
    found = make_plan(recipe(largest_only=0.4, save_every=20), steps=100, check_every=10, costs=COSTS)
    steps = 40 * 1 + 60 * 2
    checks = 10 * (10 + 2) + 6 * 5
    assert found.alone_steps == 40
    assert found.seconds == pytest.approx((steps + checks) * (1 + 2 / 20))
    assert found.waiting_share == pytest.approx(60 * 0.5 / steps)


def test_the_plan_reads_as_one_line():
    line = make_plan(recipe(largest_only=0.4), steps=2000, check_every=500, costs=COSTS).describe()
    assert line == (
        "2,000 steps (800 largest alone at 1 s, 1,200 sandwich at 2 s), about 60 min, "
        "peak memory 1.62 GiB (41% of 4 GiB), 19% of it waiting for data"
    )


def test_a_phase_that_the_recipe_lacks_is_not_mentioned():
    line = make_plan(recipe(largest_only=0), 100, 10, replace(COSTS, alone=None, peak_bytes=None)).describe()
    assert "(100 sandwich at 2 s)" in line
    assert "peak memory unknown on this system" in line


def test_the_memory_of_many_subnets_in_turn_is_predicted_on_a_cpu():
    config = recipe(largest_only=0.5, random_subnets=2)
    assert expected_peak(config, 0, COSTS) == 2**30
    assert expected_peak(config, 200, COSTS) == 2**30 + 2**29 // 2 + 200 * 2**20
    assert expected_peak(config, 10**6, COSTS) == 2**30 + 2**29 * 3 // 4 + 256 * 2**20
    assert expected_peak(config, 200, replace(COSTS, device="cuda")) == 2**30


@pytest.mark.parametrize(("seconds", "text"), [(89, "89 s"), (600, "10 min"), (5399, "90 min"), (11520, "3.2 h")])
def test_times_are_written_in_the_unit_that_people_use(seconds, text):
    assert time_span(seconds) == text


@pytest.mark.parametrize("hours", [0.05, 0.3, 0.5])
def test_the_schedule_is_the_longest_that_fits_the_hours(hours):
    config, batches = recipe(epochs=20), 50

    def seconds(steps: int) -> float:
        return make_plan(config, steps, check_interval(steps, batches), COSTS).seconds

    steps = fit_steps(config, 1000, batches, lambda count: check_interval(count, batches), COSTS, hours)
    assert 0 < steps < 1000
    assert seconds(steps) <= hours * 3600 * (1 - TIME_MARGIN) < seconds(steps + 1)


def test_more_hours_than_needed_change_nothing():
    assert fit_steps(recipe(), 1000, 100, lambda _: 100, COSTS, 1000.0) == 1000


def test_hours_for_less_than_a_tenth_of_an_epoch_are_refused_and_the_error_names_the_least():
    def steps(hours: float) -> int:
        return fit_steps(recipe(), 1000, 100, lambda _: 10, COSTS, hours)

    with pytest.raises(PlanError, match=r"^--max-hours 0.001 allows 0 training steps") as caught:
        steps(0.001)
    least = float(re.search(r"needs --max-hours ([\d.]+);", str(caught.value))[1])
    assert steps(least) >= 10


@pytest.mark.parametrize(("steps", "batches"), [(1, 7), (5, 7), (6, 7), (1123, 391), (99_999, 10_009)])
def test_epochs_give_the_steps_that_they_were_computed_from_or_hardly_fewer(steps, batches):
    config = recipe(epochs=epochs_of(steps, batches), batch_size=2)
    assert steps * 0.999 - 1 < steps_of(config, batches * 2) <= steps


def test_micro_batches_are_halved_down_to_eight_and_divide_the_batch():
    assert micro_batches(128, 128) == (128, 64, 32, 16, 8)
    assert micro_batches(90, 90) == (90, 45, 18, 9)
    assert micro_batches(16, 64) == (16, 8)
    assert micro_batches(7, 7) == (7,)


@pytest.mark.parametrize("value", [0, -1, math.nan, math.inf])
def test_limits_that_are_not_positive_numbers_are_refused(value):
    with pytest.raises(ConfigError, match=r"--max-hours .* must be a number above zero"):
        TrainingLimits(max_hours=value)
    with pytest.raises(ConfigError, match="--max-memory-gib"):
        TrainingLimits(max_memory_gib=value)


def test_limits_that_are_not_given_are_taken_from_earlier_ones():
    earlier = TrainingLimits(max_hours=1, max_memory_gib=2)
    assert TrainingLimits(max_hours=3).over(earlier) == TrainingLimits(max_hours=3, max_memory_gib=2)
    assert TrainingLimits().over(earlier) == earlier


def test_planning_does_not_change_the_training_run_that_follows(small_space, easy_images, tmp_path: Path):
    def trained(name: str) -> tuple[list[torch.Tensor], torch.Tensor]:
        supernet = Supernet(small_space)
        train(
            supernet, easy_images, recipe(),
            seed=0, state_file=tmp_path / name, key="run", check=lambda _: 0.5,
        )  # fmt: skip
        return list(supernet.parameters()), torch.get_rng_state()

    torch.manual_seed(5)
    expected, random_state = trained("one")
    torch.manual_seed(5)
    plan(small_space, easy_images, max_hours=1)
    found, same_state = trained("other")
    assert all(torch.equal(a, b) for a, b in zip(expected, found, strict=True))
    assert torch.equal(random_state, same_state)


def test_both_kinds_of_steps_and_the_memory_of_this_process_are_measured(small_space, easy_images):
    found = plan(small_space, easy_images)
    assert (found.steps, found.alone_steps, found.changes) == (12, 4, ())
    costs = found.costs
    assert min(costs.alone.seconds, costs.sandwich.seconds, costs.largest_check_seconds, costs.save_seconds) > 0
    assert 50 * 2**20 < costs.idle_bytes <= costs.peak_bytes < costs.total_bytes


@pytest.mark.parametrize(("share", "missing"), [(1.0, "sandwich"), (0.0, "alone")])
def test_only_the_steps_that_the_recipe_has_are_taken(small_space, easy_images, share, missing):
    costs = plan(small_space, easy_images, recipe(largest_only=share)).costs
    assert getattr(costs, missing) is None


def test_hours_reduce_the_epochs_and_the_plan_says_so(small_space, easy_images):
    found = plan(small_space, easy_images, recipe(epochs=1e7), max_hours=0.01)
    assert found.seconds <= 0.01 * 3600 * (1 - TIME_MARGIN)
    assert 0.1 < found.config.epochs < 1e7
    assert found.steps == steps_of(found.config, len(easy_images))
    assert re.match(r"fitted to --max-hours 0.01: 10000000 -> [\d.]+ epochs \(40,000,000 -> ", found.changes[0])


@pytest.fixture
def few_timed_steps(monkeypatch):
    """For tests of memory, which does not depend on how many steps are timed."""
    monkeypatch.setattr(preflight, "_MOST_TIMED", 4)


def test_memory_reduces_the_micro_batches_and_the_plan_says_so(small_space, easy_images, monkeypatch):
    monkeypatch.setattr(preflight, "PeakMemory", CountedMemory)
    hungry, config = HungryImages(easy_images), recipe(batch_size=64)
    peak = plan(small_space, hungry, config).peak_bytes
    limit = (peak - 128 * 2**20) / (1 - MEMORY_MARGIN) / GIB  # half of the batch takes 256 MiB less
    found = plan(small_space, hungry, config, max_memory_gib=limit)
    assert found.config == config.model_copy(update={"micro_batch_size": 32})
    assert found.peak_bytes <= limit * GIB * (1 - MEMORY_MARGIN)
    assert re.search(r"micro-batches of 64 -> 32 examples .*batch normalisation sees 32 at a time", found.changes[0])


@pytest.mark.usefixtures("few_timed_steps")
def test_memory_that_no_micro_batch_fits_is_refused_and_the_error_names_the_least(small_space, easy_images):
    with pytest.raises(PlanError, match=r"0.01 is too little.*micro-batches of 8 examples") as caught:
        plan(small_space, easy_images, max_memory_gib=0.01)
    least = float(re.search(r"at least ([\d.]+),", str(caught.value))[1])
    found = plan(small_space, easy_images, recipe(micro_batch_size=8), max_memory_gib=least * 1.1)
    assert found.changes == ()


@pytest.mark.usefixtures("few_timed_steps")
def test_a_full_gpu_is_an_error_and_micro_batches_that_fit_are_found(small_space, easy_images):
    hungry = HungryImages(easy_images, most=16)
    with pytest.raises(PlanError, match=r"too little memory for micro-batches of 32 examples.*--max-memory-gib"):
        plan(small_space, hungry)
    found = plan(small_space, hungry, max_memory_gib=1000)
    assert found.config.micro_batch_size == 16
    assert "peak more than there is -> " in found.changes[0]
    with pytest.raises(PlanError, match="no memory even for micro-batches of 8"):
        plan(small_space, HungryImages(easy_images, most=1), max_memory_gib=1000)


def test_a_network_without_a_finite_loss_is_refused_before_it_trains(small_space, easy_images):
    broken = replace(easy_images, normalisation=Normalisation(mean=(0.0,) * 3, std=(0.0,) * 3))
    with pytest.raises(TrainingError, match=r"the loss is nan at step 1 of 12, before anything was trained; check the"):
        plan(small_space, broken)


def test_fewer_examples_than_a_batch_are_refused_before_anything_is_measured(small_space, easy_images):
    with pytest.raises(TrainingError, match="fewer than one batch of 256"):
        plan(small_space, easy_images, recipe(batch_size=256))


@pytest.mark.parametrize(("factor", "warned"), [(30.0, True), (0.6, False)])
def test_there_is_a_warning_if_the_processor_only_emulates_bfloat16(
    monkeypatch: pytest.MonkeyPatch, factor: float, warned: bool
) -> None:
    seconds = {torch.bfloat16: factor * 1e-3, torch.float32: 1e-3}
    monkeypatch.setattr("supernet.planning.preflight._convolution_seconds", seconds.__getitem__)
    warning = precision_warning(TrainingConfig(**RECIPE, precision="bfloat16"), torch.device("cpu"))
    assert warning == (warning if warned else "")
    assert warned is ("30.0 times as long as in float32; set training.precision to float32" in warning)


def test_only_bfloat16_on_a_cpu_is_tested() -> None:
    assert precision_warning(TrainingConfig(**RECIPE), torch.device("cpu")) == ""
    assert precision_warning(TrainingConfig(**RECIPE, precision="bfloat16"), torch.device("cuda")) == ""


def test_short_runs_are_checked_twice_an_epoch_and_long_runs_every_five_epochs() -> None:
    assert check_interval(steps=100, batches=100) == 50
    assert check_interval(steps=1000, batches=100) == 100
    assert check_interval(steps=10_000, batches=100) == 500
    assert check_interval(steps=3, batches=1) == 1
