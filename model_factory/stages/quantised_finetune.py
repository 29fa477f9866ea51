"""Fine-tuning for int8: train a pick whose int8 file loses too much accuracy while it computes as the file does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from pydantic import TypeAdapter

from factory_base.documents import shaping_values
from factory_base.errors import TrainingError
from factory_base.files import sha256_file
from factory_base.progress import Progress
from model_factory.console import Console
from model_factory.run import Run
from model_factory.stages.cached import Stage
from model_factory.stages.calibrate import evaluation_inputs
from model_factory.stages.files import known_file
from model_factory.stages.finetune import Finetuned, finetuned_supernet, overall_progress, remove_states, train_alone
from model_factory.stages.fingerprint import space_libraries, subnet_values
from model_factory.stages.materials import CALIBRATION_IMAGES, CHECK_IMAGES, Materials
from model_factory.stages.search import SearchOutcome
from model_factory.stages.train import Trained
from supernet.space import SubnetConfig

if TYPE_CHECKING:
    from supernet.sharing.supernet import Supernet
    from supernet.training.config import TrainingConfig

_VERSION = 1


def lossy_picks(
    run: Run,
    trained: Trained,
    outcomes: Sequence[SearchOutcome],
    finetuned: Mapping[SubnetConfig, Finetuned],
) -> Mapping[SubnetConfig, Finetuned | None]:
    """The picks whose int8 files lose more accuracy than `export.drop_limit`, although all other remedies were tried.

    Args:
        run: The run, which has the records about the files.
        trained: The trained supernet.
        outcomes: The outcome of the search for each target.
        finetuned: The results of `finetune_stage`.

    Returns:
        The subnet of each such pick, with its result of `finetune_stage`.
    """
    picks = [outcome.result.pick.variant for outcome in outcomes]
    files = {v.subnet: known_file(run, trained, v) for v in picks if v.precision == "int8"}
    limit = run.config.export.drop_limit
    drops = {subnet: file.conversion.drop for subnet, file in files.items() if file}
    return {subnet: finetuned.get(subnet) for subnet, drop in drops.items() if drop and drop.points > limit}


def quantised_finetune_stage(
    run: Run,
    materials: Materials,
    console: Console,
    trained: Trained,
    calibration_images: int,
    picks: Mapping[SubnetConfig, Finetuned | None],
) -> Mapping[SubnetConfig, Finetuned]:
    """Train each of `picks` further for its int8 file; do nothing if `quantised_finetune.epochs` is 0.

    It starts from the weights that would be exported otherwise. Results for other subnets are kept in case they are
    picked again.

    Args:
        run: The run.
        materials: Its supernet and images.
        console: Shows progress.
        trained: The trained supernet.
        calibration_images: Number of training images on which subnets are recalibrated.
        picks: The subnets, each with the result of `finetune_stage` if there is one.

    Returns:
        The result for each of `picks`, with accuracies of fake quantisation; empty if there is nothing to do.

    Raises:
        TrainingError, DataError, DiskError: As `supernet.train` raises them.
        CheckpointError, SpaceError: The supernet cannot be read, or a subnet is not part of it or cannot be quantised.
    """
    if not run.config.quantised_finetune.epochs:
        return {}
    stages = {subnet: _stage(run, trained, subnet, start) for subnet, start in picks.items()}
    found = {subnet: stage.load() for subnet, stage in stages.items()}
    done = {subnet: known for subnet, known in found.items() if known is not None}
    missing = [subnet for subnet in stages if subnet not in done]
    if missing:
        with console.stage("fine-tune for int8") as progress:
            for index, subnet in enumerate(missing):
                overall = overall_progress(progress, index, len(missing), subnet)
                start, stage = picks[subnet], stages[subnet]
                tuned = _finetune(run, materials, console, calibration_images, subnet, start, stage.key, overall)
                done[subnet] = stage.save(tuned, [run.quantised_weights(subnet.id)])
                remove_states(run.quantised_state(subnet.id))
    return done


def own_weights(
    outcome: SearchOutcome, finetuned: Mapping[SubnetConfig, Finetuned], quantised: Mapping[SubnetConfig, Finetuned]
) -> Finetuned | None:
    """The result of the last fine-tuning of a pick whose weights are better than those that it began with."""
    pick = outcome.result.pick.variant
    for_int8 = quantised.get(pick.subnet) if pick.precision == "int8" else None
    return for_int8 if for_int8 and for_int8.kept else finetuned.get(pick.subnet)


def quantised_supernet(run: Run, materials: Materials, subnet: SubnetConfig) -> Supernet:
    """The weights of `subnet` that were fine-tuned for int8, as a supernet of that subnet alone.

    Raises:
        CheckpointError: They are missing or damaged.
    """
    from supernet.training.checkpoint import load_supernet
    from supernet.training.finetune import OneSubnet

    return load_supernet(run.quantised_weights(subnet.id), OneSubnet(materials.model_space, subnet))


def _stage(run: Run, trained: Trained, subnet: SubnetConfig, start: Finetuned | None) -> Stage[Finetuned]:
    return Stage(
        run=run,
        name=f"finetune-int8-{subnet.id}",
        version=_VERSION,
        inputs={
            **evaluation_inputs(run, trained),
            "training": shaping_values(run.config.training, exclude={"initial_weights"}),
            "quantised_finetune": shaping_values(run.config.quantised_finetune),
            "subnet": subnet_values(subnet),
            **({"start": start.sha256} if start and start.kept else {}),
        },
        libraries=("torch", "numpy", *space_libraries(run.config.model)),
        codec=TypeAdapter(Finetuned),
    )


def _finetune(
    run: Run,
    materials: Materials,
    console: Console,
    calibration_images: int,
    subnet: SubnetConfig,
    start: Finetuned | None,
    key: str,
    progress: Progress,
) -> Finetuned:
    from supernet.quantisation.finetune import QuantisedSupernet
    from supernet.training.checkpoint import save_supernet
    from supernet.training.finetune import separated

    source = finetuned_supernet(run, materials, subnet) if start and start.kept else materials.supernet
    alone = QuantisedSupernet(
        separated(source, subnet),
        materials.calibrated(subnet, calibration_images, source),
        materials.training_inputs(subnet, CALIBRATION_IMAGES),
    )

    def accuracy(images: int) -> float:
        finished = alone.finished(materials.training_inputs(subnet, images))
        return materials.heldout_accuracy(subnet, images, finished, "int8")

    before = materials.heldout_accuracy(subnet, calibration_images, source, "int8")
    recipe: TrainingConfig = run.config.quantised_finetune.recipe(run.config.training)
    state = run.quantised_state(subnet.id)
    try:
        outcome = train_alone(
            run, materials, console, alone, subnet, recipe, state, key, progress, lambda: accuracy(CHECK_IMAGES)
        )
    except TrainingError as error:
        raise TrainingError(f"fine-tuning of {subnet.id} (section quantised_finetune): {error}") from error
    finished = alone.cpu().finished(materials.training_inputs(subnet, calibration_images))
    save_supernet(run.quantised_weights(subnet.id), finished)
    return Finetuned(
        subnet=subnet,
        before=before,
        after=materials.heldout_accuracy(subnet, calibration_images, finished, "int8"),
        sha256=sha256_file(run.quantised_weights(subnet.id)),
        seconds=outcome.seconds,
        precision="int8",
    )
