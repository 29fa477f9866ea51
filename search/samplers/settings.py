"""The settings of the samplers of Optuna, and every sampler in words. Imports nothing heavy."""

from __future__ import annotations

from typing import Final

STARTUP: Final = 10
"""Scored subnets below which a model is not fitted, and proposals are random; Optuna's default."""

POPULATION: Final = 10
"""Individuals of a generation. Optuna's default of 50 would be the whole of a search of 20 to 80 evaluations."""

TPE_CANDIDATES: Final = 24
"""Draws among which TPE takes the one of largest expected improvement; Optuna's default."""

CROSSOVER: Final = 0.9
"""Probability that a child has two parents; Optuna's default."""

SWAPPING: Final = 0.5
"""Probability that a choice comes from the second parent; Optuna's default."""

NEEDED: Final = {"tpe": STARTUP, "gp": STARTUP, "nsga2": POPULATION}
"""The scored subnets that a sampler needs before it learns from them; those that are not named need none."""

SETTINGS: Final = {
    "exact": "integer program over a predictor of the accuracy, after a design of subnets of all sizes",
    "tpe": f"TPESampler of Optuna: multivariate, constant liar, {STARTUP} random subnets first, "
    f"{TPE_CANDIDATES} candidates; one objective, budgets as constraints",
    "nsga2": f"NSGAIISampler of Optuna: population of {POPULATION}, uniform crossover ({CROSSOVER:g}, swapping "
    f"{SWAPPING:g}), one mutated choice on average; accuracy and latency, budgets as constraints",
    "gp": f"GPSampler of Optuna: {STARTUP} random subnets first, noisy objective; budgets as constraints",
    "random": "every choice drawn uniformly, and drawn again if a budget is exceeded",
    "exhaustive": "every subnet of the space",
}
"""What each sampler does, with its settings, by name."""
