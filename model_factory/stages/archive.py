"""The archive of a run: the Optuna study that holds the scores of its subnets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from model_factory.run import Run
from model_factory.stages.cached import stage_key
from model_factory.stages.calibrate import evaluation_inputs
from model_factory.stages.fingerprint import space_libraries
from model_factory.stages.materials import Materials
from model_factory.stages.train import Trained

if TYPE_CHECKING:
    from search.archive import Archive

_VERSION = 3


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
    key = stage_key("study", _VERSION, libraries, evaluation_inputs(run, trained))
    return Archive(run.storage, f"{run.config.name}-{key[:16]}", materials.model_space.space)
