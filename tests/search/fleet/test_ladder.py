"""The ladder of budgets: the classes of a fleet that are searched for."""

from __future__ import annotations

from device_profiles.budgets import Budgets
from search.fleet.ladder import ladder
from search.fleet.members import Member


def member(profile: str, share: float, latency_us: int | None, scale: float = 1.0, **more: str) -> Member:
    budgets = Budgets() if latency_us is None else Budgets(latency=f"{latency_us} us", **more)
    return Member(name="a class", share=share, profile=profile, latency_scale=scale, budgets=budgets)


def test_every_profile_has_a_rung_even_if_fewer_are_wanted():
    members = [member("a", 0.1, 10), member("a", 0.4, 20), member("b", 0.5, 10)]
    assert ladder(members, 1) == [1, 2]


def test_classes_with_equal_budgets_are_one_rung():
    members = [member("a", 0.2, 10), member("a", 0.2, 10), member("a", 0.6, 20, scale=2.0)]
    assert ladder(members, 10) == [0]


def test_a_class_far_from_the_rungs_comes_before_one_close_by():
    members = [member("a", 0.6, 100), member("a", 0.2, 110), member("a", 0.1, 1000), member("a", 0.1, 95)]
    assert ladder(members, 2) == [0, 2]


def test_no_limit_is_looser_than_every_limit():
    members = [member("a", 0.5, 100), member("a", 0.3, None), member("a", 0.2, 120)]
    assert ladder(members, 3) == [0, 1, 2]


def test_a_slow_class_has_less_latency_to_spend():
    slow = member("a", 1.0, 3000, scale=1.5, peak_memory="1 MiB")
    assert (slow.limits.latency_us, slow.limits.peak_memory_bytes) == (2000, 2**20)
    assert Member.limits.fget(member("a", 1.0, 3000)).latency_us == 3000
