"""The archive of a run: the Optuna study that holds the scores of its subnets, and what scores them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Self

from factory_base.errors import FactoryError
from model_factory.console import Console
from model_factory.run import Run
from model_factory.stages.cached import library_version, stage_key
from model_factory.stages.calibrate import evaluation_inputs
from model_factory.stages.fingerprint import space_libraries
from model_factory.stages.materials import Materials
from model_factory.stages.train import Trained
from search.scored import Scored
from search.variant import Variant
from supernet.space import SubnetConfig

if TYPE_CHECKING:
    from device_profiles.engine import Precision
    from search.archive import Archive

_VERSION = 3


def check_storage(run: Run) -> None:
    """Raise `FactoryError` if the storage that the config names cannot be used, before hours of training."""
    if run.config.search.storage is not None:
        from search.storage import open_storage

        open_storage(run.config.search.storage)


class Scorer:
    """Scores variants and keeps the scores in the run's archive, which is opened when there is something to score.

    As a context manager it tells other processes, which may help, that a search begins and that it has ended.
    """

    def __init__(
        self, run: Run, materials: Materials, console: Console, trained: Trained, calibration_images: int
    ) -> None:
        self._run, self._materials, self._console = run, materials, console
        self._trained, self._calibration_images = trained, calibration_images
        self._archive: Archive | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._archive is not None:
            with suppress(FactoryError):  # the storage went away, which the search has met already
                self._archive.announce(self._announcement(running=False))
            self._archive.close()
            self._archive = None

    def _announcement(self, *, running: bool) -> dict[str, Any]:
        """What processes on other machines need to know, and what they must have in common with this one."""
        return {
            "running": running,
            "calibration_images": self._calibration_images,
            "inputs": shared_inputs(self._run, self._trained),
        }

    def score(self, variants: Sequence[Variant], images: int, purpose: str) -> list[Scored]:
        """See `search.finals.Score`."""
        if self._archive is None:
            self._archive = open_archive(self._run, self._materials, self._trained, alone=self._run.owns_storage)
            self._archive.announce(self._announcement(running=True))
        known: dict[Variant, Scored] = {}
        for precision in dict.fromkeys(variant.precision for variant in variants):
            same = [variant for variant in variants if variant.precision == precision]
            known |= zip(same, self._in(precision, self._archive, same, images, purpose), strict=True)
        return [known[variant] for variant in variants]

    def _in(
        self, precision: Precision, archive: Archive, variants: Sequence[Variant], images: int, purpose: str
    ) -> list[Scored]:
        archive, subnets = archive.of_variant(precision), [variant.subnet for variant in variants]
        title = purpose if precision in ("fp32", purpose) else f"{purpose}, {precision}"

        def evaluate(subnet: SubnetConfig, rows: range) -> list[float]:
            return self._materials.heldout_scores(subnet, rows, self._calibration_images, precision)

        with self._console.stage(f"score subnets ({title})") as progress:
            return archive.score(subnets, images, evaluate, purpose, progress)

    def write_table(self) -> None:
        """Write the table of all scored subnets, if there are new ones. Raises `DiskError`."""
        if self._archive is not None:
            self._archive.write_table(self._run.archive_table)


def open_archive(run: Run, materials: Materials, trained: Trained, suffix: str = "", *, alone: bool = False) -> Archive:
    """The study of scored subnets, one for each checkpoint and way of scoring.

    Args:
        run: The run.
        materials: Its model space.
        trained: The trained supernet.
        suffix: What the name of the study ends with, for scores that are kept apart.
        alone: Whether no other process can be scoring now.

    Raises:
        FactoryError: The storage of the study cannot be used.
    """
    from search.archive import Archive

    return Archive(run.storage, study_name(run, trained) + suffix, materials.model_space.space, alone=alone)


def study_name(run: Run, trained: Trained) -> str:
    """The name of the study: another one for everything that changes a score."""
    key = stage_key("study", _VERSION, _libraries(run), evaluation_inputs(run, trained))
    return f"{run.config.name}-{key[:16]}"


def shared_inputs(run: Run, trained: Trained) -> dict[str, Any]:
    """What processes that score together must have in common, by a name for people."""
    return {**evaluation_inputs(run, trained), **{name: library_version(name) for name in _libraries(run)}}


def _libraries(run: Run) -> tuple[str, ...]:
    return ("torch", "numpy", *space_libraries(run.config.model))
