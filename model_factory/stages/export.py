"""The export stage: write each pick as a file, and measure the file's parity and its accuracy on the test images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter

from device_profiles.engine import Precision
from exports.exporter import export_artifact
from exports.exporters import get_exporter
from exports.family.artifact import Artifact, Evaluation, evaluate_artifact
from exports.family.npy import MAX_NPY_BYTES, npy_bytes, read_answers, read_array
from exports.family.proof import drop_note
from exports.family.task_rules import AnswerKind
from factory_base.documents import shaping_values
from factory_base.errors import BudgetError
from factory_base.files import write_bytes
from factory_base.foreign import read_regular
from factory_base.quantities import format_bytes
from model_factory.console import Console
from model_factory.run import Run
from model_factory.stages.cached import Stage
from model_factory.stages.calibrate import evaluation_inputs
from model_factory.stages.files import convert_options, known_file, parity_images
from model_factory.stages.finetune import Finetuned, finetuned_supernet
from model_factory.stages.fingerprint import space_libraries, subnet_values
from model_factory.stages.materials import Materials
from model_factory.stages.quantised_finetune import quantised_supernet
from model_factory.stages.search import SearchOutcome
from model_factory.stages.train import Trained
from search.variant import Variant
from supernet.space import SubnetConfig

if TYPE_CHECKING:
    from supernet.sharing.supernet import Supernet

_VERSION = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class FileFacts:
    """The recorded facts about an exported file.

    Attributes:
        artifact: The file.
        parameters: Number of parameters of the network.
        correct: Number of test images that the file labels correctly; None if the answers are not classes.
        images: Number of test images.
        answers: What the file answers with.
    """

    artifact: Artifact
    parameters: int
    correct: int | None
    images: int
    answers: AnswerKind = "classes"


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """An exported variant.

    Attributes:
        subnet: The subnet.
        precision: The precision of the file.
        facts: The exported file and its accuracy.
        predictions: The NumPy file with the predictions of the exported file for the test images.
        finetuned: The result of fine-tuning; None if the subnet was not fine-tuned.
    """

    subnet: SubnetConfig
    precision: Precision
    facts: FileFacts
    predictions: Path
    finetuned: Finetuned | None

    @property
    def artifact(self) -> Artifact:
        """The exported file."""
        return self.facts.artifact

    def evaluation(self) -> Evaluation:
        """The accuracy and the predictions of the exported file on the test images.

        Its confidences are known unless the file was evaluated by a version that did not keep them.

        Raises:
            ForeignError, ManifestError: The predictions cannot be read.
        """
        kind = self.facts.answers
        predictions = read_answers(read_regular(self.predictions, MAX_NPY_BYTES), str(self.predictions), kind)
        sure, dimensions = confidences_beside(self.predictions), 1 if kind == "classes" else 2
        return Evaluation(
            predictions=predictions,
            correct=self.facts.correct,
            images=self.facts.images,
            confidences=_array(sure, dimensions) if sure.is_file() else None,
        )


def export_stage(
    run: Run,
    materials: Materials,
    console: Console,
    trained: Trained,
    calibration_images: int,
    outcome: SearchOutcome,
    finetuned: Finetuned | None,
) -> Exported:
    """Export the pick of `outcome`, check its parity, and measure the file's accuracy on the test images.

    Args:
        run: The run.
        materials: Its supernet and images.
        console: Shows progress.
        trained: The trained supernet.
        calibration_images: Number of training images on which the subnet is recalibrated.
        outcome: The outcome of the search for the target.
        finetuned: The result of fine-tuning the pick; its own weights are exported if they are better.

    Raises:
        EngineError: The network cannot be exported.
        ParityError: The file does not compute what the network computes.
        DiskError: A file cannot be written.
        BudgetError: The file is larger than the target's budget.
    """
    variant = outcome.result.pick.variant
    subnet = variant.subnet
    weights = finetuned if finetuned and finetuned.kept else None
    predictions = run.predictions(variant.name)

    def export() -> FileFacts:
        own = own_supernet(run, materials, weights) if weights else None
        title = f"export {outcome.found.profile.name}"
        macs = outcome.result.pick.costs.macs
        facts = _written(run, materials, console, title, trained, calibration_images, variant, macs, own)
        return _with_history(run, trained, variant, facts) if weights and weights.precision == "int8" else facts

    stage = Stage(
        run=run,
        name=f"export-{variant.name}",
        version=_VERSION,
        inputs={
            **evaluation_inputs(run, trained),
            "export": shaping_values(run.config.export),
            "subnet": subnet_values(subnet),
            "precision": variant.precision,
            **({"finetuned": weights.sha256} if weights else {}),
        },
        libraries=("torch", "onnx", "onnxscript", "onnxruntime", "numpy", *space_libraries(run.config.model)),
        codec=TypeAdapter(FileFacts),
    )
    facts = stage.cached(export, lambda f: (run.exported / f.artifact.path, *prediction_files(predictions)))
    if run.config.export.layout == "separate":
        check_file_budget(outcome, facts.artifact)
    return Exported(
        subnet=subnet, precision=variant.precision, facts=facts, predictions=predictions, finetuned=finetuned
    )


def _written(
    run: Run,
    materials: Materials,
    console: Console,
    title: str,
    trained: Trained,
    calibration_images: int,
    variant: Variant,
    macs: int,
    own: Supernet | None,
) -> FileFacts:
    """Export the variant, with its `own` weights if it has some, prove the file, and evaluate it."""
    threads, test, subnet = run.config.threads, materials.splits.test, variant.subnet
    with console.stage(title) as progress:
        module = materials.file_module(materials.calibrated(subnet, calibration_images, own))
        exporter = get_exporter("onnxruntime", **run.config.export.engine_options())
        shape = materials.file_input_shape(subnet)
        images = parity_images(materials, subnet, macs)
        known = None if own else known_file(run, trained, variant)
        artifact = export_artifact(
            module, shape, run.exported, exporter, images, threads,
            options=convert_options(run, materials, variant), converted=known, progress=progress, task=materials.task,
        )  # fmt: skip
        evaluation = evaluate_artifact(
            artifact, run.exported, materials.inputs(test, subnet), test.labels, threads,
            lambda done, total, _="": progress(done, total, "test images"), task=materials.task,
        )  # fmt: skip
    write_predictions(run.predictions(variant.name), evaluation)
    parameters = sum(parameter.numel() for parameter in module.parameters())
    return FileFacts(
        artifact=artifact, parameters=parameters, correct=evaluation.correct, images=evaluation.images,
        answers=materials.judge.kind,
    )  # fmt: skip


def _array(path: Path, dimensions: int) -> NDArray[np.float32]:
    return read_array(read_regular(path, MAX_NPY_BYTES), str(path), "<f4", dimensions)


def write_predictions(path: Path, evaluation: Evaluation) -> None:
    """Write the predictions to `path`, and their confidences beside it. Raises `DiskError`."""
    if evaluation.confidences is not None:
        write_bytes(confidences_beside(path), npy_bytes(evaluation.confidences))
    write_bytes(path, npy_bytes(evaluation.predictions))


def prediction_files(predictions: Path) -> tuple[Path, ...]:
    """The file of predictions, and that of their confidences if it was written."""
    beside = confidences_beside(predictions)
    return (predictions, beside) if beside.is_file() else (predictions,)


def confidences_beside(predictions: Path) -> Path:
    """The file with the confidences of the predictions in a file."""
    return predictions.with_name(f"{predictions.stem}.confidences.npy")


def drop_notes(run: Run, exported: Sequence[Exported]) -> tuple[str, ...]:
    """A note for each file that loses more accuracy than `export.drop_limit`, whatever was tried."""
    found = {e.artifact.model_id: drop_note(e.artifact.conversion, run.config.export.drop_limit) for e in exported}
    way = "; with `export.layout` separate it may lose less" if run.config.export.layout == "shared" else ""
    return tuple(f"model {name}: {note}{way}" for name, note in found.items() if note)


def own_supernet(run: Run, materials: Materials, finetuned: Finetuned) -> Supernet:
    """The weights of a pick that was fine-tuned on its own. Raises `CheckpointError`."""
    load = quantised_supernet if finetuned.precision == "int8" else finetuned_supernet
    return load(run, materials, finetuned.subnet)


def _with_history(run: Run, trained: Trained, variant: Variant, facts: FileFacts) -> FileFacts:
    """`facts` about the file of a network that was fine-tuned for int8, with what was tried before that."""
    known = known_file(run, trained, variant)
    before = known.conversion.attempts if known else ()
    made = facts.artifact.conversion
    attempts = (*before, *(replace(attempt, finetuned=True) for attempt in made.attempts))
    chosen = None if made.chosen is None else len(before) + made.chosen
    conversion = replace(made, attempts=attempts, chosen=chosen)
    return replace(facts, artifact=replace(facts.artifact, conversion=conversion))


def check_file_budget(outcome: SearchOutcome, artifact: Artifact) -> None:
    """Raise `BudgetError` if the files exceed the budget: the search knew only a prediction of their size."""
    limit = next((limit for limit in outcome.budgets.limits() if limit.budget == "file_size"), None)
    if limit is None or artifact.bytes <= limit.value:
        return
    target, size = f"target {outcome.found.profile.name!r}", format_bytes(artifact.bytes)
    if len(artifact.files) > 1:
        raise BudgetError(
            f"{target}: its graph and the shared weights have {size}, but its budget is {limit.describe()}; give it a "
            "smaller weights file in `export.bands`, or export separate files"
        )
    raise BudgetError(
        f"{target}: the exported file has {size}, but its budget is {limit.describe()}; lower the budget by the "
        "difference, so that a smaller subnet is picked"
    )
