"""Samplers compared on one device, at equal numbers of evaluations.

    evaluations   each sampler may ask for as many scores as the run's own search of one device: the subnets scored
                  first, and `trials_per_target`. Whatever it asks for counts, whether or not the score is known already
    start         the run's own search and `exact` begin with the design; every other sampler begins with nothing, and
                  proposes one subnet at a time, so that it learns from every score
    finals        the most promising subnets of each sampler on more images; they are as many for all and do not count
    hypervolume   of the scores inside the budgets, up to a reference point that only the device and the data decide

Costs are those of files in one precision, and accuracies those in fp32, so no sampler is charged for conversions.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from device_profiles.workload.workloads import Workloads
from factory_base.progress import Progress, silent
from factory_base.wording import counted
from search.comparison import ComparedPick, Contender, FrontPlace, Reference
from search.config import SearchConfig
from search.decision import decide, predicted_costs
from search.design import shared_subnets
from search.device_target import Target
from search.enumeration import require_small
from search.finals import hold_finals
from search.front import hypervolume, pareto_front
from search.judge import Judge
from search.rounds import first_feasible, round_shares
from search.samplers import SearchState, make_sampler
from search.samplers.settings import NEEDED, SETTINGS
from search.scored import Scored
from search.target import Candidate, judged
from search.variant import Variant
from supernet.space import SearchSpace, SubnetConfig

ScoreOne = Callable[[SubnetConfig, int], tuple[Scored, bool]]
"""The score of a subnet in fp32 on that many held-out images, and whether it was not known before."""


@dataclass(frozen=True, kw_only=True)
class Contest:
    """What all samplers of a comparison on one device have in common.

    Attributes:
        target: The device, its budgets, and the precision whose costs are compared.
        space: The search space.
        workloads: The workloads of the subnets.
        score: Scores a subnet.
        rungs: Numbers of held-out images, ascending: of the rounds, then of the finals.
        config: Numbers of subnets, and the sampler of the run's own search.
        seed: The seed of the design and the proposals.
        baseline: What the best constant answer reaches on the held-out images.
        clock: The time in seconds.
    """

    target: Target
    space: SearchSpace
    workloads: Workloads
    score: ScoreOne
    rungs: Sequence[int]
    config: SearchConfig
    seed: int
    baseline: float
    clock: Callable[[], float] = time.monotonic

    def reference(self) -> Reference:
        """The reference point of all hypervolumes on the device."""
        budget = self.target.budgets.latency_us
        largest = self.target.costs.of([self.space.largest])[0].latency_us
        latency_us = float(largest if budget is None else budget)
        return Reference(latency_us=latency_us, is_budget=budget is not None, accuracy=self.baseline)


def allowed_evaluations(sampler: str, config: SearchConfig, space: SearchSpace) -> int:
    """The evaluations that a sampler may ask for: those of the run's own search, but the whole space for `exhaustive`.

    Raises:
        ConfigError: The space is too large to be scored in full.
    """
    if sampler == "exhaustive":
        require_small(space)
        return space.count()
    return min(config.shared_subnets + config.trials_per_target, space.count())


def run_contender(contest: Contest, sampler: str, progress: Progress = silent) -> Contender:
    """Search with one sampler. The same arguments give the same subnets, whatever is known already.

    Args:
        contest: The device, and what all samplers have in common.
        sampler: The name of the sampler, a key of `search.samplers.SAMPLERS`.
        progress: Called after each evaluation.

    Raises:
        BudgetError: No subnet keeps the budgets.
        ConfigError: The space is too large to be scored in full.
        UnknownNameError: There is no such sampler.
    """
    allowed, used = allowed_evaluations(sampler, contest.config, contest.space), _Used(contest)
    asked: list[Scored] = []
    for proposed in _batches(contest, sampler, asked, used):
        for subnet in proposed[: allowed - len(asked)]:
            asked.append(used.score(subnet, contest.rungs[0]))
            progress(len(asked), allowed, f"{asked[-1].accuracy:.1%} held-out")
        if len(asked) >= allowed:
            break
    new, inside = used.new, _inside(contest, asked)
    pick = _pick(contest, asked, used) if inside else None
    reference, front = contest.reference(), _front(inside)
    return Contender(
        sampler=sampler,
        settings=SETTINGS[sampler],
        allowed=allowed,
        evaluations=len(asked),
        inside=len(inside),
        new=new,
        images=contest.rungs[0],
        front=front,
        reference=reference,
        hypervolume=hypervolume(
            ((place.latency_us, place.accuracy) for place in front), (reference.latency_us, reference.accuracy)
        ),
        pick=pick,
        proposing_s=used.proposing_s,
        scoring_s=used.scoring_s,
        precision=contest.target.precision,
        notes=_notes(contest, sampler, allowed, len(asked), used),
    )


@dataclass
class _Used:
    """What one sampler has used so far: scores and time."""

    contest: Contest
    new: int = 0
    proposing_s: float = 0.0
    scoring_s: float = 0.0
    in_vain: list[str] = field(default_factory=list)

    def score(self, subnet: SubnetConfig, images: int) -> Scored:
        """Score a subnet."""
        started = self.contest.clock()
        scored, is_new = self.contest.score(subnet, images)
        self.scoring_s += self.contest.clock() - started
        self.new += is_new
        return scored

    def proposed(self, propose: Callable[[], Sequence[SubnetConfig]]) -> Sequence[SubnetConfig]:
        """What `propose` returns."""
        started = self.contest.clock()
        found = propose()
        self.proposing_s += self.contest.clock() - started
        return found


def _batches(contest: Contest, name: str, asked: Sequence[Scored], used: _Used) -> Iterator[Sequence[SubnetConfig]]:
    """What the sampler asks for, batch by batch; `asked` has the scores of all batches before."""
    config, space, workloads = contest.config, contest.space, contest.workloads
    devices = ((contest.target,),)
    shares = [1] * (config.shared_subnets + config.trials_per_target)
    if name == "exhaustive":
        shares = [space.count()]
    elif _is_designed(config, name):
        yield used.proposed(lambda: shared_subnets(space, workloads, config.shared_subnets, contest.seed))
        yield used.proposed(lambda: first_feasible(devices, space, workloads, asked))
        shares = round_shares(config, 1, space)
    sampler = make_sampler(name, used.in_vain.append)
    for rounds, share in enumerate(shares):
        state = SearchState(space=space, devices=devices, scored=tuple(asked), workloads=workloads, rounds=rounds)
        proposed = used.proposed(lambda s=state, n=share: sampler.propose(s, n, contest.seed + s.rounds))  # type: ignore[misc]
        if not proposed:
            return
        yield proposed


def _is_designed(config: SearchConfig, sampler: str) -> bool:
    """Whether a search with this sampler begins with the design: as the run's own does, and `exact` has to."""
    return sampler in (config.sampler, "exact")


def _as_files(contest: Contest, scored: Sequence[Scored]) -> list[Scored]:
    """The scores, which are in fp32, as if they were those in the precision that is compared."""
    return [replace(s, variant=contest.target.precision) for s in scored]


def _inside(contest: Contest, scored: Sequence[Scored]) -> list[Candidate]:
    """Those of `scored` that keep the budgets."""
    return [candidate for candidate in judged(contest.target, _as_files(contest, scored)) if not candidate.excesses]


def _front(inside: Sequence[Candidate]) -> tuple[FrontPlace, ...]:
    front = pareto_front(inside, lambda candidate: (candidate.costs.latency_us, candidate.accuracy))
    return tuple(FrontPlace(subnet_id=c.subnet.id, latency_us=c.costs.latency_us, accuracy=c.accuracy) for c in front)


def _pick(contest: Contest, asked: Sequence[Scored], used: _Used) -> ComparedPick:
    """The best of the finals, as of those of a search, but in fp32 alone."""
    judge = Judge(contest.space, contest.workloads, asked)
    ranked = judge.most_promising((contest.target,), contest.config.finalists)
    finalists = [Variant(subnet=variant.subnet) for variant in ranked]
    known = hold_finals([finalists], contest.rungs, lambda variants, n, _: [used.score(v.subnet, n) for v in variants])
    pick = decide((contest.target,), _as_files(contest, known), predicted_costs).pick
    scored = {s.subnet: s for s in known}
    return ComparedPick(scored=scored[pick.subnet], costs=pick.costs)


def _notes(contest: Contest, name: str, allowed: int, evaluations: int, used: _Used) -> tuple[str, ...]:
    needed, whole = NEEDED.get(name, 0), contest.space.count()
    notes = []
    if name == "exhaustive":
        notes.append(f"exhaustive scores all {counted(whole, 'subnet')}: it shows what can be reached, at any price")
    elif evaluations < allowed:
        notes.append(f"{name} ended after {evaluations} of {allowed} evaluations: it proposed no further subnet")
    if evaluations <= needed and not _is_designed(contest.config, name):
        notes.append(
            f"{name} learns only after {needed} scores, and {counted(evaluations, 'evaluation')} are compared: all of "
            "its subnets are random draws; raise search.trials_per_target to compare more"
        )
    if used.in_vain:
        notes.append(f"{name} found no subnet inside the budgets in {counted(len(used.in_vain), 'proposal')}")
    return tuple(notes)
