"""All subnets of a small space, each once."""

from __future__ import annotations

from search.enumeration import every_subnet
from supernet.space import Choice, SearchSpace


def test_every_subnet_of_a_space_occurs_once() -> None:
    widths = Choice(name="width", options=(8, 16), depth_choice="depth", exists_from=2)
    space = SearchSpace((Choice(name="depth", options=(1, 2, 3)), widths))
    subnets = list(every_subnet(space))
    assert len(subnets) == len(set(subnets)) == space.count() == 5
    assert all(space.subnet(subnet.to_dict()) == subnet for subnet in subnets)


def test_a_space_in_which_all_blocks_may_be_absent_is_enumerated_without_its_combinations() -> None:
    blocks = [Choice(name=f"b{i}", options=tuple(range(1, 9)), depth_choice="depth", exists_from=2) for i in range(3)]
    space = SearchSpace((Choice(name="depth", options=(1, 2)), *blocks))
    assert len(set(every_subnet(space))) == space.count() == 1 + 8**3
