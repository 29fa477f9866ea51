"""How fast is the proven optimum of a predictor found, and how far below it does evolution end?

    python benchmarks/search_optimum.py

Two spaces: the wide MobileNet space of `host_latency.py` and the official once-for-all MobileNetV3 space. The predicted
accuracy is synthetic: every choice of a present block has gains that diminish from option to option (exponentially
distributed steps, divided by the option's place, with a random weight per choice), and a concave curve of eight lines
follows the logarithm of the MACs from the smallest to the largest subnet. The choices together and the curve each make
up about half of the range. Another seed gives other gains.

For each of 20 latency budgets, spread evenly over the middle 90 % of the range from the smallest to the largest subnet,
with a budget for the peak memory and one for the file size at 70 % of their ranges, the solver is timed, without
tracing. `fleet_seconds` is the time for 20 targets on the shipped devices, their arcs included.

The evolution is an NSGA-II (Deb et al., 2002) of its own, because Optuna's takes hours for as many trials: 250
generations of 200 subnets, predicted accuracy against latency, tournaments and survival by constrained domination and
crowding distance, uniform crossover, and mutation of one choice on average. It is given the same budgets and starts from
subnets of all sizes. Its shortfall is how much lower its best subnet is, as a share of the objective's range (the best
minus the smallest subnet's). `never_below` says whether the solver's subnet is at least as good in all runs.

`trace_seconds` is the time that the arcs of the wide space take in a new process without a cache.

`--quick` takes 3 budgets and 3 targets in a space of 5,120 subnets (`paired.short_wide_space`), and 2,000 predictor
calls.

The last line of standard output is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import environment, log, make_parser, parse_options
from nsga import Nsga, Problem
from numpy.typing import NDArray
from paired import short_wide_space, wide_space

from device_profiles.budgets import Budgets
from device_profiles.cost_models.device_costs import DeviceCosts
from device_profiles.costs import Costs
from device_profiles.profile import find_profile, shipped_profiles
from device_profiles.workload.workloads import Workloads
from search.device_target import Target
from search.objective import Curve, Objective
from search.solver import Solved, solve
from supernet.chain import ChainModelSpace
from supernet.space import SearchSpace
from supernet.spaces.ofa import OfaSpace
from supernet.spaces.ofa_config import OfaMbv3Config

OTHERS = 0.7
"""Where the budgets for peak memory and file size lie, as shares of their ranges."""

LINES = 8
"""Lines of the curve of the MACs."""

QUICK = {"budgets": 3, "targets": 3, "calls": 2_000}
