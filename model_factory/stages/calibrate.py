"""The calibration stage: choose the number of training images on which every subnet is recalibrated."""

from __future__ import annotations

from typing import Any

from pydantic import TypeAdapter

from factory_base.documents import shaping_values
from model_factory.console import Console
from model_factory.run import Run
from model_factory.stages.cached import Stage
from model_factory.stages.fingerprint import model_code, space_libraries
from model_factory.stages.materials import Materials
from model_factory.stages.train import Trained

_VERSION = 2


def calibrate_stage(run: Run, materials: Materials, console: Console, trained: Trained) -> int:
    """The number of training images, the same for all subnets. Raises `CheckpointError`, `SpaceError`, `DiskError`."""

    def choose() -> int:
        with console.stage("choose calibration images") as progress:
            calibration = materials.calibration(progress)
        console.say(calibration.describe())
        return calibration.images

    stage = Stage(
        run=run,
        name="calibration",
        version=_VERSION,
        inputs=evaluation_inputs(run, trained),
        libraries=("torch", "numpy", *space_libraries(run.config.model)),
        codec=TypeAdapter(int),
    )
    return stage.cached(choose)


def evaluation_inputs(run: Run, trained: Trained) -> dict[str, Any]:
    """Everything that shapes the accuracy of a recalibrated subnet, for the keys of all stages that measure one."""
    config = run.config
    return {
        "checkpoint": trained.checkpoint_sha256,
        "data": trained.data_sha256,
        **model_code(config.model, run.config_folder),
        "calibration_images": config.search.calibration_images,
        "calibration_tolerance": config.search.calibration_tolerance,
        "seed": config.seed,
        "threads": config.threads,
        **({"task": shaping_values(config.task)} if config.task.name != "classification" else {}),
        **({"metric": config.steering} if config.steering != config.task.metrics[0] else {}),
    }
