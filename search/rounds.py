"""The search for all devices together: score, learn and propose in rounds, tell the finalists apart, and pick.

    design       subnets of all sizes, and for each device one inside its budgets
    precisions   a few of them in every other precision, which tells what each precision costs in accuracy
    rounds       the sampler proposes for all devices, everything is scored; again, until nothing is worth a score
    finals       the best variants of each device on held-out images that the rounds did not use
    pick         by all scores and those of files, with the distance to the optimum of the predictor

Up to the finals subnets are scored in fp32 alone: the accuracy in another precision is predicted to differ by what that
precision costs in the mean. Every scored subnet is a candidate for every device. The order of all scores is fixed by
the arguments, so the result does not depend on what else an archive holds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace

import numpy as np

from device_profiles.workload.parts import encoded
from device_profiles.workload.workloads import Workloads
from factory_base.errors import BudgetError, ConfigError, DataError, FactoryError, SpaceError
from factory_base.progress import Progress, silent
from search.config import SearchConfig
from search.decision import Measure, predicted_costs
from search.design import shared_subnets
from search.device_target import Alternatives, Target, smallest_files
from search.enumeration import require_small
from search.finals import Finals, Score, Settled, fullest, hold_finals
from search.judge import Judge
from search.objective import Objective
from search.predicting.precision_offset import PrecisionOffset
from search.predicting.predictor import AccuracyPredictor
from search.samplers import Sampler, Say, SearchState, make_sampler
from search.scored import Scored
from search.solving.solver import Solved, solve
from search.target import SearchResult
from search.variant import Variant, variant_of
from supernet.space import SearchSpace, SubnetConfig

_COMPARED = 4
"""Subnets that are scored in each other precision to learn what it costs in accuracy. Where int8 costs 0.1 points in
the mean and scores have 1,000 images, four tell this to about 0.1 points, far below what tells subnets apart."""

Watch = Callable[[str], AbstractContextManager[Progress]]
"""Opens a stage of long work, by its title."""


def unwatched(_: str) -> AbstractContextManager[Progress]:
    """A `Watch` that shows nothing."""
    return nullcontext(silent)


def search_targets(
    devices: Sequence[Alternatives],
    space: SearchSpace,
    workloads: Workloads,
    score: Score,
    heldout: int,
    config: SearchConfig,
    seed: int,
    start: Sequence[Scored] = (),
    measure: Measure = predicted_costs,
    watch: Watch = unwatched,
    say: Say = lambda _: None,
) -> SearchResult:
    """Pick a subnet and its precision for each device.

    >>> from pathlib import Path
    >>> from device_profiles import Budgets, DeviceCosts, Workloads, find_profile
    >>> from search import Scored, SearchConfig, Target, search_targets
    >>> from supernet import MobileNetConfig, StageConfig, make_model_space
    >>> stages = (StageConfig(widths=(8, 16, 24), depths=(1,), expands=(2, 3, 4)),)
    >>> config = MobileNetConfig(resolutions=(12, 16, 24), stem_width=8, stages=stages, head_width=32)
    >>> model_space = make_model_space(config, classes=10)
    >>> workloads = Workloads(model_space)
    >>> def score(variants, images, purpose):  # stands in for real networks: one is right on all images but some
    ...     wrong = [round(images * 1e4 / workloads.of(v.subnet).macs) for v in variants]
    ...     right = [[image >= n for image in range(images)] for n in wrong]
    ...     return [Scored.of(v.subnet, bits, v.precision) for v, bits in zip(variants, right)]
    >>> speaker = DeviceCosts(workloads, find_profile("speaker", Path()))
    >>> target = Target(costs=speaker, budgets=Budgets(latency="0.5 ms"))
    >>> settings = SearchConfig(shared_subnets=8)
    >>> found = search_targets([(target,)], model_space.space, workloads, score, 1000, settings, seed=0).targets[0]
    >>> found.pick.excesses, found.pick.images, found.pick.subnet["resolution"], found.proof.status
    ((), 1000, 16, 'optimal')

    Args:
        devices: The targets of each device, at least one.
        space: The search space of the subnets.
        workloads: The workloads of the subnets.
        score: Scores variants.
        heldout: The number of held-out images.
        config: Numbers of subnets and images, and the sampler.
        seed: The seed of the design and the proposals.
        start: Scores to start from, in place of a design.
        measure: Makes and measures the file of a finalist before it is picked.
        watch: Opens a stage of long work, whose progress is reported.
        say: Takes a line for people.

    Raises:
        BudgetError: No subnet keeps the budgets of a device in any of its precisions.
        ConfigError: `final_images` leaves nothing to score on, or the space is too large to be searched exhaustively.
        EngineError, ParityError: No file can be made for a device.
    """
    rungs = image_rungs(config, heldout)
    if config.sampler == "exhaustive":
        require_small(space)
    score = _from(start, score)
    with watch("choose subnets to score") as progress:
        possible = [feasible(alternatives, space) for alternatives in devices]
        given = list(dict.fromkeys(t.given for alternatives in possible for t in alternatives if t.given is not None))
        subnets = list(dict.fromkeys(s.subnet for s in start))
        subnets = subnets or shared_subnets(space, workloads, config.shared_subnets, seed, progress)
    scored = score(_in_fp32(subnets), rungs[0], "shared")
    learned = _learned(possible, scored[: config.shared_subnets], workloads, score)
    targets = [learned.informed(alternatives) for alternatives in possible]
    scored += score(_in_fp32([subnet for subnet in given if subnet not in subnets]), rungs[0], "given")
    open_ones = [alternatives for alternatives in targets if alternatives[0].given is None]
    first = first_feasible(open_ones, space, workloads, scored)
    scored += score(_in_fp32(first), rungs[0], "first inside the budgets")
    state = SearchState(
        space=space,
        devices=tuple(smallest_files(alternatives, space) for alternatives in open_ones),
        scored=tuple(scored),
        workloads=workloads,
        settled=bool(start),
    )
    shares = round_shares(config, len(open_ones), space) if open_ones else ()
    state = _proposed(state, make_sampler(config.sampler, say), shares, seed, score, rungs[0], watch)
    scored = list(state.scored)
    finals = Finals(
        judge=Judge(space, workloads, scored), count=config.finalists, rungs=rungs, score=score, measure=measure
    )
    settled, known = _settled(finals, targets, (*scored, *learned.scored, *start), watch)
    last = list({variant_of(s): s for s in known}.values())
    return SearchResult(
        targets=tuple(
            finals.judge.result(found.alternatives, found.finalists, last, found.decision.pick, notes + found.notes)
            for found, notes in zip(settled, map(learned.notes, devices, targets), strict=True)
        ),
        scored=known,
        errors=finals.judge.predictor.errors() if len(scored) > 1 else None,  # of one alone nothing is left out
        rounds=state.rounds,
        offsets=tuple(o.compared(_with_files(o.precision, known)) for o in learned.offsets.values()),
    )


def _proposed(
    state: SearchState, sampler: Sampler, shares: Sequence[int], seed: int, score: Score, images: int, watch: Watch
) -> SearchState:
    """`state` after a round for each of `shares`, or up to the one in which nothing is worth a score."""
    for share in shares:
        with watch(f"propose subnets (round {state.rounds + 1})"):
            proposed = sampler.propose(state, share, seed + state.rounds)
        if not proposed:
            break
        new = score(_in_fp32(proposed), images, f"round {state.rounds + 1}")
        state = replace(state, scored=(*state.scored, *new), rounds=state.rounds + 1)
    return state


def _settled(
    finals: Finals, targets: Sequence[Alternatives], scored: Sequence[Scored], watch: Watch
) -> tuple[list[Settled], tuple[Scored, ...]]:
    """The outcome of the finals of each device, and all scores after them, those of files last."""
    ranked = [finals.ranked(alternatives) for alternatives in targets]
    known = fullest(*scored, *hold_finals(ranked, finals.rungs, finals.score))
    settled: list[Settled] = []
    with watch("pick subnets") as progress:
        for alternatives in targets:
            found, known = finals.settled(alternatives, known)
            settled.append(found)
            progress(len(settled), len(targets), alternatives[0].name)
    return settled, (*known, *dict.fromkeys(file for found in settled for file in found.decision.files))


def feasible(alternatives: Alternatives, space: SearchSpace) -> Alternatives:
    """Those of the targets of a device whose budgets some subnet keeps.

    Raises:
        BudgetError: There are none; the message states which budgets block in the preferred precision.
    """
    if (given := alternatives[0].given) is not None:
        return _keeping(alternatives, given)
    kept = tuple(
        target for target in alternatives if target.kept_by([space.smallest])[0] or _any(target, space).solutions
    )
    if not kept:
        first, *others = alternatives
        also = f" (in {first.precision}; none does in {' or '.join(t.precision for t in others)})" if others else ""
        raise BudgetError(f"target {first.name!r}: {_any(first, space).describe_failure()}{also}")
    return kept


def _keeping(alternatives: Alternatives, given: SubnetConfig) -> Alternatives:
    """Those of the targets whose budgets the subnet keeps that they name. Raises `BudgetError` if there are none."""
    kept = tuple(target for target in alternatives if target.kept_by([given])[0])
    if not kept:
        first = alternatives[0]
        excesses = " and ".join(e.describe() for e in first.budgets.excesses(first.costs.of([given])[0]))
        raise BudgetError(
            f"target {first.name!r}: the subnet that it names, {given.id}, exceeds the budgets: {excesses} (in "
            f"{first.precision}); raise them, or remove the subnet so that the search chooses one"
        )
    return kept


def _any(target: Target, space: SearchSpace) -> Solved:
    """Any subnet that keeps the budgets of `target`, or which of them block."""
    return solve(Objective(constant=0.0, options={}), [target], space)


def image_rungs(config: SearchConfig, heldout: int) -> tuple[int, ...]:
    """The number of held-out images for the rounds, then those of the finals: twice as many each time, at last all.

    Raises:
        ConfigError: `final_images` leaves nothing to score on.
    """
    final = heldout // 2 if config.final_images is None else config.final_images
    if heldout - final < 1:
        raise ConfigError(
            f"search.final_images: {final:,} of {heldout:,} held-out images are kept back, which leaves none to score "
            "on; lower it, or raise data.heldout_fraction"
        )
    rungs = [min(config.score_images, heldout - final)]
    while rungs[-1] < heldout:
        rungs.append(2 * rungs[-1] if 3 * rungs[-1] < heldout else heldout)
    return tuple(rungs)


def _from(start: Sequence[Scored], score: Score) -> Score:
    """`score`, but what `start` knows is not scored again."""
    known = {variant_of(s): s for s in start}

    def remembering(variants: Sequence[Variant], images: int, purpose: str) -> list[Scored]:
        missing = [v for v in variants if v not in known or known[v].images < images]
        if missing:
            known.update(zip(missing, score(missing, images, purpose), strict=True))
        return [known[variant].first(images) for variant in variants]

    return remembering


def _in_fp32(subnets: Sequence[SubnetConfig]) -> list[Variant]:
    return [Variant(subnet=subnet) for subnet in subnets]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Learned:
    """What a few subnets tell about the precisions other than fp32.

    Attributes:
        offsets: What each precision costs in accuracy.
        failures: Why subnets cannot be scored in a precision.
        scored: The scores.
    """

    offsets: dict[str, PrecisionOffset]
    failures: dict[str, FactoryError]
    scored: tuple[Scored, ...]

    def informed(self, alternatives: Alternatives) -> Alternatives:
        """The targets of a device in the precisions that are possible, with their offsets. Raises `SpaceError`."""
        found = [replace(t, offset=self.offsets.get(t.precision)) for t in alternatives]
        kept = tuple(target for target in found if target.precision not in self.failures)
        if not kept:
            reason = self.failures[alternatives[0].precision]
            raise SpaceError(f"target {alternatives[0].name!r}: {alternatives[0].precision} is not possible: {reason}")
        return kept

    def notes(self, alternatives: Alternatives, left: Alternatives) -> tuple[str, ...]:
        """A sentence for each of the targets of a device that is not among those that are left."""
        precisions = {target.precision for target in left}
        return tuple(
            f"{t.name} gets no {t.precision} file: {self.failures.get(t.precision, 'no subnet keeps its budgets')}"
            for t in alternatives
            if t.precision not in precisions
        )


def _learned(devices: Sequence[Alternatives], scored: Sequence[Scored], workloads: Workloads, score: Score) -> _Learned:
    """Score a few subnets of all sizes in each other precision of the devices, on the images of their fp32 scores."""
    space = workloads.model_space.space
    macs = workloads.macs_of(encoded(space, [s.subnet for s in scored]))
    places = np.linspace(0, len(scored) - 1, min(_COMPARED, len(scored)) + 2)[1:-1].round().astype(int)
    bases = [scored[number] for number in np.argsort(macs, kind="stable")[places]]
    offsets: dict[str, PrecisionOffset] = {}
    failures: dict[str, FactoryError] = {}
    found: list[Scored] = []
    for precision in dict.fromkeys(t.precision for alternatives in devices for t in alternatives):
        if precision == "fp32":
            continue
        variants = [Variant(subnet=base.subnet, precision=precision) for base in bases]
        try:
            own = score(variants, bases[0].images, precision)
        except (SpaceError, DataError) as error:  # the network cannot be quantised, while its fp32 scores are there
            failures[precision] = error
            continue
        offsets[precision] = PrecisionOffset.of(list(zip(own, bases, strict=True)))
        found += own
    return _Learned(offsets=offsets, failures=failures, scored=tuple(found))


def _with_files(precision: str, known: Sequence[Scored]) -> list[tuple[Scored, Scored]]:
    """The score of each file in a precision, and the one that its variant had before."""
    scores = {s.subnet: s for s in known if s.variant == precision}
    files = [s for s in known if s.is_of_file and s.precision == precision]
    return [(of_file, scores[of_file.subnet]) for of_file in files]


def round_shares(config: SearchConfig, targets: int, space: SearchSpace) -> list[int]:
    """The most subnets of each round, the larger numbers first; the whole space at once if all of it is scored."""
    if config.sampler == "exhaustive":
        return [space.count()]
    each, more = divmod(config.trials_per_target * targets, config.rounds)
    return [share for number in range(config.rounds) if (share := each + (number < more))]


def first_feasible(
    devices: Sequence[Alternatives], space: SearchSpace, workloads: Workloads, scored: Sequence[Scored]
) -> list[SubnetConfig]:
    """For each device that none of `scored` fits, the subnet of highest predicted accuracy that does."""
    subnets = [s.subnet for s in scored]
    unserved = [alternatives for alternatives in devices if not any(any(t.kept_by(subnets)) for t in alternatives)]
    if not unserved:
        return []
    predicted = AccuracyPredictor(space, workloads, scored).objective
    found: list[SubnetConfig] = []
    for alternatives in unserved:
        solved = [solve(target.objective(predicted), [target], space) for target in alternatives]
        best = max(solved, key=lambda s: -math.inf if s.objective is None else s.objective)
        found += best.solutions
    return list(dict.fromkeys(found))
