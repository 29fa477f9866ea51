"""The search stage: pick the subnet of one target."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter

from device_profiles.budgets import Budgets
from device_profiles.profile import FoundProfile
from factory_base.documents import shaping_values
from factory_base.files import digest_of
from model_factory.console import Console
from model_factory.run import Run
from model_factory.stages.cached import Stage
from model_factory.stages.calibrate import evaluation_inputs
from model_factory.stages.fingerprint import space_libraries
from model_factory.stages.materials import Materials
from model_factory.stages.score import open_archive
from model_factory.stages.train import Trained
from search.scored import Scored
from supernet.space import Option, SubnetConfig

if TYPE_CHECKING:
    from search.target import TargetResult

_VERSION = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchOutcome:
    """The outcome of the search for one target.

    Attributes:
        found: The profile of the target.
        budgets: The budgets of the profile, overridden by those of the target.
        result: The pick and all candidates.
    """

    found: FoundProfile
    budgets: Budgets
    result: TargetResult


def search_stage(
    run: Run,
    materials: Materials,
    console: Console,
    trained: Trained,
    calibration_images: int,
    shared: tuple[Scored, ...],
    found: FoundProfile,
) -> SearchOutcome:
    """Pick the subnet of one target.

    Args:
        run: The run.
        materials: Its supernet and images.
        console: Shows progress.
        trained: The trained supernet.
        calibration_images: Number of training images on which each subnet is recalibrated.
        shared: The scored subnets that all targets share.
        found: The profile of the target.

    Raises:
        BudgetError: No subnet meets the budgets.
        ConfigError: The latency table of the profile belongs to another model space.
    """
    from search.target import TargetResult

    name, budgets = found.profile.name, run.budgets_for(found)

    def search() -> TargetResult:
        from device_profiles.cost_models.device_costs import DeviceCosts
        from search.device_target import Target
        from search.target import search_target

        archive = open_archive(run, materials, trained)
        with console.stage(f"search {name}") as progress:
            result = search_target(
                Target(costs=DeviceCosts(materials.workloads, found), budgets=budgets),
                materials.model_space.space,
                shared,
                lambda subnets: archive.score(
                    subnets, lambda subnet: materials.heldout_accuracy(subnet, calibration_images), name, progress
                ),
                run.config.search,
                run.config.seed,
            )
        archive.write_table(run.archive_table)
        return result

    stage = Stage(
        run=run,
        name=f"search-{name}-{found.digest[:8]}",
        version=_VERSION,
        inputs=_inputs(run, trained, shared, found),
        libraries=("torch", "optuna", "scikit-learn", *space_libraries(run.config.model)),
        codec=TypeAdapter(TargetResult),
    )
    return SearchOutcome(found=found, budgets=budgets, result=stage.cached(search))


def _inputs(run: Run, trained: Trained, shared: tuple[Scored, ...], found: FoundProfile) -> dict[str, Any]:
    return {
        **evaluation_inputs(run, trained),
        "search": shaping_values(run.config.search),
        "shared": digest_of([[subnet_values(s.subnet), s.accuracy] for s in shared]),
        "profile": found.digest,
        "budgets": run.budgets_for(found).model_dump(mode="json"),
    }


def subnet_values(subnet: SubnetConfig) -> list[list[str | Option]]:
    """A subnet as JSON for keys: pairs rather than an object, because their order matters."""
    return [[name, option] for name, option in subnet.values]


def outcome_inputs(outcome: SearchOutcome) -> dict[str, Any]:
    """The values that identify an outcome in the keys of later stages."""
    return {
        "profile": outcome.found.digest,
        "budgets": outcome.budgets.model_dump(mode="json"),
        "costs": asdict(outcome.result.pick.costs),
        "subnet": outcome.result.pick.subnet.id,
    }
