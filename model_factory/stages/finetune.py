"""The fine-tuning stage: train each pick a little further before it is exported, if the config asks for it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import TypeAdapter

from device_profiles.engine import Precision
from factory_base.documents import shaping_values
from factory_base.errors import TrainingError
from factory_base.files import sha256_file
from factory_base.progress import Progress
from model_factory.console import Console
from model_factory.run import Run
from model_factory.stages.cached import Stage
from model_factory.stages.calibrate import evaluation_inputs
from model_factory.stages.fingerprint import space_libraries, subnet_values
from model_factory.stages.materials import CHECK_IMAGES, Materials
from model_factory.stages.train import Trained
from supernet.space import SubnetConfig

if TYPE_CHECKING:
    from supernet.sharing.supernet import Supernet
    from supernet.training.config import TrainingConfig
    from supernet.training.finetune_config import FinetuneConfig
    from supernet.training.training import Outcome

_VERSION = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Finetuned:
    """The result of fine-tuning one subnet.

    Attributes:
        subnet: The subnet.
        before: Accuracy on the held-out images with the weights that it began with, 0 to 1.
        after: Accuracy on the held-out images with its own weights, 0 to 1.
        sha256: Digest of the file of its own weights.
        seconds: Duration of the fine-tuning.
        precision: The precision that it was fine-tuned for, in which both accuracies are: for `int8` they are those of
            fake quantisation.
    """

    subnet: SubnetConfig
    before: float
    after: float
    sha256: str
    seconds: float
    precision: Precision = "fp32"

    @property
    def kept(self) -> bool:
        """Whether its own weights are better than the shared ones and are therefore exported."""
        return self.after > self.before

    def describe(self) -> str:
        """One line for people."""
        kept = "" if self.kept else f"; the {'shared' if self.precision == 'fp32' else 'earlier'} weights are exported"
        accuracies = f"{self.before:.2%} before, {self.after:.2%} after"
        purpose = "" if self.precision == "fp32" else f" for {self.precision}"
        return f"subnet {self.subnet.id} fine-tuned{purpose}: held-out accuracy {accuracies}{kept}"


def finetune_stage(
    run: Run,
    materials: Materials,
    console: Console,
    trained: Trained,
    calibration_images: int,
    subnets: Sequence[SubnetConfig],
) -> Mapping[SubnetConfig, Finetuned]:
    """Train each of `subnets` further on its own; do nothing if the config has no `finetune` section.

    The checkpoint of the supernet does not change. Results for other subnets are kept in case they are picked again.

    Args:
        run: The run.
        materials: Its supernet and images.
        console: Shows progress.
        trained: The trained supernet.
        calibration_images: Number of training images on which subnets are recalibrated.
        subnets: The picks; a subnet that is the pick of several targets is fine-tuned once.

    Returns:
        The result for each of `subnets`; empty without a `finetune` section.

    Raises:
        TrainingError, DataError, DiskError: As `supernet.train` raises them.
        CheckpointError, SpaceError: The supernet cannot be read, or a subnet is not part of it.
    """
    config = run.config.finetune
    if config is None:
        return {}
    stages = {subnet: _stage(run, trained, subnet, config) for subnet in subnets}
    found = {subnet: stage.load() for subnet, stage in stages.items()}
    done = {subnet: known for subnet, known in found.items() if known is not None}
    missing = [subnet for subnet in stages if subnet not in done]
    if missing:
        with console.stage("fine-tune") as progress:
            for index, subnet in enumerate(missing):
                overall = overall_progress(progress, index, len(missing), subnet)
                recipe, stage = config.recipe(run.config.training), stages[subnet]
                tuned = _finetune(run, materials, console, calibration_images, subnet, recipe, stage.key, overall)
                done[subnet] = stage.save(tuned, [run.finetuned_weights(subnet.id)])
                remove_states(run.finetuning_state(subnet.id))
    return done


def finetuned_supernet(run: Run, materials: Materials, subnet: SubnetConfig) -> Supernet:
    """The fine-tuned weights of `subnet`, as a supernet of that subnet alone. Raises `CheckpointError`."""
    from supernet.training.checkpoint import load_supernet
    from supernet.training.finetune import OneSubnet

    return load_supernet(run.finetuned_weights(subnet.id), OneSubnet(materials.model_space, subnet))


def finetuning_lines(found: Iterable[Finetuned | None]) -> tuple[str, ...]:
    """A line for each fine-tuned subnet, without repetitions."""
    return tuple(dict.fromkeys(one.describe() for one in found if one is not None))


def _stage(run: Run, trained: Trained, subnet: SubnetConfig, finetune: FinetuneConfig) -> Stage[Finetuned]:
    return Stage(
        run=run,
        name=f"finetune-{subnet.id}",
        version=_VERSION,
        inputs={
            **evaluation_inputs(run, trained),
            "training": shaping_values(run.config.training, exclude={"initial_weights"}),
            "finetune": shaping_values(finetune),
            "subnet": subnet_values(subnet),
        },
        libraries=("torch", "numpy", *space_libraries(run.config.model)),
        codec=TypeAdapter(Finetuned),
    )


def overall_progress(progress: Progress, index: int, count: int, subnet: SubnetConfig) -> Progress:
    """Converts progress with one subnet to progress with all of them, which have equally many steps."""

    def report(done: int, total: int, detail: str = "") -> None:
        progress(index * total + done, count * total, f"{subnet.id}, {index + 1} of {count}: {detail}")

    return report


def _finetune(
    run: Run,
    materials: Materials,
    console: Console,
    calibration_images: int,
    subnet: SubnetConfig,
    recipe: TrainingConfig,
    key: str,
    progress: Progress,
) -> Finetuned:
    from supernet.training.checkpoint import save_supernet
    from supernet.training.finetune import separated

    alone = separated(materials.supernet, subnet)
    before = materials.heldout_accuracy(subnet, calibration_images)
    state = run.finetuning_state(subnet.id)
    try:
        outcome = train_alone(
            run, materials, console, alone, subnet, recipe, state, key, progress,
            lambda: materials.heldout_accuracy(subnet, CHECK_IMAGES, alone),
        )  # fmt: skip
    except TrainingError as error:
        raise TrainingError(f"fine-tuning of {subnet.id} (section finetune): {error}") from error
    alone = alone.cpu()
    save_supernet(run.finetuned_weights(subnet.id), alone)
    return Finetuned(
        subnet=subnet,
        before=before,
        after=materials.heldout_accuracy(subnet, calibration_images, alone),
        sha256=sha256_file(run.finetuned_weights(subnet.id)),
        seconds=outcome.seconds,
    )


def train_alone(
    run: Run,
    materials: Materials,
    console: Console,
    alone: Supernet,
    subnet: SubnetConfig,
    recipe: TrainingConfig,
    state_file: Path,
    key: str,
    progress: Progress,
    check: Callable[[], float],
) -> Outcome:
    """Train `alone`, a supernet of `subnet`, in place.

    Args:
        run: The run.
        materials: Its images.
        console: Shows what the user should read.
        alone: The supernet.
        subnet: Its subnet.
        recipe: How to train it.
        state_file: File in which the training state is saved.
        key: Digest of everything that shapes the result.
        progress: Called after every step.
        check: Returns the held-out accuracy, for the curve.

    Raises:
        TrainingError, DataError, DiskError: As `supernet.train` raises them.
    """
    from supernet.training.training import train
    from supernet.training.workers import one_worker

    workers = one_worker(recipe.device)
    return train(
        alone,
        materials.examples(materials.splits.train, recipe.augment, workers.device),
        recipe,
        seed=run.config.seed,
        state_file=state_file,
        key=key,
        check=lambda _: check(),
        check_images=len(materials.splits.heldout),
        task=materials.task,
        metric=run.config.steering,
        workers=workers,
        loader_workers=materials.loader_workers,
        progress=progress,
        notify=lambda line: console.say(f"fine-tuning of {subnet.id}: {line}"),
    )


def remove_states(state_file: Path) -> None:
    """Remove the states of a finished training."""
    from supernet.training.training import good_state_file

    for path in (state_file, good_state_file(state_file)):
        path.unlink(missing_ok=True)
