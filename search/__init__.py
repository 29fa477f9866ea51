"""Accuracy predictors, the exact solver, samplers, Optuna studies and the pick of each target.

Independent of engines and of the files of a release.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from factory_base.lazy import public

if TYPE_CHECKING:
    from search.archive import Archive as Archive
    from search.config import SearchConfig as SearchConfig
    from search.design import shared_subnets as shared_subnets
    from search.device_target import Target as Target
    from search.objective import Objective as Objective
    from search.predicting.predictor import AccuracyPredictor as AccuracyPredictor
    from search.rounds import search_targets as search_targets
    from search.samplers import Sampler as Sampler
    from search.samplers import SearchState as SearchState
    from search.samplers import make_sampler as make_sampler
    from search.scored import Scored as Scored
    from search.scored import paired_difference as paired_difference
    from search.solving.solver import Solved as Solved
    from search.solving.solver import solve as solve
    from search.target import Candidate as Candidate
    from search.target import SearchResult as SearchResult
    from search.target import TargetResult as TargetResult
    from search.variant import Variant as Variant

_MODULES = {
    "AccuracyPredictor": "search.predicting.predictor",
    "Archive": "search.archive",
    "Candidate": "search.target",
    "Objective": "search.objective",
    "Sampler": "search.samplers",
    "Scored": "search.scored",
    "SearchConfig": "search.config",
    "SearchResult": "search.target",
    "SearchState": "search.samplers",
    "Solved": "search.solving.solver",
    "Target": "search.device_target",
    "TargetResult": "search.target",
    "Variant": "search.variant",
    "make_sampler": "search.samplers",
    "paired_difference": "search.scored",
    "search_targets": "search.rounds",
    "shared_subnets": "search.design",
    "solve": "search.solving.solver",
}
"""The module of each public name."""

if not TYPE_CHECKING:  # type checkers would accept every name of a package with a `__getattr__`
    __getattr__, __dir__ = public(__name__, _MODULES)
