"""The stages up to the pick: train, score for all targets, search one target. Each is cached in the run folder."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from device_profiles.budgets import Budgets, Excess
from device_profiles.costs import Costs
from device_profiles.profile import FoundProfile
from factory_base.errors import MissingRunError
from factory_base.files import digest_of, sha256_file
from model_factory.console import Console
from model_factory.run import Run
from model_factory.stages.cached import stage_key
from model_factory.stages.fingerprint import data_fingerprint, model_code, weights_fingerprint
from model_factory.stages.materials import CHECK_IMAGES, Materials
from model_factory.stages.plan import settle_plan
from supernet.planning.plan import TrainingLimits
from supernet.space import Option, SubnetConfig

if TYPE_CHECKING:
    from search.archive import Archive, Scored
    from search.target import TargetResult
    from supernet.evaluation.calibration import Calibration
    from supernet.sharing.supernet import Supernet
    from supernet.training.training import Outcome
    from supernet.training.workers import Workers

_TRAIN_VERSION = 1
_CALIBRATION_VERSION = 1
_SCORE_VERSION = 2
_SEARCH_VERSION = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class CurveRow:
    """One check during training."""

    step: int
    loss: float
    largest_accuracy: float | None
    smallest_accuracy: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """A trained supernet and the facts of its data, as later stages need them without loading either."""

    checkpoint_sha256: str
    class_names: tuple[str, ...]
    counts: tuple[int, int, int]
    """Training, held-out and test images."""
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    data_sha256: str
    test_sha256: str
    largest_only_steps: int
    curve: tuple[CurveRow, ...]
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchOutcome:
    """What one target's search found."""

    found: FoundProfile
    budgets: Budgets
    result: TargetResult


class Workbench:
    """One command at work on a run: its console, what a training may take, the materials once something needs them."""

    def __init__(self, run: Run, console: Console, limits: TrainingLimits | None = None) -> None:
        self.run, self.console, self.limits = run, console, limits or TrainingLimits()
        self._materials: Materials | None = None
        self._archive: Archive | None = None

    def materials(self, classes: int | None = None) -> Materials:
        """The materials, made on first use."""
        if self._materials is None:
            self._materials = Materials(self.run, self.console, classes)
        return self._materials

    def archive(self, name: str) -> Archive:
        """The study of scored subnets."""
        if self._archive is None:
            from search.archive import Archive

            self._archive = Archive(self.run.storage, name, self.materials().model_space.space)
        return self._archive


def train_stage(bench: Workbench, *, may_train: bool = True, team: Workers | None = None) -> Trained:
    """Train the supernet, or find it trained.

    Args:
        bench: of the run.
        may_train: whether to train when it is not trained.
        team: this process, the first among its equals, which wait in `assist_training`; by default alone.

    Raises:
        MissingRunError: it is not trained with this config and must not be.
        PlanError: no schedule fits the limits of `bench`.
        DataError, TrainingError, DiskError: as their packages say.
    """
    run, key = bench.run, _train_key(bench.run)
    cached = run.cache.load("train", key)
    if team is not None:
        team.from_first(cached is None)
    if cached is not None:
        return _trained_from_json(cached)
    if not may_train:
        raise MissingRunError(
            f"{run.checkpoint}: is damaged, or was trained with another config; run `factory train` or `factory build`"
        )
    if run.checkpoint.is_file():
        bench.console.say(f"{run.checkpoint}: is not of this config, data and libraries, or was changed; training anew")
    from supernet.training.training import good_state_file

    settle_plan(bench, team, _state_file(run))
    key = _train_key(bench.run)
    trained = _train(bench, key, team)
    run.cache.save("train", key, asdict(trained), [run.checkpoint])
    for path in (_state_file(run), good_state_file(_state_file(run))):
        path.unlink(missing_ok=True)
    return trained


def assist_training(bench: Workbench, team: Workers) -> None:
    """Work along with the first process, if it trains. It alone reads and writes the run folder.

    Raises:
        DataError, TrainingError: as their packages say.
    """
    if team.from_first(False):
        settle_plan(bench, team, _state_file(bench.run))
        _fit(bench, "", team)


def _train_key(run: Run) -> str:
    config = run.config
    inputs = {
        "data": data_fingerprint(config.data, run.config_folder, run.folder / "fingerprints.json"),
        "model": config.model.model_dump(mode="json"),
        **model_code(config.model, run.config_folder),
        "training": config.training.model_dump(mode="json", exclude={"save_every", "initial_weights"}),
        **weights_fingerprint(config.training.initial_weights, run.config_folder, run.checkpoint),
        "seed": config.seed,
        "threads": config.threads,
    }
    return stage_key("train", _TRAIN_VERSION, ("torch", "numpy", "pillow", "scikit-learn"), inputs)


def _state_file(run: Run) -> Path:
    """Of an unfinished training; kept until the finished one is recorded."""
    return run.folder / "training.safetensors"


def _train(bench: Workbench, key: str, team: Workers | None) -> Trained:
    from supernet.training.checkpoint import save_supernet

    run = bench.run
    supernet, outcome = _fit(bench, key, team)
    save_supernet(run.checkpoint, supernet)
    splits = bench.materials().splits
    return Trained(
        checkpoint_sha256=sha256_file(run.checkpoint),
        class_names=splits.class_names,
        counts=(len(splits.train), len(splits.heldout), len(splits.test)),
        mean=splits.mean,
        std=splits.std,
        data_sha256=splits.digest,
        test_sha256=splits.test_digest,
        largest_only_steps=round(outcome.curve[-1].step * run.config.training.largest_only),
        curve=tuple(CurveRow(**asdict(point)) for point in outcome.curve),
        seconds=outcome.seconds,
    )


def _fit(bench: Workbench, key: str, team: Workers | None) -> tuple[Supernet, Outcome]:
    """Train a fresh supernet, or go on with an interrupted training; the supernet comes back on the CPU."""
    from supernet.sharing.supernet import Supernet
    from supernet.training.events import TensorBoardEvents
    from supernet.training.training import train
    from supernet.training.workers import alone
    from supernet.weights.pretrained import start_from

    run, materials = bench.run, bench.materials()
    training = run.config.training
    workers = team or alone(training.device)
    supernet = Supernet(materials.model_space, run.config.seed)
    start_from(
        supernet,
        training,
        run.config_folder,
        materials.examples(materials.splits.train),
        seed=run.config.seed,
        notify=bench.console.say,
    )
    written = TensorBoardEvents(run.folder / "events" / key[:8])
    with bench.console.stage("train supernet") as progress, written as events:
        outcome = train(
            supernet,
            materials.examples(materials.splits.train, training.augment, workers.device),
            training,
            seed=run.config.seed,
            state_file=_state_file(run),
            key=key,
            check=lambda subnet: materials.heldout_accuracy(subnet, CHECK_IMAGES, supernet),
            workers=workers,
            loader_workers=materials.loader_workers,
            progress=progress,
            notify=bench.console.say,
            events=events,
        )
    return supernet.cpu(), outcome


def calibration_stage(bench: Workbench, trained: Trained) -> Calibration:
    """Choose how many training images every subnet is recalibrated on."""
    from supernet.evaluation.calibration import Calibration

    inputs = {k: v for k, v in _scoring_inputs(bench.run, trained).items() if k != "shared_subnets"}
    key = stage_key("calibration", _CALIBRATION_VERSION, ("torch", "numpy"), inputs)
    cached = bench.run.cache.load("calibration", key)
    if cached is not None:
        movements = tuple((images, moved) for images, moved in cached["movements"])
        return Calibration(images=cached["images"], movements=movements, settled=cached["settled"])
    materials = bench.materials(len(trained.class_names))
    with bench.console.stage("choose calibration images") as progress:
        calibration = materials.calibration(progress)
    bench.console.say(calibration.describe())
    bench.run.cache.save("calibration", key, asdict(calibration))
    return calibration


def score_stage(bench: Workbench, trained: Trained) -> tuple[Scored, ...]:
    """Score the subnets that all targets share."""
    from search.archive import Scored
    from search.design import shared_subnets

    config = bench.run.config
    key = stage_key("score", _SCORE_VERSION, ("torch", "optuna", "numpy"), _scoring_inputs(bench.run, trained))
    cached = bench.run.cache.load("score", key)
    if cached is not None:
        return tuple(Scored(subnet=subnet_from_json(v), accuracy=accuracy) for v, accuracy in cached)
    materials = bench.materials(len(trained.class_names))
    with bench.console.stage("choose subnets to score") as progress:
        subnets = shared_subnets(
            materials.model_space.space, materials.workloads, config.search.shared_subnets, config.seed, progress
        )
    archive = bench.archive(_study_name(bench.run, trained))
    images = calibration_stage(bench, trained).images
    with bench.console.stage("score shared subnets") as progress:
        scored = tuple(archive.score(subnets, lambda s: materials.heldout_accuracy(s, images), "shared", progress))
    archive.write_table(bench.run.folder / "archive.parquet")
    bench.run.cache.save("score", key, [[subnet_to_json(s.subnet), s.accuracy] for s in scored])
    return scored


def search_stage(
    bench: Workbench, trained: Trained, shared: tuple[Scored, ...], found: FoundProfile, budgets: Budgets
) -> SearchOutcome:
    """Choose the subnet of one target. Raises `BudgetError` when nothing fits."""
    from device_profiles.cost_models.device_costs import DeviceCosts
    from search.target import Target, search_target

    run, name = bench.run, found.profile.name
    inputs = {
        **_scoring_inputs(run, trained),
        "search": run.config.search.model_dump(mode="json", exclude={"storage"}),
        "shared": digest_of([[subnet_to_json(s.subnet), s.accuracy] for s in shared]),
        "profile": found.digest,
        "budgets": budgets.model_dump(mode="json"),
    }
    key = stage_key("search", _SEARCH_VERSION, ("torch", "optuna", "scikit-learn"), inputs)
    stage = f"search-{name}-{found.digest[:8]}"
    cached = run.cache.load(stage, key)
    if cached is not None:
        return SearchOutcome(found=found, budgets=budgets, result=_result_from_json(cached))
    materials, images = bench.materials(len(trained.class_names)), calibration_stage(bench, trained).images
    with bench.console.stage(f"search {name}") as progress:
        result = search_target(
            Target(costs=DeviceCosts(materials.workloads, found), budgets=budgets),
            materials.model_space.space,
            shared,
            lambda subnets: bench.archive(_study_name(run, trained)).score(
                subnets, lambda subnet: materials.heldout_accuracy(subnet, images), name, progress
            ),
            run.config.search,
            run.config.seed,
        )
    bench.archive(_study_name(run, trained)).write_table(run.folder / "archive.parquet")
    run.cache.save(stage, key, _result_to_json(result))
    return SearchOutcome(found=found, budgets=budgets, result=result)


def subnet_to_json(subnet: SubnetConfig) -> list[list[str | Option]]:
    """Pairs rather than an object: the order is part of the value."""
    return [[name, option] for name, option in subnet.values]


def subnet_from_json(value: Any) -> SubnetConfig:
    """The inverse of `subnet_to_json`, for records of our own: the values are already canonical."""
    return SubnetConfig(tuple((name, option) for name, option in value))


def _scoring_inputs(run: Run, trained: Trained) -> dict[str, Any]:
    return {
        "checkpoint": trained.checkpoint_sha256,
        "data": trained.data_sha256,
        **model_code(run.config.model, run.config_folder),
        "calibration_images": run.config.search.calibration_images,
        "calibration_tolerance": run.config.search.calibration_tolerance,
        "shared_subnets": run.config.search.shared_subnets,
        "seed": run.config.seed,
        "threads": run.config.threads,
    }


def _study_name(run: Run, trained: Trained) -> str:
    """One study per checkpoint and way of scoring."""
    inputs = {k: v for k, v in _scoring_inputs(run, trained).items() if k != "shared_subnets"}
    return f"{run.config.name}-{stage_key('study', _SCORE_VERSION, ('torch', 'numpy'), inputs)[:16]}"


def _trained_from_json(value: dict[str, Any]) -> Trained:
    tuples = {name: tuple(value[name]) for name in ("class_names", "counts", "mean", "std")}
    return Trained(**value | tuples | {"curve": tuple(CurveRow(**row) for row in value["curve"])})


def _result_to_json(result: TargetResult) -> dict[str, Any]:
    rows = [
        {
            "subnet": subnet_to_json(c.subnet),
            "accuracy": c.accuracy,
            "costs": asdict(c.costs),
            "excesses": [asdict(excess) for excess in c.excesses],
        }
        for c in result.candidates
    ]
    return {"candidates": rows, "pick": result.candidates.index(result.pick), "new_trials": result.new_trials}


def _result_from_json(value: dict[str, Any]) -> TargetResult:
    from search.target import Candidate, TargetResult

    candidates = tuple(
        Candidate(
            subnet=subnet_from_json(row["subnet"]),
            accuracy=row["accuracy"],
            costs=Costs(**row["costs"]),
            excesses=tuple(Excess(**excess) for excess in row["excesses"]),
        )
        for row in value["candidates"]
    )
    return TargetResult(pick=candidates[value["pick"]], candidates=candidates, new_trials=value["new_trials"])
