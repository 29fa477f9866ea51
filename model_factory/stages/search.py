"""The search stage: pick a subnet for every target."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter

from device_profiles.budgets import Budgets
from device_profiles.engine import Precision
from device_profiles.profile import DeviceProfile, FoundProfile
from factory_base.documents import shaping_values
from factory_base.errors import ConfigError, SpaceError
from factory_base.files import digest_of
from model_factory.console import Console
from model_factory.run import Run
from model_factory.stages.archive import Scorer
from model_factory.stages.cached import Stage
from model_factory.stages.calibrate import evaluation_inputs
from model_factory.stages.files import VariantFiles
from model_factory.stages.fingerprint import space_libraries, subnet_values
from model_factory.stages.materials import Materials
from model_factory.stages.train import Trained
from search.comparison import Comparison
from search.enumeration import require_small
from search.family import RankedPick, TargetPick, in_order_of_rank, pick_notes
from search.metric_words import ACCURACY, MetricWords, metric_words
from search.scored import Scored, paired_difference
from search.target import Candidate, SearchResult, TargetResult
from search.variant import Variant
from supernet.space import Option, SubnetConfig

if TYPE_CHECKING:
    from device_profiles.budgets import Excess
    from device_profiles.costs import Costs
    from search.decision import Measure
    from search.device_target import Alternatives

_VERSION = 8
_SNAPSHOT_VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Aim:
    """A device to search for, and the budgets that hold there.

    Attributes:
        found: The profile of the device.
        budgets: The budgets of the profile, overridden by those of the config or of the command.
        precisions: The precisions to choose among, the preferred one first.
        subnet: The subnet that the config names for it, by the values of choices; None if the search chooses.
    """

    found: FoundProfile
    budgets: Budgets
    precisions: tuple[Precision, ...]
    subnet: Mapping[str, Option] | None = None

    def inputs(self) -> dict[str, Any]:
        """The values that identify it in the keys of stages."""
        return {
            "profile": self.found.digest,
            "budgets": self.budgets.model_dump(mode="json"),
            "precisions": list(self.precisions),
            **({} if self.subnet is None else {"subnet": dict(self.subnet)}),
        }


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

    @property
    def profile(self) -> DeviceProfile:
        """The profile of the target with the costs first that hold for files in the precision of the pick."""
        return self.found.for_files_in(self.result.pick.precision).profile


@dataclass(frozen=True, slots=True, kw_only=True)
class Searched:
    """The outcome of the search for all targets.

    Attributes:
        outcomes: The outcome of each target, in their order.
        result: What the search found.
        start: Digest of the scored subnets that the search started from; "" if it began with a design of its own.
        words: How the metric is named.
        comparisons: The comparisons of samplers that were asked for, one for each target.
    """

    outcomes: tuple[SearchOutcome, ...]
    result: SearchResult
    start: str
    words: MetricWords = ACCURACY
    comparisons: tuple[Comparison, ...] = ()

    def notes(self) -> tuple[str, ...]:
        """Sentences on picks that changed for the order of tiers, are shared, or leave budgets unused."""
        known = self.result.known
        picks = [
            TargetPick(
                name=outcome.found.profile.name,
                budgets=outcome.budgets,
                pick=outcome.result.pick,
                candidates=outcome.result.candidates,
            )
            for outcome in self.outcomes
            if outcome.result.proof.status != "given"  # nothing was picked
        ]
        notes = pick_notes(picks, lambda first, second: paired_difference(known[first], known[second]), self.words)
        unused = (note for outcome in self.outcomes for note in outcome.result.notes)
        return (*dict.fromkeys(unused), *self.result.notes, *notes)

    def offset_lines(self) -> tuple[str, ...]:
        """What each precision costs in the metric, and how well that is known, a line each."""
        return tuple(f"precision: {offset.describe(self.words.name)}" for offset in self.result.offsets)


def search_stage(
    run: Run,
    materials: Materials,
    console: Console,
    trained: Trained,
    calibration_images: int,
    aims: Sequence[Aim],
    *,
    from_snapshot: bool = False,
) -> Searched:
    """Pick a subnet and its precision for every target.

    The subnets that were scored are recorded as the run's snapshot, for later searches to start from. A search that
    started from a snapshot leaves it as it is, so that repeating it gives the same result.

    Args:
        run: The run.
        materials: Its supernet and images.
        console: Shows progress.
        trained: The trained supernet.
        calibration_images: Number of training images on which each subnet is recalibrated.
        aims: The targets, searched together.
        from_snapshot: Whether to start from the snapshot, if there is one, in place of a design. The picks are then
            made by predicted costs: nothing is exported.

    Raises:
        BudgetError: No subnet meets the budgets of a target.
        ConfigError: The latency table of a profile belongs to another model space, or `final_images` is too large.
        EngineError, ParityError: No file can be made for a target.
    """
    snapshot = _snapshot_stage(run, trained)
    start = snapshot.load() if from_snapshot else ()
    if start is None:  # so that this search, too, starts from a snapshot, and gives the same result when it is repeated
        first = _search(run, materials, console, trained, calibration_images, aims, (), measured=False)
        start = snapshot.save(_cheap(first.scored))
    stage = _stage(run, trained, aims, start, from_snapshot=from_snapshot)
    result = stage.load()
    if result is None:
        result = _search(run, materials, console, trained, calibration_images, aims, start, measured=not from_snapshot)
        stage.save(result)
        if not start:
            snapshot.save(_cheap(result.scored))
    outcomes = (
        SearchOutcome(found=aim.found, budgets=aim.budgets, result=found)
        for aim, found in zip(aims, result.targets, strict=True)
    )
    words = metric_words(run.config.steering)
    return Searched(outcomes=tuple(outcomes), result=result, start=_digest(start) if start else "", words=words)


def _stage(
    run: Run, trained: Trained, aims: Sequence[Aim], start: Sequence[Scored], *, from_snapshot: bool
) -> Stage[SearchResult]:
    """A search from a snapshot exports nothing, so only what shapes the costs of files is part of its key."""
    return Stage(
        run=run,
        name=_record_name(aims) if from_snapshot else "search",
        version=_VERSION,
        inputs={
            **evaluation_inputs(run, trained),
            "search": shaping_values(run.config.search),
            "export": {"input": run.config.export.input} if from_snapshot else shaping_values(run.config.export),
            "start": _digest(start),
            "targets": [aim.inputs() for aim in aims],
        },
        libraries=(
            *("torch", "optuna", "numpy", "scipy"),
            *(() if from_snapshot else ("onnx", "onnxscript", "onnxruntime")),
            *space_libraries(run.config.model),
        ),
        codec=TypeAdapter(SearchResult),
    )


def check_search(run: Run, materials: Materials, console: Console, aims: Sequence[Aim]) -> None:
    """Check, before hours of training, that the search that follows is possible.

    Raises:
        BudgetError: No subnet keeps the budgets of a target; the message states which budgets block.
        ConfigError: `final_images` leaves nothing to score on, or the space is too large to be scored in full.
    """
    from search.rounds import feasible, image_rungs

    space = materials.model_space.space
    image_rungs(run.config.search, len(materials.splits.heldout))
    if run.config.search.sampler == "exhaustive":
        require_small(space)
    with console.stage("check budgets") as progress:
        for number, alternatives in enumerate(device_targets(aims, materials)):
            feasible(alternatives, space)
            progress(number + 1, len(aims), alternatives[0].name)


def _search(
    run: Run,
    materials: Materials,
    console: Console,
    trained: Trained,
    calibration_images: int,
    aims: Sequence[Aim],
    start: Sequence[Scored],
    *,
    measured: bool,
) -> SearchResult:
    from search.decision import predicted_costs
    from search.rounds import search_targets

    targets = device_targets(aims, materials)
    with (
        Scorer(run, materials, console, trained, calibration_images) as scorer,
        VariantFiles(run, materials, trained, calibration_images) as files,
    ):
        measure = files.measure if measured else predicted_costs
        result = search_targets(
            targets,
            materials.model_space.space,
            materials.workloads,
            scorer.score,
            trained.counts[1],
            run.config.search,
            run.config.seed,
            start=start,
            measure=measure,
            watch=console.stage,
            say=console.say,
        )
        if measured:
            result = _in_order(result, aims, targets, measure)
        scorer.write_table()
    materials.keep_workloads()
    return result


def _in_order(
    result: SearchResult, aims: Sequence[Aim], targets: Sequence[Alternatives], measure: Measure
) -> SearchResult:
    """`result`, but no tier of a platform gets a less accurate model than a lower one whose model it could run."""
    from exports.family.specs import tier_ranks, tier_spec

    def judge(alternatives: Alternatives, variant: Variant) -> tuple[Costs, tuple[Excess, ...]] | None:
        target = next((target for target in alternatives if target.precision == variant.precision), None)
        if target is None or not target.allows(variant.subnet):
            return None
        (costs,) = target.costs.of([variant.subnet])
        if not target.budgets.excesses(costs):
            unscored = Candidate(
                subnet=variant.subnet, precision=variant.precision, accuracy=0.0, images=0, costs=costs, excesses=()
            )
            costs = measure(target, unscored).costs
        return costs, target.budgets.excesses(costs)

    known = result.known
    tiers = [tier_spec(aim.found.profile, "") for aim in aims]
    ranked = [
        RankedPick(
            name=aim.found.profile.name,
            platform=tier.platform,
            rank=rank,
            pick=found.pick,
            judge=partial(judge, alternatives),
        )
        for aim, found, alternatives, tier, rank in zip(
            aims, result.targets, targets, tiers, tier_ranks(tiers), strict=True
        )
    ]
    picks, notes = in_order_of_rank(ranked, lambda first, second: paired_difference(known[first], known[second]))
    predicted = {found.pick.variant: found.proof.pick for found in result.targets}
    raised = (
        replace(
            found,
            pick=pick,
            candidates=tuple(pick if c.variant == pick.variant else c for c in found.candidates),
            proof=replace(found.proof, pick=predicted[pick.variant]),
        )
        for found, pick in zip(result.targets, picks, strict=True)
    )
    return replace(result, targets=tuple(raised), notes=notes)


def device_targets(aims: Sequence[Aim], materials: Materials) -> list[Alternatives]:
    """The targets of each device, one for each of its precisions. Raises `ConfigError` if one names no subnet."""
    from device_profiles.cost_models.device_costs import DeviceCosts
    from search.device_target import Target

    return [
        tuple(
            Target(
                costs=DeviceCosts(materials.workloads, aim.found, precision),
                budgets=aim.budgets,
                given=_given(aim, materials),
            )
            for precision in aim.precisions
        )
        for aim in aims
    ]


def _given(aim: Aim, materials: Materials) -> SubnetConfig | None:
    """The subnet that the config names for a target; None if there is none."""
    if aim.subnet is None:
        return None
    try:
        return materials.model_space.space.subnet(aim.subnet)
    except SpaceError as error:
        raise ConfigError(
            f"target {aim.found.profile.name!r}: `subnet` is not one of this model space: {error}"
        ) from error


def _cheap(scored: Sequence[Scored]) -> tuple[Scored, ...]:
    """Without those of files, which other searches do not make: their variants are compared by scores alone."""
    return tuple(s for s in scored if not s.is_of_file)


def _snapshot_stage(run: Run, trained: Trained) -> Stage[tuple[Scored, ...]]:
    """The scored subnets that searches for further devices start from."""
    return Stage(
        run=run,
        name="snapshot",
        version=_SNAPSHOT_VERSION,
        inputs=evaluation_inputs(run, trained),
        libraries=("torch", "numpy", *space_libraries(run.config.model)),
        codec=TypeAdapter(tuple[Scored, ...]),
    )


def _record_name(aims: Sequence[Aim]) -> str:
    names = "-".join(aim.found.profile.name for aim in aims[:2])
    return f"search-{names}-{digest_of([aim.inputs() for aim in aims])[:8]}"


def _digest(scored: Sequence[Scored]) -> str:
    return digest_of([[subnet_values(s.subnet), s.variant, s.images, s.correct] for s in scored])


def outcome_inputs(outcome: SearchOutcome) -> dict[str, Any]:
    """The values that identify an outcome in the keys of later stages."""
    return {
        "profile": outcome.found.digest,
        "budgets": outcome.budgets.model_dump(mode="json"),
        "costs": asdict(outcome.result.pick.costs),
        "subnet": outcome.result.pick.subnet.id,
        "precision": outcome.result.pick.precision,
    }
