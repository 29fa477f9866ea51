"""The stage between the pick and its export: fine-tune the chosen subnet, where the config asks for it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from factory_base.errors import TrainingError
from factory_base.files import sha256_file
from factory_base.progress import Progress
from model_factory.stages.cached import stage_key
from model_factory.stages.fingerprint import model_code
from model_factory.stages.materials import CHECK_IMAGES
from model_factory.stages.stages import Trained, Workbench, calibration_stage, subnet_to_json
from supernet.space import SubnetConfig

if TYPE_CHECKING:
    from pathlib import Path

    from supernet.sharing.supernet import Supernet
    from supernet.training.config import TrainingConfig
    from supernet.training.finetune_config import FinetuneConfig
    from supernet.training.training import Outcome

_FINETUNE_VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Finetuned:
    """What fine-tuning did to one subnet.

    Attributes:
        subnet: which.
        before: accuracy on the held-out images with the shared weights, 0 to 1.
        after: with its own.
        sha256: of its own weights.
        seconds: of training.
    """

    subnet: SubnetConfig
    before: float
    after: float
    sha256: str
    seconds: float

    @property
    def kept(self) -> bool:
        """Whether its own weights are better than the shared ones, and therefore exported."""
        return self.after > self.before

    def describe(self) -> str:
        """One line for people."""
        kept = "" if self.kept else "; the shared weights are exported"
        accuracies = f"{self.before:.2%} before, {self.after:.2%} after"
        return f"subnet {self.subnet.id} fine-tuned: held-out accuracy {accuracies}{kept}"


def finetune_stage(
    bench: Workbench, trained: Trained, subnets: Sequence[SubnetConfig]
) -> dict[SubnetConfig, Finetuned]:
    """Train each of `subnets` further on its own; nothing where the config has no `finetune` section.

    The supernet's checkpoint stays as it is. What was found of other subnets is kept, for the day they are chosen.

    Raises:
        TrainingError, DataError, DiskError: as `supernet.training.training` says.
        CheckpointError, SpaceError: the supernet cannot be read, or a subnet is no part of it.
    """
    config = bench.run.config.finetune
    if config is None:
        return {}
    version = (_FINETUNE_VERSION, ("torch", "numpy"))
    keys = {s: stage_key(_stage(s), *version, _inputs(bench, trained, s, config)) for s in subnets}
    found = {subnet: bench.run.cache.load(_stage(subnet), key) for subnet, key in keys.items()}
    done = {subnet: Finetuned(subnet=subnet, **values) for subnet, values in found.items() if values is not None}
    missing = [subnet for subnet in keys if subnet not in done]
    if missing:
        with bench.console.stage("fine-tune") as progress:
            for index, subnet in enumerate(missing):
                part = _part(progress, index, len(missing), subnet)
                done[subnet] = _finetune(bench, trained, subnet, config, keys[subnet], part)
    return done


def finetuned_supernet(bench: Workbench, subnet: SubnetConfig) -> Supernet:
    """The weights that `finetune_stage` left, as a supernet of that subnet alone. Raises `CheckpointError`."""
    from supernet.training.checkpoint import load_supernet
    from supernet.training.finetune import OneSubnet

    return load_supernet(_weights_file(bench, subnet), OneSubnet(bench.materials().model_space, subnet))


def finetuning_lines(found: Iterable[Finetuned | None]) -> tuple[str, ...]:
    """A line per fine-tuned subnet, each once."""
    return tuple(dict.fromkeys(one.describe() for one in found if one is not None))


def _stage(subnet: SubnetConfig) -> str:
    return f"finetune-{subnet.id}"


def _part(progress: Progress, index: int, count: int, subnet: SubnetConfig) -> Progress:
    """Progress of the training of one subnet, all of which have equally many steps, as that of them all."""

    def told(done: int, total: int, detail: str = "") -> None:
        progress(index * total + done, count * total, f"{subnet.id}, {index + 1} of {count}: {detail}")

    return told


def _inputs(bench: Workbench, trained: Trained, subnet: SubnetConfig, finetune: FinetuneConfig) -> dict[str, Any]:
    config = bench.run.config
    return {
        "checkpoint": trained.checkpoint_sha256,
        "data": trained.data_sha256,
        **model_code(config.model, bench.run.config_folder),
        "training": config.training.model_dump(mode="json", exclude={"save_every", "initial_weights"}),
        "finetune": finetune.model_dump(mode="json"),
        "calibration_images": config.search.calibration_images,
        "calibration_tolerance": config.search.calibration_tolerance,
        "seed": config.seed,
        "threads": config.threads,
        "subnet": subnet_to_json(subnet),
    }


def _finetune(
    bench: Workbench, trained: Trained, subnet: SubnetConfig, config: FinetuneConfig, key: str, progress: Progress
) -> Finetuned:
    from supernet.training.checkpoint import save_supernet
    from supernet.training.finetune import separated

    materials = bench.materials(len(trained.class_names))
    images = calibration_stage(bench, trained).images
    alone = separated(materials.supernet, subnet)
    before = materials.heldout_accuracy(subnet, images)
    try:
        outcome = _train(bench, alone, subnet, config.recipe(bench.run.config.training), key, progress)
    except TrainingError as error:
        raise TrainingError(f"fine-tuning of {subnet.id} (section finetune): {error}") from error
    alone = alone.cpu()
    save_supernet(_weights_file(bench, subnet), alone)
    found = Finetuned(
        subnet=subnet,
        before=before,
        after=materials.heldout_accuracy(subnet, images, alone),
        sha256=sha256_file(_weights_file(bench, subnet)),
        seconds=outcome.seconds,
    )
    values = {name: value for name, value in asdict(found).items() if name != "subnet"}
    bench.run.cache.save(_stage(subnet), key, values, [_weights_file(bench, subnet)])
    for left in _state_files(bench, subnet):
        left.unlink(missing_ok=True)
    return found


def _train(
    bench: Workbench, alone: Supernet, subnet: SubnetConfig, recipe: TrainingConfig, key: str, progress: Progress
) -> Outcome:
    from supernet.training.training import train
    from supernet.training.workers import alone as one_worker

    run, materials = bench.run, bench.materials()
    workers = one_worker(recipe.device)
    return train(
        alone,
        materials.examples(materials.splits.train, recipe.augment, workers.device),
        recipe,
        seed=run.config.seed,
        state_file=_state_files(bench, subnet)[0],
        key=key,
        check=lambda _: materials.heldout_accuracy(subnet, CHECK_IMAGES, alone),
        workers=workers,
        loader_workers=materials.loader_workers,
        progress=progress,
        notify=bench.console.say,
    )


def _weights_file(bench: Workbench, subnet: SubnetConfig) -> Path:
    return bench.run.folder / "finetuned" / f"{subnet.id}.safetensors"


def _state_files(bench: Workbench, subnet: SubnetConfig) -> tuple[Path, Path]:
    """Of an unfinished fine-tuning: the newest state, and the last good one."""
    from supernet.training.training import good_state_file

    state = bench.run.folder / "finetuned" / f"{subnet.id}.training.safetensors"
    return state, good_state_file(state)
