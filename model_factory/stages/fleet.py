"""The fleet stage: which few models all classes of devices of an app should get.

The solver searches a ladder of budgets, rung by rung a class of the fleet; everything that was scored is a candidate
for every class. Then an integer program chooses, and what it chooses is scored on all held-out images.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from device_profiles.app_fleet import AppFleet
from device_profiles.profile import FoundProfile, check_energy_budget
from factory_base.errors import ConfigError, UnknownNameError
from model_factory.console import Console
from model_factory.run import Run
from model_factory.stages.archive import Scorer
from model_factory.stages.materials import Materials
from model_factory.stages.search import Aim, device_targets, search_stage
from model_factory.stages.train import Trained
from search.fleet.wishes import Wishes
from search.target import SearchResult

if TYPE_CHECKING:
    from search.fleet.found import FleetFound
    from search.fleet.members import Member
    from search.fleet.planning import Planner

_RUNGS = 24
"""Classes that are searched for, at least one for each profile."""
_EXTENSIONS, _ADDED = 3, 8
"""Times that the ladder is extended by classes that no candidate serves, and the most classes each time."""


def fleet_profiles(run: Run, fleet: AppFleet) -> dict[str, FoundProfile]:
    """The profiles that a fleet names, by the name that the fleet uses.

    Raises:
        ConfigError: A profile does not exist or is invalid; the message names the class.
    """
    found: dict[str, FoundProfile] = {}
    for member in fleet.classes:
        if member.profile not in found:
            try:
                found[member.profile] = run.profile(member.profile, typed=True)
            except (ConfigError, UnknownNameError) as error:
                raise ConfigError(f"fleet {fleet.name}, class {member.name!r}: {error}") from error
    return found


def fleet_stage(
    run: Run,
    materials: Materials,
    console: Console,
    trained: Trained,
    calibration_images: int,
    fleet: AppFleet,
    profiles: dict[str, FoundProfile],
    wishes: Wishes,
) -> FleetFound:
    """Choose the models of a fleet.

    Args:
        run: The run.
        materials: Its supernet and images.
        console: Shows progress.
        trained: The trained supernet.
        calibration_images: Number of training images on which each subnet is recalibrated.
        fleet: The classes of devices.
        profiles: Their profiles, by the name that the fleet uses.
        wishes: How many models, and what they must keep.

    Raises:
        BudgetError: No subnet keeps the budgets of a class, which is named, or so few models cannot serve the fleet.
        ConfigError: A class limits the energy, but its profile has no energy costs.
    """
    from device_profiles.cost_models.device_costs import DeviceCosts
    from search.fleet.ladder import ladder
    from search.fleet.planning import Planner

    members = _members(run, fleet, profiles)
    rungs = ladder(members, max(_RUNGS, len(profiles)))
    with Scorer(run, materials, console, trained, calibration_images) as scorer:
        planner = Planner(
            members=members,
            devices={
                name: [DeviceCosts(materials.workloads, found, precision) for precision in run.precisions_for(found)]
                for name, found in profiles.items()
            },
            wishes=wishes,
            score=scorer.score,
            images=trained.counts[1],
            watch=console.stage,
        )
        for _ in range(_EXTENSIONS):
            result = _searched(run, materials, console, trained, calibration_images, planner, profiles, rungs)
            missing = [index for index in planner.unserved(result.scored) if index not in rungs]
            if not missing:
                break
            rungs += missing[:_ADDED]
        found = planner.plan(result.scored, {offset.precision: offset.mean for offset in result.offsets})
        scorer.write_table()
    materials.keep_workloads()
    return found


def _members(run: Run, fleet: AppFleet, profiles: dict[str, FoundProfile]) -> list[Member]:
    from search.fleet.members import Member

    members = []
    for one in fleet.classes:
        budgets = run.budgets_for(profiles[one.profile]).overridden_by(one.budgets)
        try:
            check_energy_budget(budgets, profiles[one.profile])
        except ConfigError as error:
            raise ConfigError(f"fleet {fleet.name}, class {one.name!r}: {error}") from error
        members.append(
            Member(
                name=one.name,
                share=one.share,
                profile=one.profile,
                latency_scale=one.latency_scale,
                budgets=budgets,
            )
        )
    return members


def _searched(
    run: Run,
    materials: Materials,
    console: Console,
    trained: Trained,
    calibration_images: int,
    planner: Planner,
    profiles: dict[str, FoundProfile],
    rungs: Sequence[int],
) -> SearchResult:
    """What a search for some classes of the fleet scored. Raises `BudgetError` if no subnet serves one of them."""
    from search.rounds import feasible

    chosen = [planner.members[index] for index in rungs]
    aims = [
        Aim(
            found=profiles[member.profile],
            budgets=member.limits,
            precisions=run.precisions_for(profiles[member.profile]),
        )
        for member in chosen
    ]
    with console.stage("check budgets") as progress:
        for number, (member, aim) in enumerate(zip(chosen, aims, strict=True), start=1):
            profile = aim.found.profile.model_copy(update={"name": member.name})
            (alternatives,) = device_targets([replace(aim, found=replace(aim.found, profile=profile))], materials)
            feasible(alternatives, materials.model_space.space)  # in the name of the class, for its message
            progress(number, len(rungs), member.name)
    return search_stage(run, materials, console, trained, calibration_images, aims, from_snapshot=True).result
