"""The training stage: find the supernet that was trained with this config, or train it.

A finished supernet is replaced only if a person asks for it. The key of a training run holds the config, the data and
the code of the model space; the versions of the libraries are recorded beside it, and reported if they have changed.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from pydantic import TypeAdapter, ValidationError

from factory_base.documents import shaping_values
from factory_base.errors import MissingRunError
from factory_base.files import digest_of, sha256_file
from factory_base.intervals import is_at_chance, wilson
from model_factory.console import Console
from model_factory.run import Run
from model_factory.stages.cached import Stage, library_version, stage_key, unchanged
from model_factory.stages.fingerprint import data_fingerprint, model_code, space_libraries, weights_fingerprint
from model_factory.stages.materials import CHECK_IMAGES, KnownData, Materials
from model_factory.stages.plan import planned_seconds
from model_factory.stages.sealed import read_unsealed
from supernet.weights.locating import initial_weights_file

if TYPE_CHECKING:
    from supernet.data.types import Splits
    from supernet.sharing.supernet import Supernet
    from supernet.training.workers import Workers

_VERSION = 1
_LIBRARIES = ("torch", "numpy", "pillow", "scikit-learn")
_NAMED_CHANGES = 4
"""Differences between two configs that a message names; more would not fit in a line."""

OnMismatch = Literal["refuse", "retrain", "adopt"]
"""What to do if the finished supernet was trained with another config: stop with an error, retrain and replace it,
or use it as it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CurveRow:
    """One check during training.

    Attributes:
        step: The number of steps done.
        loss: The training loss; None if nothing was trained.
        largest_accuracy: Held-out accuracy of the largest subnet, 0 to 1; None if it was not checked.
        smallest_accuracy: Held-out accuracy of the smallest subnet, 0 to 1; None if it was not checked.
    """

    step: int
    loss: float | None
    largest_accuracy: float | None
    smallest_accuracy: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """Facts about a trained supernet and its data, so that later stages need to load neither.

    Attributes:
        checkpoint_sha256: Digest of the checkpoint.
        class_names: Names of the classes, in the order of the outputs.
        counts: Numbers of training, held-out and test images.
        mean: Mean of each channel of the training images; empty for texts.
        std: Standard deviation of each channel of the training images.
        data_sha256: Digest of all images in use, their labels and the class names.
        test_sha256: Digest of the test images, their labels and the class names.
        largest_only_steps: Number of steps at the start in which the largest network trained alone.
        curve: The checks during training.
        seconds: Duration of the training run.
    """

    checkpoint_sha256: str
    class_names: tuple[str, ...]
    counts: tuple[int, int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    data_sha256: str
    test_sha256: str
    largest_only_steps: int
    curve: tuple[CurveRow, ...]
    seconds: float

    @property
    def data(self) -> KnownData:
        """What the supernet was trained with."""
        return KnownData(classes=len(self.class_names), counts=self.counts, sha256=self.data_sha256)


_CODEC = TypeAdapter(Trained)


def finished_training(
    run: Run, console: Console, on_mismatch: OnMismatch = "refuse", *, may_train: bool = True
) -> Trained | None:
    """The finished supernet in the run folder; None if there is none, or if it is to be retrained.

    Args:
        run: The run, with the schedule that was fitted to it.
        console: Shows what is unusual about the supernet.
        on_mismatch: What to do if the supernet was trained with another config, or its file was changed.
        may_train: Whether a training run that replaces the supernet, and was interrupted, may continue.

    Raises:
        MissingRunError: The supernet does not match and `on_mismatch` is `refuse`, or it cannot be adopted.
        ConfigError, DataError, SpaceError, CheckpointError: A file that the config names cannot be read.
    """
    stage = _stage(run)
    found = stage.load()
    if found is not None:
        _report_differences(stage, console)
        if on_mismatch != "refuse":
            console.say(
                f"note: --{on_mismatch} has no effect, because the supernet in use was trained with this config, or "
                "adopted for it"
            )
        return found
    if not run.checkpoint.is_file():
        return None
    if (earlier := _earlier_result(stage)) is not None:
        console.say(f"{run.checkpoint}: was trained with this config by an earlier version of the factory; it is used")
        return stage.save(earlier, [run.checkpoint])
    if on_mismatch == "adopt":
        return _adopt(stage, console)
    if _is_interrupted(stage):
        if not may_train:
            raise MissingRunError(
                f"{run.checkpoint}: its training run was interrupted; continue it with `factory train`"
            )
        console.say(f"{run.checkpoint}: its training run was interrupted and continues")
        return None
    if on_mismatch == "retrain":
        console.say(f"{run.checkpoint}: {_difference(stage)}; retraining, as requested")
        return None
    adopting = ", or keep it as it is with `factory train --adopt`" if _recorded_result(stage) is not None else ""
    raise MissingRunError(
        f"{run.checkpoint}: {_difference(stage)}; give the config another `name`, replace the supernet with "
        f"`factory train --retrain`{adopting}"
    )


def train_stage(run: Run, materials: Materials, console: Console, workers: Workers) -> Trained:
    """Train the supernet, or resume an interrupted training run, and write the checkpoint.

    Args:
        run: The run, as `plan_stage` returned it.
        materials: Its images and model space.
        console: Shows progress.
        workers: The processes that train. The first one calls this function, the others call `assist_training`.

    Raises:
        DataError: The images cannot be read.
        TrainingError: Training diverged, or cannot be done as the config says.
        DiskError: A file cannot be written.
    """
    from supernet.training.checkpoint import save_supernet
    from supernet.training.training import good_state_file

    stage = _stage(run)
    _warn_of_few_images(materials, console)
    fitted = _fit(run, materials, console, stage.key, workers)
    last = fitted.curve[-1]
    _warn_of_chance(run, materials, last, console)
    save_supernet(run.checkpoint, fitted.supernet)
    trained = Trained(
        checkpoint_sha256=sha256_file(run.checkpoint),
        **_data_facts(materials.splits),
        largest_only_steps=round(last.step * run.config.training.largest_only),
        curve=fitted.curve,
        seconds=fitted.seconds,
    )
    stage.save(trained, [run.checkpoint])
    for path in (run.training_state, good_state_file(run.training_state)):
        path.unlink(missing_ok=True)
    return trained


def assist_training(run: Run, materials: Materials, console: Console, workers: Workers) -> None:
    """Train together with the first process, which alone writes to the run folder. Raises as `train_stage` does."""
    _fit(run, materials, console, "", workers)


def _warn_of_few_images(materials: Materials, console: Console) -> None:
    from supernet.training.guard import FEW_IMAGES

    images = len(materials.splits.heldout)
    if images < FEW_IMAGES:
        low, high = wilson(images // 2, images)
        console.say(
            f"note: {images} held-out images are few: every accuracy on them is uncertain by up to "
            f"{(high - low) / 2:.0%}; raise data.heldout_fraction, or add images"
        )


def _warn_of_chance(run: Run, materials: Materials, last: CurveRow, console: Console) -> None:
    images, accuracy = len(materials.splits.heldout), last.largest_accuracy
    if accuracy is None:
        return
    chance = materials.task.baseline(materials.splits.train.labels, run.config.steering)
    untrained = "check that the initial weights are for these classes, in their order, or train them"
    advice = "train longer, or check images and labels" if last.step else untrained
    if run.config.steering != "accuracy":
        if accuracy <= chance:
            console.say(
                f"note: the largest subnet reaches {run.config.steering} {accuracy:.3g} on the {images:,} held-out "
                f"images, no more than a constant answer ({chance:.3g}); {advice}"
            )
        return
    if is_at_chance(round(accuracy * images), images, chance):
        console.say(
            f"note: the largest subnet labels {accuracy:.1%} of the {images:,} held-out images correctly, no better "
            f"than always answering the most frequent class ({chance:.1%}); {advice}"
        )


def _data_facts(splits: Splits) -> dict[str, Any]:
    """The values of `Trained` that describe the data."""
    return {
        "class_names": splits.class_names,
        "counts": (len(splits.train), len(splits.heldout), len(splits.test)),
        "mean": splits.mean,
        "std": splits.std,
        "data_sha256": splits.digest,
        "test_sha256": splits.test_digest,
    }


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
        "model": shaping_values(config.model),
        **model_code(config.model, run.config_folder),
        "training": shaping_values(config.training, exclude={"initial_weights"}),  # the content counts, not the path
        **weights_fingerprint(initial_weights_file(config.model, config.training, run.config_folder), run.checkpoint),
        **({"task": shaping_values(config.task)} if config.task.name != "classification" else {}),
        "seed": config.seed,
        "threads": config.threads,
    }


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Fitted:
    """A supernet on the CPU, the checks during its training, and the duration."""

    supernet: Supernet
    curve: tuple[CurveRow, ...]
    seconds: float


def _fit(run: Run, materials: Materials, console: Console, key: str, workers: Workers) -> _Fitted:
    """Train a new supernet, or resume an interrupted training run. With 0 epochs, check the initial weights alone."""
    from supernet.sharing.supernet import Supernet
    from supernet.training.events import TensorBoardEvents
    from supernet.training.training import train
    from supernet.weights.pretrained import check_all_trained, start_from

    training = run.config.training
    supernet = Supernet(materials.model_space, run.config.seed)
    loaded = start_from(
        supernet,
        run.config.model,
        training,
        run.config_folder,
        materials.examples(materials.splits.train),
        seed=run.config.seed,
        task=materials.task,
        notify=console.say,
    )
    if not training.epochs:
        check_all_trained(loaded)
        return _checked_once(materials, supernet, console)
    work = planned_seconds(run, len(materials.splits.train))
    with console.stage("train supernet", work) as progress, TensorBoardEvents(run.events(key)) as events:
        outcome = train(
            supernet,
            materials.examples(materials.splits.train, training.augment, workers.device),
            training,
            seed=run.config.seed,
            state_file=run.training_state,
            key=key,
            check=lambda subnet: materials.heldout_accuracy(subnet, CHECK_IMAGES, supernet),
            check_images=len(materials.splits.heldout),
            task=materials.task,
            metric=run.config.steering,
            workers=workers,
            loader_workers=materials.loader_workers,
            progress=progress,
            notify=console.say,
            events=events,
        )
    curve = tuple(CurveRow(**asdict(point)) for point in outcome.curve)
    return _Fitted(supernet=supernet.cpu(), curve=curve, seconds=outcome.seconds)


def _checked_once(materials: Materials, supernet: Supernet, console: Console) -> _Fitted:
    """The result of a run of no steps: one check of the initial weights."""
    started, space = time.monotonic(), supernet.model_space.space
    with console.stage("check initial weights"):
        largest, smallest = (
            materials.heldout_accuracy(subnet, CHECK_IMAGES, supernet) for subnet in (space.largest, space.smallest)
        )
    row = CurveRow(step=0, loss=None, largest_accuracy=largest, smallest_accuracy=smallest)
    return _Fitted(supernet=supernet, curve=(row,), seconds=time.monotonic() - started)


def _report_differences(stage: Stage[Trained], console: Console) -> None:
    record = stage.record() or {}
    then = record.get("libraries", {})
    changed = [
        f"{name} {old} (now {library_version(name)})" for name, old in then.items() if old != library_version(name)
    ]
    if changed:
        console.say(f"note: the supernet was trained with {', '.join(changed)}; it stays in use")
    if differences := _changes(record, stage):
        console.say(f"note: the supernet was adopted, not trained with this config ({differences})")


def _earlier_result(stage: Stage[Trained]) -> Trained | None:
    """The result that an earlier version of the factory recorded for this config; its keys held library versions."""
    run = stage.run
    record = _earlier_record(run)
    if record is None:
        return None
    transformers = {name: library_version(name) for name in space_libraries(run.config.model)}
    data = data_fingerprint(run.config.data, run.config_folder, run.fingerprints)
    key = stage_key("train", _VERSION, _LIBRARIES, {**_inputs(run), **transformers, "data": data})
    return _result(record, run) if record.get("key") == key else None


def _earlier_record(run: Run) -> dict[str, Any] | None:
    """The record of an earlier version of the factory, whose records had no digest of themselves."""
    return read_unsealed(run.stage_record("train"))


def _adopt(stage: Stage[Trained], console: Console) -> Trained:
    """Record the finished supernet as if it had been trained with this config and its present data."""
    run = stage.run
    found = _recorded_result(stage)
    if found is None:
        raise MissingRunError(
            f"{run.checkpoint}: cannot be adopted, because it is not the file that a training run recorded in "
            f"{run.stage_record(stage.name)}; retrain with `factory train --retrain`"
        )
    from supernet.training.checkpoint import load_supernet

    materials = Materials(run, console)
    if materials.splits.class_names != found.class_names:
        raise MissingRunError(
            f"{run.checkpoint}: cannot be adopted, because the {len(found.class_names)} classes that it was trained "
            "for are not those of the data; retrain with `factory train --retrain`"
        )
    load_supernet(run.checkpoint, materials.model_space)
    console.say(f"{run.checkpoint}: {_difference(stage)}; adopted as it is, nothing was trained")
    earlier = stage.record() or _earlier_record(run)
    return stage.save(replace(found, **_data_facts(materials.splits)), [run.checkpoint], earlier)


def _recorded_result(stage: Stage[Trained]) -> Trained | None:
    """The result that was recorded for the checkpoint, whatever its config; None if the file or record was changed."""
    record = stage.record() or _earlier_record(stage.run)
    return None if record is None else _result(record, stage.run)


def _is_interrupted(stage: Stage[Trained]) -> bool:
    """Whether a training run with this config has started, but its result was not recorded yet."""
    from supernet.training.checkpoint import state_key
    from supernet.training.training import good_state_file

    state = stage.run.training_state
    return any(state_key(path) == stage.key for path in (state, good_state_file(state)))


def _result(record: Mapping[str, Any], run: Run) -> Trained | None:
    try:
        return _CODEC.validate_python(record["result"]) if unchanged(record, run) else None
    except (ValidationError, KeyError, TypeError, AttributeError):
        return None


def _difference(stage: Stage[Trained]) -> str:
    """The reason why the finished supernet does not match this config, for people."""
    record = stage.record()
    if record is None:
        return "its record is missing, damaged, or from an earlier version of the factory"
    if record["key"] == stage.key:
        return "was changed after it was trained"
    changes = _changes(record, stage)
    return f"was trained with another config or other data ({changes or 'another version of the factory'})"


def _changes(record: Mapping[str, Any], stage: Stage[Trained]) -> str:
    """The inputs that differ from those in the record, for people; "" if none does."""
    then, now = _flat(record["inputs"]), _flat(stage.inputs)
    names = [name for name in sorted({*then, *now}) if then.get(name) != now.get(name)]
    shown = ", ".join(_change(name, then.get(name), now.get(name)) for name in names[:_NAMED_CHANGES])
    more = f" and {len(names) - _NAMED_CHANGES} more" if len(names) > _NAMED_CHANGES else ""
    return shown + more


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
