"""How much the accuracy of subnets changes with the precision. Imports no heavy library, as `prediction_errors`."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace

from search.scored import Scored, paired_difference, pooled_difference


@dataclass(frozen=True, slots=True, kw_only=True)
class PrecisionOffset:
    """The accuracy of subnets in a precision less their accuracy in fp32, and how well it is known.

    Attributes:
        precision: The precision.
        mean: The mean difference over subnets that were scored in both, as a fraction.
        error: The standard error of the mean.
        spread: The standard deviation of the difference from subnet to subnet, noise of the scores included.
        subnets: The number of these subnets.
        images: The number of held-out images on which they were scored.
        files: The number of files whose own accuracy was measured.
        file_mean: The mean of their accuracies less those of the scores that they were chosen by.
        file_rms: The root mean square of these differences.
    """

    precision: str
    mean: float
    error: float
    spread: float
    subnets: int
    images: int
    files: int = 0
    file_mean: float = 0.0
    file_rms: float = 0.0

    @classmethod
    def of(cls, pairs: Sequence[tuple[Scored, Scored]]) -> PrecisionOffset:
        """From the scores of the same subnets, each in the precision and in fp32, at least one pair."""
        differences = [paired_difference(scored, base)[0] for scored, base in pairs]
        spread = statistics.stdev(differences) if len(pairs) > 1 else 0.0
        return cls(
            precision=pairs[0][0].precision,
            mean=statistics.fmean(differences),
            # Few differences may agree by chance, and images are few: neither alone says how far the mean can be off.
            error=max(spread / math.sqrt(len(pairs)), pooled_difference(pairs)[1]),
            spread=spread,
            subnets=len(pairs),
            images=min(scored.images for pair in pairs for scored in pair),
        )

    def compared(self, pairs: Sequence[tuple[Scored, Scored]]) -> PrecisionOffset:
        """With the errors of the scores against `pairs` of a file's own score and the score of the same variant."""
        if not pairs:
            return self
        found = [paired_difference(of_file, scored)[0] for of_file, scored in pairs]
        rms = math.sqrt(statistics.fmean(difference**2 for difference in found))
        return replace(self, files=len(found), file_mean=statistics.fmean(found), file_rms=rms)

    def describe(self, metric: str = "accuracy") -> str:
        """One phrase for people; `metric` names what is scored."""
        text = (
            f"{self.precision} changes the {metric} by {100 * self.mean:+.2f} ± {100 * self.error:.2f} points "
            f"({self.subnets} subnets on {self.images:,} held-out images; it varies by {100 * self.spread:.2f} points "
            "between them)"
        )
        if not self.files:
            return text
        return (
            f"{text}; the files of {self.files} are {100 * self.file_mean:+.2f} points off their scores "
            f"({100 * self.file_rms:.2f} root mean square)"
        )
