"""Which classes of a fleet to search for: the rungs of a ladder of budgets, from which all classes get candidates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from device_profiles.budgets import BudgetName
from search.fleet.members import Member

_BUDGETS: Final[tuple[BudgetName, ...]] = ("latency", "peak_memory", "file_size", "macs", "energy")
_UNLIMITED = 3.0
"""Logarithm of how much looser than the loosest limit no limit is taken to be, so that distances stay finite."""


def ladder(members: Sequence[Member], rungs: int) -> list[int]:
    """The classes to search for, as indices: about `rungs`, and at least one for each profile.

    First comes the class of each profile with the most installs, then the one with the largest product of its share
    and its distance to the rungs of its profile, the logarithm of the ratio of budgets being the distance. So classes
    with equal budgets are searched for once, and those with many installs have a rung close by.
    """
    places = _places(members)
    shares = _shares_of_equal(members, places)
    profiles = np.array([member.profile for member in members])
    distance = np.full(len(members), np.inf)
    chosen: list[int] = []
    for profile in dict.fromkeys(profiles.tolist()):
        _take(int(np.where(profiles == profile, shares, -1.0).argmax()), chosen, distance, places, profiles)
    while len(chosen) < rungs:
        weights = shares * distance
        if weights.max() <= 0:
            break
        _take(int(weights.argmax()), chosen, distance, places, profiles)
    return chosen


def _take(
    index: int,
    chosen: list[int],
    distance: NDArray[np.float64],
    places: NDArray[np.float64],
    profiles: NDArray[np.str_],
) -> None:
    chosen.append(index)
    same = profiles == profiles[index]
    distance[same] = np.minimum(distance[same], np.abs(places[same] - places[index]).sum(axis=1))


def _places(members: Sequence[Member]) -> NDArray[np.float64]:
    """The logarithms of the limits of each class, (classes, budgets)."""
    limits = [{limit.budget: float(limit.value) for limit in member.limits.limits()} for member in members]
    rows = np.log(np.array([[found.get(name, np.nan) for name in _BUDGETS] for found in limits]))
    loosest = np.nan_to_num(np.where(np.isnan(rows), -np.inf, rows).max(axis=0), neginf=0.0)
    return np.asarray(np.where(np.isnan(rows), loosest + _UNLIMITED, rows))


def _shares_of_equal(members: Sequence[Member], places: NDArray[np.float64]) -> NDArray[np.float64]:
    """For each class the share of all classes with its profile and budgets."""
    _, profiles = np.unique([member.profile for member in members], return_inverse=True)
    keys = np.column_stack([profiles.ravel().astype(np.float64), places])
    _, group = np.unique(keys, axis=0, return_inverse=True)
    sums = np.bincount(group.ravel(), weights=[member.share for member in members])
    return np.asarray(sums[group.ravel()])
