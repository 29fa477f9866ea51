"""Search spaces: canonical subnets, counting, encoding, sampling, messages."""

from __future__ import annotations

import itertools
import os
import random
import subprocess
import sys

import pytest

from factory_base.errors import SpaceError
from supernet.space import Choice, SearchSpace

SPACE = SearchSpace(
    (
        Choice(name="resolution", options=(16, 24)),
        Choice(name="stages.0.depth", options=(1, 2, 3)),
        Choice(name="stages.0.blocks.1.kernel", options=(3, 5), depth_choice="stages.0.depth", exists_from=2),
        Choice(name="stages.0.blocks.2.kernel", options=(3, 5, 7), depth_choice="stages.0.depth", exists_from=3),
        Choice(name="stages.1.depth", options=(0, 2)),
        Choice(name="stages.1.blocks.0.expand", options=(1.5, 4.0), depth_choice="stages.1.depth", exists_from=1),
    )
)
NESTED = SearchSpace(
    (
        Choice(name="branch", options=(0, 1)),
        Choice(name="depth", options=(1, 2), depth_choice="branch", exists_from=1),
        Choice(name="kernel", options=(3, 5, 7), depth_choice="depth", exists_from=1),
    )
)


def everything(space: SearchSpace):
    names = [choice.name for choice in space]
    grid = itertools.product(*(choice.options for choice in space))
    return [space.subnet(dict(zip(names, values, strict=True))) for values in grid]


@pytest.mark.parametrize("space", [SPACE, NESTED])
def test_the_count_equals_that_of_an_enumeration(space: SearchSpace) -> None:
    assert space.count() == len(set(everything(space)))


def test_the_count_of_the_enumerated_space_is_known() -> None:
    assert SPACE.count() == 2 * (1 + 2 + 2 * 3) * (1 + 2)


def test_choices_of_absent_blocks_do_not_distinguish_subnets() -> None:
    values = SPACE.largest.to_dict() | {"stages.0.depth": 2}
    one = SPACE.subnet(values | {"stages.0.blocks.2.kernel": 7})
    other = SPACE.subnet(values | {"stages.0.blocks.2.kernel": 5})
    assert one == other
    assert one["stages.0.blocks.2.kernel"] == 3
    assert one["stages.0.blocks.1.kernel"] == 5


def test_what_depends_on_an_absent_choice_is_absent_too() -> None:
    assert NESTED.subnet({"branch": 0, "depth": 2, "kernel": 7}) == NESTED.smallest


def test_largest_and_smallest_hold_the_last_and_the_first_options() -> None:
    assert SPACE.encode(SPACE.largest) == (1, 2, 1, 2, 1, 1)
    assert SPACE.encode(SPACE.smallest) == (0,) * 6


@pytest.mark.parametrize("space", [SPACE, NESTED])
def test_decoding_is_the_inverse_of_encoding(space: SearchSpace) -> None:
    for subnet in everything(space):
        assert space.decode(space.encode(subnet)) == subnet


def test_the_dictionary_form_is_read_back_as_the_same_subnet() -> None:
    for subnet in everything(SPACE):
        assert SPACE.subnet(subnet.to_dict()) == subnet


def test_equal_subnets_have_equal_ids_however_their_numbers_are_written() -> None:
    whole, real = {"branch": 1, "depth": 2, "kernel": 5}, {"branch": True, "depth": 2.0, "kernel": 5.0}
    assert NESTED.subnet(whole) == NESTED.subnet(real)
    assert NESTED.subnet(whole).id == NESTED.subnet(real).id


def test_different_subnets_have_different_ids() -> None:
    assert len({subnet.id for subnet in everything(SPACE)}) == SPACE.count()


def test_an_id_is_the_same_in_every_process_and_version() -> None:
    assert NESTED.largest.id == "8d46e4d42106"
    code = "from test_search_space import NESTED; print(NESTED.largest.id)"
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)}
        shown = subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
        )
        assert shown.stdout.strip() == NESTED.largest.id


def test_samples_are_valid_and_varied_and_depend_only_on_the_generator() -> None:
    samples = [SPACE.sample(random.Random(seed)) for seed in range(200)]
    assert all(SPACE.subnet(sample.to_dict()) == sample for sample in samples)
    assert {sample["resolution"] for sample in samples} == {16, 24}
    assert samples == [SPACE.sample(random.Random(seed)) for seed in range(200)]


def test_mutation_changes_nothing_at_probability_zero_and_stays_in_the_space() -> None:
    rng = random.Random(0)
    children = [SPACE.mutate(SPACE.largest, rng, 0.5) for _ in range(100)]
    assert SPACE.mutate(SPACE.largest, rng, 0.0) == SPACE.largest
    assert all(SPACE.subnet(child.to_dict()) == child for child in children)
    assert len(set(children)) > 10


def test_a_mutation_brings_absent_blocks_back() -> None:
    rng = random.Random(0)
    children = [SPACE.mutate(SPACE.smallest, rng, 0.5) for _ in range(200)]
    assert {child["stages.0.blocks.2.kernel"] for child in children} == {3, 5, 7}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"resolutoin": 16}, "unknown choice 'resolutoin'; did you mean 'resolution'"),
        ({"resolution": 20}, r"choice 'resolution': 20 is not one of \[16, 24\]"),
        ({"resolution": "16"}, r"choice 'resolution': '16' is not one of \[16, 24\]"),
    ],
)
def test_a_wrong_value_is_refused_and_the_message_says_what_is_allowed(change: dict, message: str) -> None:
    with pytest.raises(SpaceError, match=message):
        SPACE.subnet(SPACE.largest.to_dict() | change)


def test_a_missing_choice_is_refused_and_the_message_lists_its_options() -> None:
    with pytest.raises(SpaceError, match=r"choice 'resolution' is missing; options: \[16, 24\]"):
        SPACE.subnet({})


@pytest.mark.parametrize("indices", [(0,) * 5, (2, 0, 0, 0, 0, 0), (-1, 0, 0, 0, 0, 0)])
def test_indices_outside_the_space_are_refused(indices: tuple[int, ...]) -> None:
    with pytest.raises(SpaceError, match=r"indices for 6 choices|outside"):
        SPACE.decode(indices)


@pytest.mark.parametrize("options", [(), (2, 1), (1, 1)])
def test_options_must_be_ascending_and_distinct(options: tuple[int, ...]) -> None:
    with pytest.raises(SpaceError, match="must be non-empty, ascending and distinct"):
        Choice(name="width", options=options)


def test_a_choice_is_declared_once_and_after_what_it_depends_on() -> None:
    width = Choice(name="width", options=(1, 2))
    with pytest.raises(SpaceError, match="'width' is declared twice"):
        SearchSpace((width, width))
    with pytest.raises(SpaceError, match="depends on 'depth', which must come before it"):
        SearchSpace((Choice(name="kernel", options=(3,), depth_choice="depth"), Choice(name="depth", options=(1,))))
