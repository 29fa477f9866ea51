"""The finals: the best candidates of every device are compared on more and more held-out images.

Many candidates are compared, so the best score of a round is likely to be a lucky one. So the finalists of all devices
are scored on images that the rounds did not use, twice as many each time, and half of them stay (successive halving).
The last ones are scored on all held-out images. Then files are made, the best first, and their own accuracies decide.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from device_profiles.engine import COMPUTED_IN
from search.decision import Decision, LostPrecisionError, Measure, decide
from search.device_target import Alternatives
from search.judge import Judge
from search.scored import Scored
from search.variant import Variant, variant_of

Score = Callable[[Sequence[Variant], int, str], list[Scored]]
"""Scores variants on that many held-out images, for a purpose that is shown to people, in their order. Known scores
cost nothing. A precision other than fp32 is imitated, without making a file."""


_FEWEST = 2
"""Finalists that are scored on all images: with one alone nothing would be compared."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """The outcome of the finals of one device.

    Attributes:
        alternatives: The targets among which was decided: those whose files can be made.
        finalists: The finalists, the most promising first.
        decision: The pick.
        notes: A sentence for each precision whose files cannot be made, and each file that was not taken.
    """

    alternatives: Alternatives
    finalists: tuple[Variant, ...]
    decision: Decision
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Finals:
    """The finals of all devices.

    Attributes:
        judge: Tells which variants are promising.
        count: The most finalists of a device.
        rungs: Numbers of images, as for `hold_finals`.
        score: Scores variants.
        measure: Makes and measures the file of a finalist before it is picked.
    """

    judge: Judge
    count: int
    rungs: Sequence[int]
    score: Score
    measure: Measure

    def ranked(self, alternatives: Alternatives) -> tuple[Variant, ...]:
        """The finalists of a device, the most promising first."""
        return self.judge.most_promising(alternatives, self.count)

    def settled(self, alternatives: Alternatives, known: Sequence[Scored]) -> tuple[Settled, tuple[Scored, ...]]:
        """The outcome for one device, and what is known after it.

        If files cannot be made in a precision, finals are held once more among the others. The same if the pick turns
        out to be less accurate than is predicted of what computes in another precision, of which few are finalists
        where one precision is ahead.

        Args:
            alternatives: The targets of the device.
            known: All scores, those of its finalists among them.

        Raises:
            BudgetError: The files of the best variants all exceed a budget.
            EngineError, ParityError: No file can be made.
        """
        finalists, notes = self.ranked(alternatives), []
        while True:
            try:
                decision = decide(alternatives, known, self.measure)
            except LostPrecisionError as lost:
                notes.append(f"{alternatives[0].name} gets no {lost.precision} file: {lost}")
                alternatives = tuple(t for t in alternatives if t.precision != lost.precision)
                finalists = self.ranked(alternatives)
                if not finalists:
                    raise lost.cause from lost
                known = fullest(*known, *hold_finals([finalists], self.rungs, self.score))
                continue
            rivals = self._rivals(alternatives, decision)
            if not set(rivals) <= set(finalists):
                finalists = (*finalists, *(rival for rival in rivals if rival not in finalists))
                known = fullest(*known, *hold_finals([rivals], self.rungs, self.score))
                continue
            return (
                Settled(
                    alternatives=alternatives,
                    finalists=finalists,
                    decision=decision,
                    notes=(*notes, *decision.notes),
                ),
                tuple(known),
            )

    def _rivals(self, alternatives: Alternatives, decision: Decision) -> tuple[Variant, ...]:
        """The finalists that compute in another precision than the pick, if they are predicted to be better."""
        computed = COMPUTED_IN[decision.pick.precision]
        others = tuple(target for target in alternatives if COMPUTED_IN[target.precision] != computed)
        rivals = self.ranked(others)
        return rivals if rivals and self.judge.expects_more(others, rivals[0], decision.pick.accuracy) else ()


def hold_finals(ranked: Sequence[Sequence[Variant]], rungs: Sequence[int], score: Score) -> tuple[Scored, ...]:
    """Score finalists on more and more images.

    Args:
        ranked: For each device, its finalists, the most promising first.
        rungs: Numbers of images, ascending: first those of the rounds, at last all held-out images.
        score: Scores variants.

    Returns:
        The finalists with their scores on the most images that they got.
    """
    staying = [list(variants) for variants in ranked]
    known: dict[Variant, Scored] = {}
    for images in rungs[1:] or rungs:
        distinct = list(dict.fromkeys(variant for variants in staying for variant in variants))
        known |= dict(zip(distinct, score(distinct, images, "final"), strict=True))
        for place, variants in enumerate(staying):
            best = sorted(variants, key=lambda variant: -known[variant].accuracy)  # stable: equal ones keep their order
            staying[place] = best[: max(_FEWEST, (len(best) + 1) // 2)]
    return tuple(known.values())


def fullest(*scored: Scored) -> tuple[Scored, ...]:
    """For each variant its score on the most images, in the order in which the variants come first."""
    known: dict[Variant, Scored] = {}
    for new in scored:
        variant = variant_of(new)
        if variant not in known or new.images > known[variant].images:
            known[variant] = new
    return tuple(known.values())
