"""How well a predictor predicts. Imports no heavy library, so that a finished build is read without them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictorErrors:
    """How well the accuracy of scored subnets is predicted if they are left out, one at a time.

    Attributes:
        rmse_points: Root mean square error against the scores, in percentage points. It includes their noise.
        noise_points: The part of the noise of these scores that they do not share, in percentage points.
        tau: Kendall's rank correlation between predictions and scores; None if there is nothing to compare.
        tau_band: The same over pairs of subnets whose MACs differ by at most 10 %.
    """

    rmse_points: float
    noise_points: float
    tau: float | None
    tau_band: float | None

    def describe(self) -> str:
        """One phrase for people."""
        text = f"off by {self.rmse_points:.2f} points (root mean square) on subnets that it has not seen"
        text += f", of which {self.noise_points:.2f} are noise of the scores"
        text += "" if self.tau is None else f"; Kendall's tau {self.tau:.2f}"
        return text if self.tau_band is None else f"{text}, and {self.tau_band:.2f} among subnets of similar MACs"
