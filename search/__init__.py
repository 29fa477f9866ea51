"""Accuracy predictors, Optuna studies and the pick of each target. Independent of engines and of a release's files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from factory_base.lazy import public

if TYPE_CHECKING:
    from search.archive import Archive as Archive
    from search.config import SearchConfig as SearchConfig
    from search.design import shared_subnets as shared_subnets
    from search.device_target import Target as Target
    from search.predictor import AccuracyPredictor as AccuracyPredictor
    from search.samplers import Sampler as Sampler
    from search.samplers import SearchState as SearchState
    from search.samplers import make_sampler as make_sampler
    from search.scored import Scored as Scored
    from search.scored import paired_difference as paired_difference
    from search.target import Candidate as Candidate
    from search.target import TargetResult as TargetResult
    from search.target import search_target as search_target

_MODULES = {
    "AccuracyPredictor": "search.predictor",
    "Archive": "search.archive",
    "Candidate": "search.target",
    "Sampler": "search.samplers",
    "Scored": "search.scored",
    "SearchConfig": "search.config",
    "SearchState": "search.samplers",
    "Target": "search.device_target",
    "TargetResult": "search.target",
    "make_sampler": "search.samplers",
    "paired_difference": "search.scored",
    "search_target": "search.target",
    "shared_subnets": "search.design",
}
"""The module of each public name."""

if not TYPE_CHECKING:  # type checkers would accept every name of a package with a `__getattr__`
    __getattr__, __dir__ = public(__name__, _MODULES)
