"""The search for all targets together: score, learn and propose in rounds, tell the finalists apart, and pick.

    design       subnets of all sizes, and for each target one inside its budgets
    rounds       the sampler proposes for all targets, everything is scored; again, until nothing is worth a score
    finals       the best of each target on held-out images that the rounds did not use
    pick         by all scores, with the distance to the optimum of the predictor

Every scored subnet is a candidate for every target. The order of all scores is fixed by the arguments, so the result
does not depend on what else an archive holds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace

from device_profiles.workload.parts import encoded
from device_profiles.workload.workloads import Workloads
from factory_base.errors import BudgetError, ConfigError
from factory_base.progress import Progress, silent
from search.config import SearchConfig
from search.design import shared_subnets
from search.device_target import Target
from search.enumeration import require_small
from search.finals import Measure, Score, decide, hold_finals, predicted_costs
from search.objective import Objective
from search.predicting.predictor import AccuracyPredictor
from search.samplers import Say, SearchState, make_sampler
from search.scored import Scored
from search.solving.solver import solve
from search.target import Candidate, Finalist, Proof, SearchResult, TargetResult, judged
from supernet.space import SearchSpace, SubnetConfig

Watch = Callable[[str], AbstractContextManager[Progress]]
"""Opens a stage of long work, by its title."""


def unwatched(_: str) -> AbstractContextManager[Progress]:
    """A `Watch` that shows nothing."""
    return nullcontext(silent)


def search_targets(
    targets: Sequence[Target],
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
    """Pick a subnet for each target.

    >>> from pathlib import Path
    >>> from device_profiles import Budgets, DeviceCosts, Workloads, find_profile
    >>> from search import Scored, SearchConfig, Target, search_targets
    >>> from supernet import MobileNetConfig, StageConfig, make_model_space
    >>> stages = (StageConfig(widths=(8, 16, 24), depths=(1,), expands=(2, 3, 4)),)
    >>> config = MobileNetConfig(resolutions=(12, 16, 24), stem_width=8, stages=stages, head_width=32)
    >>> model_space = make_model_space(config, classes=10)
    >>> workloads = Workloads(model_space)
    >>> def score(subnets, images, purpose):  # stands in for real networks: a subnet is right on all images but some
    ...     wrong = [round(images * 1e4 / workloads.of(subnet).macs) for subnet in subnets]
    ...     return [Scored.of(s, [image >= n for image in range(images)]) for s, n in zip(subnets, wrong)]
    >>> speaker = DeviceCosts(workloads, find_profile("speaker", Path()))
    >>> target = Target(costs=speaker, budgets=Budgets(latency="0.5 ms"))
    >>> settings = SearchConfig(shared_subnets=8)
    >>> found = search_targets([target], model_space.space, workloads, score, 1000, settings, seed=0).targets[0]
    >>> found.pick.excesses, found.pick.images, found.pick.subnet["resolution"], found.proof.status
    ((), 1000, 16, 'optimal')

    Args:
        targets: The devices and their budgets.
        space: The search space of the subnets.
        workloads: The workloads of the subnets.
        score: Scores subnets.
        heldout: The number of held-out images.
        config: Numbers of subnets and images, and the sampler.
        seed: The seed of the design and the proposals.
        start: Scored subnets to start from, in place of a design.
        measure: Corrects the costs of a finalist before it is picked.
        watch: Opens a stage of long work, whose progress is reported.
        say: Takes a line for people.

    Raises:
        BudgetError: No subnet keeps the budgets of a target.
        ConfigError: `final_images` leaves nothing to score on, or the space is too large to be searched exhaustively.
    """
    rungs = image_rungs(config, heldout)
    if config.sampler == "exhaustive":
        require_small(space)
    score = _from(start, score)
    with watch("choose subnets to score") as progress:
        for target in targets:
            require_feasible(target, space)
        subnets = [s.subnet for s in start]
        subnets = subnets or shared_subnets(space, workloads, config.shared_subnets, seed, progress)
    scored = score(subnets, rungs[0], "shared")
    scored += score(_first_feasible(targets, space, workloads, scored), rungs[0], "first inside the budgets")
    state = SearchState(
        space=space, targets=tuple(targets), scored=tuple(scored), workloads=workloads, settled=bool(start)
    )
    sampler = make_sampler(config.sampler, say)
    for share in _shares(config, len(targets), space):
        with watch(f"propose subnets (round {state.rounds + 1})"):
            proposed = sampler.propose(state, share, seed + state.rounds)
        if not proposed:
            break
        new = score(proposed, rungs[0], f"round {state.rounds + 1}")
        state = replace(state, scored=(*state.scored, *new), rounds=state.rounds + 1)
    scored = list(state.scored)
    judge = _Judge(space, workloads, scored)
    ranked = [judge.most_promising(target, config.finalists) for target in targets]
    known = _fullest(*scored, *start, *hold_finals(ranked, rungs, score))
    results = []
    with watch("pick subnets") as progress:
        for target, finalists in zip(targets, ranked, strict=True):
            results.append(judge.result(target, finalists, known, decide(target, known, measure)))
            progress(len(results), len(targets), target.costs.profile.name)
    return SearchResult(
        targets=tuple(results),
        scored=known,
        errors=judge.predictor.errors() if len(scored) > 1 else None,  # of one alone nothing is left out
        rounds=state.rounds,
    )


def require_feasible(target: Target, space: SearchSpace) -> None:
    """Raise `BudgetError` if no subnet keeps the budgets of `target`; the message states which budgets block."""
    solved = solve(Objective(constant=0.0, options={}), [target], space)
    if not solved.solutions:
        raise BudgetError(f"target {target.costs.profile.name!r}: {solved.describe_failure()}")


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
    known = {s.subnet: s for s in start}

    def remembering(subnets: Sequence[SubnetConfig], images: int, purpose: str) -> list[Scored]:
        missing = [s for s in subnets if s not in known or known[s].images < images]
        if missing:
            known.update({s.subnet: s for s in score(missing, images, purpose)})
        return [known[subnet].first(images) for subnet in subnets]

    return remembering


def _fullest(*scored: Scored) -> tuple[Scored, ...]:
    """For each subnet its score on the most images, in the order in which the subnets come first."""
    known: dict[SubnetConfig, Scored] = {}
    for new in scored:
        if new.subnet not in known or new.images > known[new.subnet].images:
            known[new.subnet] = new
    return tuple(known.values())


def _shares(config: SearchConfig, targets: int, space: SearchSpace) -> list[int]:
    """The most subnets of each round, the larger numbers first; the whole space at once if all of it is scored."""
    if config.sampler == "exhaustive":
        return [space.count()]
    each, more = divmod(config.trials_per_target * targets, config.rounds)
    return [share for number in range(config.rounds) if (share := each + (number < more))]


def _first_feasible(
    targets: Sequence[Target], space: SearchSpace, workloads: Workloads, scored: Sequence[Scored]
) -> list[SubnetConfig]:
    """For each target that none of `scored` fits, the subnet of highest predicted accuracy that does."""
    unserved = [target for target in targets if all(c.excesses for c in judged(target, scored))]
    if not unserved:
        return []
    objective = AccuracyPredictor(space, workloads, scored).objective
    solved = [solve(objective, [target], space) for target in unserved]
    return list(dict.fromkeys(subnet for found in solved for subnet in found.solutions))


class _Judge:
    """Judges scored subnets for each target, by their scores and by what the predictor makes of all scores.

    Attributes:
        predictor: The predictor, fitted to the scores of the rounds.
    """

    def __init__(self, space: SearchSpace, workloads: Workloads, scored: Sequence[Scored]) -> None:
        self._space, self._workloads, self._scored = space, workloads, tuple(scored)
        self.predictor = AccuracyPredictor(space, workloads, scored)
        vectors = encoded(space, [s.subnet for s in scored])
        mean, std = self.predictor.refine(vectors, workloads.macs_of(vectors))
        self._outlook = {s.subnet: (float(m), float(d)) for s, m, d in zip(scored, mean, std, strict=True)}

    def most_promising(self, target: Target, count: int) -> tuple[SubnetConfig, ...]:
        """Feasible subnets: in turn the next one by the predictor and the next one by its score.

        The predictor averages noise out, but where it explains little, a good score says more.
        """
        feasible = [c for c in judged(target, self._scored) if not c.excesses]
        by_predictor = sorted(feasible, key=lambda c: (-self._outlook[c.subnet][0], c.costs.latency_us, c.subnet))
        by_score = sorted(feasible, key=lambda c: (-c.accuracy, c.costs.latency_us, c.subnet))
        turns = (c.subnet for pair in zip(by_predictor, by_score, strict=True) for c in pair)
        return tuple(dict.fromkeys(turns))[:count]

    def result(
        self, target: Target, ranked: Sequence[SubnetConfig], known: Sequence[Scored], pick: Candidate
    ) -> TargetResult:
        """The result of a target.

        Args:
            target: The target.
            ranked: Its finalists, the most promising first.
            known: Every scored subnet with its score after the finals.
            pick: The subnet that is taken.
        """
        candidates = judged(target, known)
        finalists = sorted((c for c in candidates if c.subnet in ranked), key=lambda c: (-c.images, -c.accuracy))
        return TargetResult(
            pick=pick,
            candidates=tuple(pick if c.subnet == pick.subnet else c for c in candidates),
            finalists=tuple(self._finalist(c) for c in finalists),
            expected=ranked[0],
            proof=self._proof(target, pick),
        )

    def _finalist(self, candidate: Candidate) -> Finalist:
        predicted, std = self._outlook[candidate.subnet]
        return Finalist(candidate=candidate, predicted=predicted, predicted_std=std)

    def _proof(self, target: Target, pick: Candidate) -> Proof:
        solved = solve(self.predictor.objective, [target], self._space)
        vectors = encoded(self._space, [pick.subnet])
        value = self.predictor.objective.values(self._space, vectors, self._workloads.macs_of(vectors))
        return Proof(
            status=solved.status,
            objective=solved.objective,
            bound=solved.bound,
            gap=solved.gap,
            pick=float(value[0]),
            nodes=solved.nodes,
            seconds=solved.seconds,
        )
