"""From measured parts and networks to a latency table."""

from __future__ import annotations

from datetime import date

import numpy as np
from numpy.typing import NDArray

from device_profiles.cost_models.models import latency_features
from device_profiles.latency_table import (
    LatencyTable,
    PredictionErrors,
    TablePart,
    part_terms,
    space_digest,
    summed,
)
from device_profiles.measuring.benchmark import Measurements, Setting
from device_profiles.measuring.fitting import fit_correction, fit_latency
from device_profiles.measuring.interpolation import interpolate_latency
from device_profiles.measuring.runner import Machine
from device_profiles.workload.workloads import Workloads
from factory_base.errors import ConfigError
from factory_base.progress import Progress
from supernet.chain import ChainModelSpace
from supernet.model_space import space_name


def fit_table(
    workloads: Workloads,
    found: Measurements,
    setting: Setting,
    kernels: NDArray[np.float64],
    machine: Machine,
    progress: Progress,
    *,
    today: date,
) -> LatencyTable:
    """The table of all parts of the space.

    Args:
        workloads: Workloads of a space that is a chain of parts.
        found: Measured values of its networks and parts.
        setting: How they were measured.
        kernels: Coefficients of `latency_features`: the prior of the roofline whose residual is interpolated.
        machine: The machine that was measured.
        progress: Called for each part that has to be traced.
        today: The date that the table states.

    Raises:
        ConfigError: The space is not a chain of parts.
        SpaceError: The space has too many parts.
    """
    chain, space = workloads.chain, workloads.model_space
    if chain is None or not isinstance(space, ChainModelSpace):
        raise ConfigError(
            f"{space_name(space)} is not a chain of parts, which a latency table needs; declare its `links` and `parts`"
        )
    chain.trace_all(progress)
    all_parts = [part.workload for part in chain.parts]
    measured = [all_parts[number] for number in found.parts]
    features = latency_features(all_parts, setting.precision)
    roofline = features @ fit_latency(features[list(found.parts)], found.part_us, kernels)
    estimate = interpolate_latency(measured, found.part_us, roofline[list(found.parts)], all_parts, roofline)
    rows = workloads.rows(found.subnets)
    terms = part_terms(chain.parts, estimate.latency_us)
    constant, coefficients = fit_correction(summed(rows[: found.fitted], terms), found.network_us[: found.fitted])
    predicted = constant + summed(rows[found.fitted :], terms) @ coefficients
    estimated = zip(chain.parts, estimate.latency_us.tolist(), estimate.relative_std.tolist(), strict=True)
    return LatencyTable(
        space=space_digest(space),
        engine=setting.engine.name,
        engine_version=machine.engine_version,
        precision=setting.precision,
        threads=setting.threads,
        machine=machine.processor,
        measured_on=today,
        repeatability_p95=found.repeatability_p95,
        constant_us=constant,
        coefficients=tuple(coefficients.tolist()),
        fitted_networks=found.fitted,
        errors=prediction_errors(predicted, found.network_us[found.fitted :]),
        part_count=len(chain.parts),
        parts=tuple(
            TablePart(id=part.id, alone_us=us, relative_std=std, measured=number in found.parts)
            for number, (part, us, std) in enumerate(estimated)
        ),
    )


def prediction_errors(predicted: NDArray[np.float64], measured: NDArray[np.float64]) -> PredictionErrors:
    """Errors of predicted latencies against measured ones; both (networks,), at least two networks."""
    from scipy.stats import spearmanr

    relative = np.abs(predicted - measured) / measured
    rank = float(spearmanr(predicted, measured).statistic)
    return PredictionErrors(
        networks=len(measured),
        mape=float(relative.mean()),
        within_5=float((relative <= 0.05).mean()),
        within_10=float((relative <= 0.10).mean()),
        spearman=rank if np.isfinite(rank) else 0.0,
    )
