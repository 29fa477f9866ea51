"""The scoring stage: measure the held-out accuracy of the subnets that all targets share."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import TypeAdapter

from model_factory.console import Console
from model_factory.run import Run
from model_factory.stages.cached import Stage, stage_key
from model_factory.stages.calibrate import evaluation_inputs
from model_factory.stages.fingerprint import space_libraries
from model_factory.stages.materials import Materials
from model_factory.stages.train import Trained
from search.scored import Scored

if TYPE_CHECKING:
    from search.archive import Archive

_VERSION = 4
_STUDY_VERSION = 3


def score_stage(
    run: Run, materials: Materials, console: Console, trained: Trained, calibration_images: int
) -> tuple[Scored, ...]:
    """Score the subnets that all targets share.

    Args:
        run: The run.
        materials: Its supernet and images.
        console: Shows progress.
        trained: The trained supernet.
        calibration_images: Number of training images on which each subnet is recalibrated.

    Returns:
        The scored subnets.

    Raises:
        CheckpointError, SpaceError: The supernet cannot be read.
        FactoryError: The storage of the study cannot be used.
    """

    def score() -> tuple[Scored, ...]:
        from search.design import shared_subnets

        config = run.config
        with console.stage("choose subnets to score") as progress:
            subnets = shared_subnets(
                materials.model_space.space, materials.workloads, config.search.shared_subnets, config.seed, progress
            )
        archive = open_archive(run, materials, trained)
        with console.stage("score shared subnets") as progress:
            scored = archive.score(
                subnets,
                len(materials.splits.heldout),
                lambda subnet, rows: materials.heldout_correct(subnet, rows, calibration_images),
                "shared",
                progress,
            )
        archive.write_table(run.archive_table)
        return tuple(scored)

    stage = Stage(
        run=run,
        name="score",
        version=_VERSION,
        inputs={**evaluation_inputs(run, trained), "shared_subnets": run.config.search.shared_subnets},
        libraries=("torch", "optuna", "numpy", *space_libraries(run.config.model)),
        codec=TypeAdapter(tuple[Scored, ...]),
    )
    return stage.cached(score)


def check_storage(run: Run) -> None:
    """Raise `FactoryError` if the storage that the config names cannot be used, before hours of training."""
    if run.config.search.storage is not None:
        from search.archive import open_storage

        open_storage(run.config.search.storage)


def open_archive(run: Run, materials: Materials, trained: Trained) -> Archive:
    """The study of scored subnets, one for each checkpoint and way of scoring.

    Raises:
        FactoryError: The storage of the study cannot be used.
    """
    from search.archive import Archive

    libraries = ("torch", "numpy", *space_libraries(run.config.model))
    key = stage_key("study", _STUDY_VERSION, libraries, evaluation_inputs(run, trained))
    return Archive(run.storage, f"{run.config.name}-{key[:16]}", materials.model_space.space)
