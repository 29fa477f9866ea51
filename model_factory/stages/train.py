"""The training stage: find the supernet that was trained with this config, or train it.

A finished checkpoint is never overwritten without being asked. The key of a training run holds the config, the data
and the code of the model space; the versions of the libraries are recorded beside it and reported when they differ.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

from pydantic import TypeAdapter, ValidationError

from factory_base.documents import shaping_values
from factory_base.errors import MissingRunError
from factory_base.files import digest_of, sha256_file
from model_factory.console import Console
from model_factory.run import Run
from model_factory.stages.cached import Stage, library_version, read_record, stage_key, unchanged
from model_factory.stages.fingerprint import data_fingerprint, model_code, space_libraries, weights_fingerprint
from model_factory.stages.materials import CHECK_IMAGES, Materials

if TYPE_CHECKING:
    from supernet.sharing.supernet import Supernet
    from supernet.training.training import Outcome
    from supernet.training.workers import Workers

_VERSION = 1
_LIBRARIES = ("torch", "numpy", "pillow", "scikit-learn")
_NAMED_CHANGES = 4
"""Differences between two configs that a message names; more would not fit in a line."""

OtherTraining = Literal["refuse", "retrain", "adopt"]
"""What to do about a finished supernet that was trained with another config: refuse to go on, train anew and replace
it, or take it as it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CurveRow:
    """One check during training."""

    step: int
    loss: float
    largest_accuracy: float | None
    smallest_accuracy: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """A trained supernet and the facts of its data, as later stages need them without loading either.

    Attributes:
        checkpoint_sha256: Digest of the checkpoint.
        class_names: Names of the classes, in the order of the outputs.
        counts: Training, held-out and test images.
        mean: Mean of each channel of the training images.
        std: Standard deviation of each channel of the training images.
        data_sha256: Digest of all images in use, their labels and the class names.
        test_sha256: Digest of the test images, their labels and the class names.
        largest_only_steps: Steps at the start in which the largest network trained alone.
        curve: The checks during training.
        seconds: Duration of the training run.
    """

    checkpoint_sha256: str
    class_names: tuple[str, ...]
    counts: tuple[int, int, int]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    data_sha256: str
    test_sha256: str
    largest_only_steps: int
    curve: tuple[CurveRow, ...]
    seconds: float


_CODEC = TypeAdapter(Trained)


def finished_training(run: Run, console: Console, other: OtherTraining = "refuse") -> Trained | None:
    """The supernet in the run folder; None if there is none, or if it is to be trained anew.

    Args:
        run: The run, with the schedule that was fitted for it.
        console: Shows what is unusual about the supernet.
        other: What to do if it was trained with another config.

    Raises:
        MissingRunError: The supernet was trained with another config, or changed, and `other` says to refuse it, or
            it cannot be adopted.
        ConfigError, DataError, SpaceError, CheckpointError: What the config names cannot be read.
    """
    stage = _stage(run)
    found = stage.load()
    if found is not None:
        _report_libraries(stage, console)
        return found
    if not run.checkpoint.is_file():
        return None
    if (earlier := _earlier_record(stage)) is not None:
        console.say(f"{run.checkpoint}: trained by an earlier version of the factory with this config; in use")
        return stage.save(earlier, [run.checkpoint])
    if other == "adopt":
        return _adopt(stage, console)
    if other == "retrain":
        console.say(f"{run.checkpoint}: {_difference(stage)}; training anew, as asked")
        return None
    raise MissingRunError(
        f"{run.checkpoint}: {_difference(stage)}; give the config another `name`, replace the supernet with "
        "`factory train --retrain`, or keep it as it is with `factory train --adopt`"
    )


def train_stage(run: Run, materials: Materials, console: Console, workers: Workers) -> Trained:
    """Train the supernet, or go on with an interrupted training run, and leave the checkpoint.

    Args:
        run: The run, as `plan_stage` returned it.
        materials: Its images and model space.
        console: Shows progress.
        workers: The processes that train; this is the first one, the others call `assist_training`.

    Raises:
        DataError, TrainingError, DiskError: As their packages say.
    """
    from supernet.training.checkpoint import save_supernet
    from supernet.training.training import good_state_file

    stage = _stage(run)
    supernet, outcome = _fit(run, materials, console, stage.key, workers)
    save_supernet(run.checkpoint, supernet)
    splits = materials.splits
    trained = Trained(
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
    stage.save(trained, [run.checkpoint])
    for path in (run.training_state, good_state_file(run.training_state)):
        path.unlink(missing_ok=True)
    return trained


def assist_training(run: Run, materials: Materials, console: Console, workers: Workers) -> None:
    """Train along with the first process, which alone writes to the run folder. Raises as `train_stage` does."""
    _fit(run, materials, console, "", workers)


def _stage(run: Run) -> Stage[Trained]:
    fingerprint = data_fingerprint(run.config.data, run.config_folder, run.fingerprints)
    data = {"config": fingerprint["config"], "files": digest_of(fingerprint["files"])}
    return Stage(
        run=run,
        name="train",
        version=_VERSION,
        inputs={**_inputs(run), "data": data},
        noted=(*_LIBRARIES, *space_libraries(run.config.model)),
        codec=_CODEC,
    )


def _inputs(run: Run) -> dict[str, Any]:
    config = run.config
    return {
        "model": config.model.model_dump(mode="json"),
        **model_code(config.model, run.config_folder),
        "training": shaping_values(config.training, exclude={"initial_weights"}),  # its content counts, not its place
        **weights_fingerprint(config.training.initial_weights, run.config_folder, run.checkpoint),
        "seed": config.seed,
        "threads": config.threads,
    }


def _fit(run: Run, materials: Materials, console: Console, key: str, workers: Workers) -> tuple[Supernet, Outcome]:
    """Train a fresh supernet, or go on with an interrupted training run; the supernet comes back on the CPU."""
    from supernet.sharing.supernet import Supernet
    from supernet.training.events import TensorBoardEvents
    from supernet.training.training import train
    from supernet.weights.pretrained import start_from

    training = run.config.training
    supernet = Supernet(materials.model_space, run.config.seed)
    start_from(
        supernet,
        training,
        run.config_folder,
        materials.examples(materials.splits.train),
        seed=run.config.seed,
        notify=console.say,
    )
    with console.stage("train supernet") as progress, TensorBoardEvents(run.events(key)) as events:
        outcome = train(
            supernet,
            materials.examples(materials.splits.train, training.augment, workers.device),
            training,
            seed=run.config.seed,
            state_file=run.training_state,
            key=key,
            check=lambda subnet: materials.heldout_accuracy(subnet, CHECK_IMAGES, supernet),
            workers=workers,
            loader_workers=materials.loader_workers,
            progress=progress,
            notify=console.say,
            events=events,
        )
    return supernet.cpu(), outcome


def _report_libraries(stage: Stage[Trained], console: Console) -> None:
    then = (stage.record() or {}).get("libraries", {})
    changed = [
        f"{name} {old} (now {library_version(name)})" for name, old in then.items() if old != library_version(name)
    ]
    if changed:
        console.say(f"note: the supernet was trained with {', '.join(changed)}; it stays in use")


def _earlier_record(stage: Stage[Trained]) -> Trained | None:
    """What a version of the factory recorded whose keys held the versions of the libraries, if its key is right."""
    run = stage.run
    record = read_record(run.stage_record(stage.name))
    if record is None or "digest" in record:
        return None
    transformers = {name: library_version(name) for name in space_libraries(run.config.model)}
    data = data_fingerprint(run.config.data, run.config_folder, run.fingerprints)
    key = stage_key("train", _VERSION, _LIBRARIES, {**_inputs(run), **transformers, "data": data})
    return _result(record, run) if record.get("key") == key else None


def _adopt(stage: Stage[Trained], console: Console) -> Trained:
    """Take the finished supernet as if it had been trained with this config."""
    run = stage.run
    record = read_record(run.stage_record(stage.name))
    found = None if record is None else _result(record, run)
    if found is None:
        raise MissingRunError(
            f"{run.checkpoint}: cannot be adopted, because it is not the file that a training run recorded in "
            f"{run.stage_record(stage.name)}; train anew with `factory train --retrain`"
        )
    from supernet.training.checkpoint import load_supernet

    load_supernet(run.checkpoint, Materials(run, console, len(found.class_names)).model_space)
    console.say(f"{run.checkpoint}: {_difference(stage)}; adopted as it is, nothing was trained")
    return stage.save(found, [run.checkpoint])


def _result(record: Mapping[str, Any], run: Run) -> Trained | None:
    try:
        return _CODEC.validate_python(record["result"]) if unchanged(record, run) else None
    except (ValidationError, KeyError, TypeError, AttributeError):
        return None


def _difference(stage: Stage[Trained]) -> str:
    """Why the finished supernet is not the one of this config, for people."""
    record = stage.record()
    if record is None:
        return "its record is missing, damaged, or of an earlier version of the factory"
    if record["key"] == stage.key:
        return "was changed after its training"
    then, now = _flat(record["inputs"]), _flat(stage.inputs)
    names = [name for name in sorted({*then, *now}) if then.get(name) != now.get(name)]
    shown = ", ".join(_change(name, then.get(name), now.get(name)) for name in names[:_NAMED_CHANGES])
    more = f" and {len(names) - _NAMED_CHANGES} more" if len(names) > _NAMED_CHANGES else ""
    return f"was trained with another config or other data ({shown or 'another version of the factory'}{more})"


def _change(name: str, then: Any, now: Any) -> str:
    digests = any(isinstance(value, str) and len(value) == len(digest_of("")) for value in (then, now))
    return name if digests else f"{name} {then!r}, now {now!r}"


def _flat(value: Any, name: str = "") -> dict[str, Any]:
    """The leaves of nested objects by dotted name; lists are leaves."""
    if not isinstance(value, Mapping):
        return {name: value}
    return {
        k: v for key, inner in value.items() for k, v in _flat(inner, f"{name}.{key}" if name else str(key)).items()
    }
