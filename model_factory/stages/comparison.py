"""The comparison stage: other samplers at as many evaluations as the run's own search, for the same devices.

Each sampler on each device has a record of its own, so an interrupted comparison keeps what is finished, and a later
one adds to those before. Scores are read from the study of the run; those that it lacks go to a study of their own. So
neither picks nor the table of scored subnets depend on whether samplers were compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pydantic import TypeAdapter

from factory_base.documents import shaping_values
from factory_base.files import digest_of
from factory_base.progress import Progress
from model_factory.console import Console
from model_factory.run import Run
from model_factory.stages.archive import open_archive
from model_factory.stages.cached import Stage
from model_factory.stages.calibrate import evaluation_inputs
from model_factory.stages.fingerprint import space_libraries
from model_factory.stages.materials import Materials
from model_factory.stages.search import Aim, device_targets
from model_factory.stages.train import Trained
from search.comparison import Comparison, Contender
from search.metric_words import metric_words
from search.samplers.settings import SETTINGS
from search.scored import Scored
from supernet.space import SubnetConfig

if TYPE_CHECKING:
    from search.contest import Contest

_VERSION = 1
_STUDY = "-compared"
"""What the name of the study ends with that holds the scores of comparisons."""


def comparison_stage(
    run: Run,
    materials: Materials,
    console: Console,
    trained: Trained,
    calibration_images: int,
    aims: Sequence[Aim],
    samplers: Sequence[str],
) -> tuple[Comparison, ...]:
    """Compare samplers with the run's own search, on each device alone.

    Args:
        run: The run.
        materials: Its supernet and images.
        console: Shows progress.
        trained: The trained supernet.
        calibration_images: Number of training images on which each subnet is recalibrated.
        aims: The devices.
        samplers: The samplers, without the run's own.

    Raises:
        BudgetError: No subnet meets the budgets of a device.
        ConfigError: The space is too large to be scored in full.
    """
    from search.contest import allowed_evaluations, run_contender

    wanted = [(aim, sampler) for aim in aims for sampler in (run.config.search.sampler, *samplers)]
    missing = [(a, s) for a, s in wanted if _stage(run, trained, a, s).load() is None]
    if missing:
        shares = [allowed_evaluations(s, run.config.search, materials.model_space.space) for _, s in missing]
        scores = _Scores(run, materials, trained, calibration_images)
        with console.stage("compare samplers") as progress:
            for number, (aim, sampler) in enumerate(missing):
                title = f"{sampler} on {aim.found.profile.name}"
                part = _part(progress, sum(shares[:number]), sum(shares), title)
                found = run_contender(_contest(run, materials, aim, scores), sampler, part)
                _stage(run, trained, aim, sampler).save(found)
        materials.keep_workloads()
    return tuple(filter(None, (_kept(run, trained, aim, samplers) for aim in aims)))


def kept_comparisons(run: Run, trained: Trained, aims: Sequence[Aim]) -> tuple[Comparison, ...]:
    """What earlier comparisons found, with the same supernet, budgets and settings, for those devices that had one."""
    return tuple(filter(None, (_kept(run, trained, aim, tuple(SETTINGS)) for aim in aims)))


def _kept(run: Run, trained: Trained, aim: Aim, samplers: Sequence[str]) -> Comparison | None:
    own = _stage(run, trained, aim, run.config.search.sampler).load()
    named = [sampler for sampler in samplers if sampler != run.config.search.sampler]
    others = tuple(found for s in named if (found := _stage(run, trained, aim, s).load()))
    if own is None or not others:
        return None
    return Comparison(
        device=aim.found.profile.name,
        latency_basis=aim.found.for_files_in(own.precision).profile.latency_provenance,
        own=own,
        others=others,
        metric=metric_words(run.config.steering).name,
    )


def _stage(run: Run, trained: Trained, aim: Aim, sampler: str) -> Stage[Contender]:
    return Stage(
        run=run,
        name=f"comparison-{aim.found.profile.name}-{digest_of(aim.inputs())[:8]}-{sampler}",
        version=_VERSION,
        inputs={
            **evaluation_inputs(run, trained),
            "search": shaping_values(run.config.search),
            "export": {"input": run.config.export.input},
            "target": aim.inputs(),
            "sampler": sampler,
        },
        libraries=("torch", "optuna", "numpy", "scipy", *space_libraries(run.config.model)),
        codec=TypeAdapter(Contender),
    )


def _contest(run: Run, materials: Materials, aim: Aim, scores: _Scores) -> Contest:
    """The comparison on one device: in the first of its precisions in which a subnet keeps the budgets."""
    from search.contest import Contest
    from search.rounds import feasible, image_rungs

    space, heldout = materials.model_space.space, materials.splits.heldout
    (alternatives,) = device_targets([aim], materials)
    return Contest(
        target=feasible(alternatives, space)[0],
        space=space,
        workloads=materials.workloads,
        score=scores.score,
        rungs=image_rungs(run.config.search, len(heldout)),
        config=run.config.search,
        seed=run.config.seed,
        baseline=materials.task.baseline(heldout.labels, run.config.steering),
    )


class _Scores:
    """Scores subnets, unless the run or an earlier comparison did, and keeps each score as soon as it is there."""

    def __init__(self, run: Run, materials: Materials, trained: Trained, calibration_images: int) -> None:
        self._materials, self._calibration_images = materials, calibration_images
        self._known = open_archive(run, materials, trained).scored()
        self._archive = open_archive(run, materials, trained, _STUDY)

    def score(self, subnet: SubnetConfig, images: int) -> tuple[Scored, bool]:
        """See `search.contest.ScoreOne`."""
        evaluated: list[range] = []

        def evaluate(subnet: SubnetConfig, rows: range) -> list[float]:
            known = self._known.get(subnet)
            if known is not None and known.images >= rows.stop:
                return list(known.scores[rows.start : rows.stop])
            evaluated.append(rows)
            return self._materials.heldout_scores(subnet, rows, self._calibration_images, "fp32")

        (found,) = self._archive.score([subnet], images, evaluate, "comparison")
        return found, bool(evaluated)


def _part(progress: Progress, before: int, whole: int, title: str) -> Progress:
    """Reports a part of the `whole` work, of which `before` units come first."""

    def listener(done: int, total: int, detail: str = "") -> None:  # noqa: ARG001 - of this part alone
        progress(before + done, whole, f"{title}, {detail}")

    return listener
