"""The pick of one device: files are made, the most promising variant first, and their own accuracies decide."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from device_profiles.costs import Costs
from device_profiles.engine import Precision
from factory_base.errors import BudgetError, EngineError, FactoryError, ParityError
from factory_base.wording import counted
from search.device_target import Alternatives, Target
from search.scored import Scored, paired_difference
from search.target import Candidate, judged
from search.variant import Variant, variant_of

_DISTINCT = 0.25
"""Standard errors by which a finalist must be better than a faster one. In the table of `benchmarks/search_regret.py`,
where noise is 1 point, 0.25 cost no accuracy, 0.5 cost 0.15 points and 1 cost 0.3 points."""
_ATTEMPTS = 8
"""Files that are made for one device at most. If so many exceed budgets, a person has to look at predicted costs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What the file of a candidate shows.

    Attributes:
        costs: The costs on the device, with what the file shows in place of what was predicted.
        scored: Which held-out images the file labels correctly; None if no file was made.
    """

    costs: Costs
    scored: Scored | None = None


Measure = Callable[[Target, Candidate], Measured]
"""Makes the file of a candidate for a target and measures it. Raises `EngineError` or `ParityError` if that fails."""


class LostPrecisionError(Exception):
    """A network cannot be written in a precision, so that no other one of the space is likely to be.

    Args:
        precision: The precision.
        cause: Why the file of a variant cannot be made; it names the variant.
    """

    def __init__(self, precision: Precision, cause: EngineError) -> None:
        super().__init__(str(cause))
        self.precision, self.cause = precision, cause


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The pick of one device.

    Attributes:
        pick: The candidate that is taken.
        files: The scores of the files that were made, those of refused candidates included.
        notes: A sentence for each file that does not compute what it should.
    """

    pick: Candidate
    files: tuple[Scored, ...]
    notes: tuple[str, ...]


def decide(alternatives: Alternatives, scored: Sequence[Scored], measure: Measure) -> Decision:
    """The most accurate of the variants scored on the most images, or the fastest one that is nearly as accurate.

    The file of the preferred variant is made, and its own score replaces the one that it was preferred by, until the
    preferred one is a variant whose file was measured.

    Args:
        alternatives: The targets of the device.
        scored: Scores, of which at least one keeps the budgets by its predicted costs.
        measure: Makes and measures the file of a variant. If that fails or its costs exceed a budget, another one is
            taken.

    Raises:
        BudgetError: The files of the best variants all exceed a budget.
        EngineError: The network cannot be exported at all.
        LostPrecisionError: It cannot be written in another precision than fp32.
        ParityError: No file of the best variants computes what it should.
    """
    return _Choice(alternatives, scored, measure).decision()


class _Choice:
    """The candidates of one device that are still considered."""

    def __init__(self, alternatives: Alternatives, scored: Sequence[Scored], measure: Measure) -> None:
        self._measure, self._name = measure, alternatives[0].name
        candidates = {c.variant: (t, c) for t in alternatives for c in judged(t, scored) if not c.excesses}
        self._candidates = candidates
        self._scored = {v: s for s in scored if (v := variant_of(s)) in candidates}
        self._files: list[Scored] = []
        self._refused: list[str] = []
        self._failed: list[str] = []

    def decision(self) -> Decision:
        settled: dict[Variant, Candidate] = {}
        for _ in range(_ATTEMPTS):
            if not self._scored or (preferred := self._preferred()) in settled:
                break
            if (taken := self._measured(preferred)) is None:
                del self._scored[preferred]
            else:
                settled[preferred] = taken
        if not settled:
            raise self._failure()
        self._scored = {variant: self._scored[variant] for variant in settled}
        notes = tuple(f"{self._name}: {line}; another one was taken" for line in self._failed)
        return Decision(pick=settled[self._preferred()], files=tuple(self._files), notes=notes)

    def _measured(self, variant: Variant) -> Candidate | None:
        """The candidate with the costs and the score of its file; None if the file fails or exceeds a budget."""
        target, candidate = self._candidates[variant]
        try:
            found = self._measure(target, candidate)
        except ParityError as error:
            self._failed.append(f"subnet {variant.describe()}: {error}")
            return None
        except EngineError as error:
            if variant.precision == "fp32":  # every other file is made from this one
                raise
            named = EngineError(f"subnet {variant.describe()}: {error}")
            raise LostPrecisionError(variant.precision, named) from error
        if found.scored is not None:
            self._files.append(found.scored)
            self._scored[variant] = found.scored
            candidate = replace(candidate, accuracy=found.scored.accuracy, images=found.scored.images, is_of_file=True)
        excesses = target.budgets.excesses(found.costs)
        if excesses:
            self._refused.append(f"subnet {variant.describe()}: {' and '.join(e.describe() for e in excesses)}")
            return None
        return replace(candidate, costs=found.costs)

    def _preferred(self) -> Variant:
        best = max(self._scored.values(), key=lambda s: (s.images, s.accuracy))
        level = [variant for variant, s in self._scored.items() if s is best or _is_level(best, s)]
        return min(level, key=self._order)

    def _order(self, variant: Variant) -> tuple[float, int, float, Variant]:
        """Of variants that are level, the fastest; if that is the same, too, the one with the smallest file."""
        costs = self._candidates[variant][1].costs
        return costs.latency_us, costs.file_bytes, -self._scored[variant].accuracy, variant

    def _failure(self) -> FactoryError:
        if not self._refused:
            return ParityError(f"target {self._name!r}: no file of its best variants can be taken: {self._failed[0]}")
        best = counted(len(self._refused), "subnet")
        return BudgetError(
            f"target {self._name!r}: the exported graphs of its best {best} exceed budgets that their predicted costs "
            f"keep; {self._refused[0]}; lower this budget by the difference, so that a smaller subnet is picked"
        )


def predicted_costs(_: Target, candidate: Candidate) -> Measured:
    """A `Measure` that makes no file and takes the predicted costs as they are."""
    return Measured(costs=candidate.costs)


def _is_level(best: Scored, other: Scored) -> bool:
    if other.images != best.images:
        return False
    difference, error = paired_difference(best, other)
    return difference <= _DISTINCT * error
