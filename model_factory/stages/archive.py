"""The archive of a run: the Optuna study that holds the scores of its subnets, and what scores them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from model_factory.console import Console
from model_factory.run import Run
from model_factory.stages.cached import stage_key
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
    """Scores variants and keeps the scores in the run's archive, which is opened when there is something to score."""

    def __init__(
        self, run: Run, materials: Materials, console: Console, trained: Trained, calibration_images: int
    ) -> None:
        self._run, self._materials, self._console = run, materials, console
        self._trained, self._calibration_images = trained, calibration_images
        self._archive: Archive | None = None

    def score(self, variants: Sequence[Variant], images: int, purpose: str) -> list[Scored]:
        """See `search.finals.Score`."""
        if self._archive is None:
            self._archive = open_archive(self._run, self._materials, self._trained)
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


def open_archive(run: Run, materials: Materials, trained: Trained, suffix: str = "") -> Archive:
    """The study of scored subnets, one for each checkpoint and way of scoring.

    Args:
        run: The run.
        materials: Its model space.
        trained: The trained supernet.
        suffix: What the name of the study ends with, for scores that are kept apart.

    Raises:
        FactoryError: The storage of the study cannot be used.
    """
    from search.archive import Archive

    libraries = ("torch", "numpy", *space_libraries(run.config.model))
    key = stage_key("study", _VERSION, libraries, evaluation_inputs(run, trained))
    return Archive(run.storage, f"{run.config.name}-{key[:16]}{suffix}", materials.model_space.space)
