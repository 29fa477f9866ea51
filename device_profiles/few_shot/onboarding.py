"""Onboarding a device that is not at hand: a profile and a table from known devices and a few measured networks."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
from numpy.typing import NDArray

from device_profiles.cost_models.device_costs import check_table
from device_profiles.cost_models.models import LatencyModel, latency_coefficients, latency_features
from device_profiles.few_shot.network_tables import MeasuredNetworks
from device_profiles.few_shot.posterior import (
    FEWEST_NETWORKS,
    KnownDevice,
    Posterior,
    Prior,
    fit_costs,
    fit_prior,
    stretch_of,
    suggest,
    update,
)
from device_profiles.latency_table import LatencyTable, PredictionErrors, TablePart, TableUncertainty, space_digest
from device_profiles.measuring.fitting import fit_latency
from device_profiles.measuring.table_fit import prediction_errors
from device_profiles.profile import DeviceProfile, FoundProfile
from device_profiles.profile_costs import CostParameters, Figure, KernelCost, TimeFigure
from device_profiles.workload.link_parts import ABSENT
from device_profiles.workload.operators import KERNEL_KINDS, KernelKind
from device_profiles.workload.workloads import Workloads
from factory_base.errors import ConfigError
from factory_base.progress import Progress
from factory_base.wording import counted
from supernet.chain import ChainModelSpace
from supernet.model_space import space_name
from supernet.space import SubnetConfig

CONFIDENCE = 0.9
"""Probability with which a few-shot profile requires latency budgets to be kept, unless `like` states another one."""

_REFERENCE_NETWORKS = 300
"""Networks whose latencies are computed for a known device with a table or kernels. They give the prior its median
latency and how often networks have each part. In a MobileNet space with 134 parts, 120 and 600 gave the same intervals
as 300."""

_POOL = 400
"""Networks that a suggestion chooses from; the time grows with the square. In that space five suggested networks left a
typical standard deviation of 10.3, 10.1 and 9.8 % with pools of 50, 400 and 2,000."""

_FLEET_OWN = 0.3
"""Relative standard deviation of a part's cost on an imported device around the roofline fitted to that device. On
simulated devices whose parts deviate by 10, 30 and 60 %, 0.1 to 0.5 gave nearly the same errors with 40 networks; with
200 networks 0.3 was best at 30 %."""

_APART = 1000.0**0.5
"""Latencies that are further than this factor, about 32, from what the other networks or the device that is stated to
be alike suggest are taken to be in another unit. Units differ by 1000, so both explanations are equally far here: a
device that is up to 30 times slower or faster is accepted, and a slip is noticed for each such device."""

_UNITS = ("ns", "us", "ms", "s")
"""Units of time, each 1000 times the one before it."""

_LEAST_ALONE_US = 1e-3
"""Smallest latency of a part in a table, which must be above zero: one nanosecond is negligible in any sum."""

_FEWEST_TO_EVALUATE = 3
"""With two networks a rank correlation is always 1 or -1, and each would be predicted from one other."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Onboarded:
    """A device that was onboarded.

    Attributes:
        profile: Its profile, without the reference to its table.
        table: Its latency table for the model space.
        priors: Names of the known devices that the prior was fitted to.
        notes: Notes for people, one sentence each.
    """

    profile: DeviceProfile
    table: LatencyTable
    priors: tuple[str, ...]
    notes: tuple[str, ...]


class Fleet:
    """The known devices of one model space, from which a new device is predicted.

    Args:
        workloads: Workloads of a model space that is a chain of parts. All its parts are traced, which takes seconds.
        progress: Called for each subnet that is traced.
        seed: Seed of all random choices.

    Raises:
        ConfigError: The space is not a chain of parts.
        SpaceError: The space has too many parts.
    """

    def __init__(self, workloads: Workloads, progress: Progress, seed: int = 0) -> None:
        chain, space = workloads.chain, workloads.model_space
        if chain is None or not isinstance(space, ChainModelSpace):
            raise ConfigError(
                f"{space_name(space)} is not a chain of parts, so a few networks do not determine the others; "
                "declare `links` and `parts`, or measure the device with `factory profile`"
            )
        chain.trace_all(progress)
        self._workloads, self._chain, self._space, self._seed = workloads, chain, space, seed
        rng = random.Random(seed)
        self._reference = [space.space.sample_near(i / _REFERENCE_NETWORKS, rng) for i in range(_REFERENCE_NETWORKS)]
        self.devices: list[KnownDevice] = []

    def design(self, subnets: Sequence[SubnetConfig]) -> NDArray[np.float64]:
        """Return (subnets, parts + 1): how often each subnet has each part, then 1 for the constant."""
        rows = self._workloads.rows(subnets)
        found = np.zeros((len(subnets), len(self._chain.parts) + 1))
        found[:, -1] = 1.0
        for column in rows.T:
            present = column != ABSENT
            found[np.flatnonzero(present), column[present]] += 1
        return found

    def add_profile(self, found: FoundProfile) -> None:
        """Add a device with a latency table of this space or, without one, with costs of its kernels.

        Raises:
            ConfigError: The table belongs to another space.
        """
        parts, profile = self._chain.parts, found.profile
        if found.table is not None:
            check_table(found.table, found, self._workloads)
            costs = np.append(found.table.part_latency_us(parts), found.table.constant_us)
        else:
            overhead = profile.costs.run_overhead_us.value
            alone = LatencyModel().predict([part.workload for part in parts], profile)
            costs = np.append(alone - overhead, overhead)
        design = self.design(self._reference)
        self.devices.append(
            KnownDevice(
                name=profile.name,
                costs_us=costs,
                design=design,
                latency_us=design @ costs,
                measured=profile.latency_provenance == "measured",
            )
        )

    def add_measured(
        self, name: str, measured: MeasuredNetworks, like: DeviceProfile, *, trust_units: bool = False
    ) -> None:
        """Add a device on which some networks were measured.

        Args:
            name: Name of the device.
            measured: The measurements.
            like: Profile whose kernels are the starting point of the fit.
            trust_units: Accept latencies of any size, see `onboard`.

        Raises:
            ConfigError: The latencies are in a wrong unit.
        """
        known = [self._workloads.of(subnet) for subnet in measured.subnets]
        if not trust_units:
            usual = LatencyModel().predict(known, like)
            _check_spread(measured, usual)
            _check_unit(measured, usual, like)
        kernels = fit_latency(latency_features(known, like.precision), measured.latency_us, latency_coefficients(like))
        parts = latency_features([part.workload for part in self._chain.parts], like.precision)[:, :-1]
        start = np.append(parts @ kernels[:-1], kernels[-1])
        design = self.design(measured.subnets)
        costs = fit_costs(design, measured.latency_us, start, _FLEET_OWN)
        self.devices.append(KnownDevice(name=name, costs_us=costs, design=design, latency_us=measured.latency_us))

    def prior(self, like: DeviceProfile) -> Prior:
        """Return the prior for a new device. Raises `ConfigError` if there are no known devices."""
        if not self.devices:
            raise ConfigError("there is no known device to start from; name profiles or measured tables with --prior")
        features = latency_features([part.workload for part in self._chain.parts], like.precision)[:, :-1]
        constant = np.append(np.zeros(len(features)), 1.0)
        structure = np.column_stack([np.vstack([features, np.zeros(features.shape[1])]), constant])
        return fit_prior(self.devices, structure[:, structure.any(axis=0)], self._seed)

    def suggest(self, count: int, like: DeviceProfile, measured: MeasuredNetworks | None = None) -> list[SubnetConfig]:
        """Choose the networks to measure next on a new device.

        Args:
            count: Number of networks.
            like: Profile with the facts of the new device.
            measured: Networks that are measured already. Their latencies do not influence the choice.

        Raises:
            ConfigError: There are no known devices.
        """
        rng, space = random.Random(self._seed + 1), self._space.space
        known = set(measured.subnets) if measured else set()
        drawn = dict.fromkeys([space.smallest, space.largest])
        drawn |= dict.fromkeys(space.sample_near(index / _POOL, rng) for index in range(_POOL))
        pool = [subnet for subnet in drawn if subnet not in known]
        before = self.design(measured.subnets) if measured else None
        return [pool[index] for index in suggest(self.prior(like), self.design(pool), count, before)]

    def onboard(
        self, measured: MeasuredNetworks, like: DeviceProfile, name: str, *, today: date, trust_units: bool = False
    ) -> Onboarded:
        """Make a profile and a table of a device on which a few networks were measured.

        Args:
            measured: Measurements on the new device.
            like: Profile with the facts, budgets and memory of the new device. Its kernels are scaled to the
                measurements.
            name: Name of the new profile.
            today: Day that the profile and the table state as the day of the measurement.
            trust_units: Accept latencies even if they differ by more than 30 times from each other, relative to what is
                expected of the networks, or from those of `like`.

        Raises:
            ConfigError: There are no known devices, or the latencies are in a wrong unit.
        """
        prior = self.prior(like)
        design = self.design(measured.subnets)
        if not trust_units:
            _check_spread(measured, design @ prior.mean)
            _check_unit(measured, LatencyModel().predict([self._workloads.of(s) for s in measured.subnets], like), like)
        stretch = stretch_of(self.devices, prior, len(measured.subnets), self._seed)
        posterior = update(prior, design, measured.latency_us, stretch)
        mean, std = posterior.predict(self.design(self._reference))
        spread = float(np.median(std / mean))
        networks, rows = len(measured.subnets), measured.rows
        source = (
            f"{counted(networks, 'measured network')}{f' ({rows} rows)' if rows != networks else ''}, "
            f"prior of {', '.join(device.name for device in self.devices)}"
        )
        notes = [f"typical standard deviation of a predicted latency: {spread:.1%}"]
        if networks < FEWEST_NETWORKS:
            few = f"only {counted(networks, 'network')} measured"
            notes.insert(0, f"{few}: intervals are wide; {FEWEST_NETWORKS} to 10 are better")
        table = self._table(posterior, measured, like, today, _left_out_errors(prior, design, measured.latency_us))
        profile = self._profile(measured, like, name, today, source, spread)
        priors = tuple(device.name for device in self.devices)
        return Onboarded(profile=profile, table=table, priors=priors, notes=(*measured.notes, *notes))

    def _table(
        self,
        posterior: Posterior,
        measured: MeasuredNetworks,
        like: DeviceProfile,
        today: date,
        errors: PredictionErrors | None,
    ) -> LatencyTable:
        """The table. If a part has a negative cost, all parts are raised, and their coefficient takes it off again."""
        parts, costs = self._chain.parts, posterior.mean_us
        lift = max(0.0, _LEAST_ALONE_US - float(costs[:-1].min()))
        stds = posterior.column_std_us()
        alone = costs[:-1] + lift
        return LatencyTable(
            space=space_digest(self._space),
            engine=like.engine,
            engine_version="",
            precision=like.precision,
            threads=like.threads,
            machine="",
            measured_on=today,
            repeatability_p95=None,
            constant_us=float(costs[-1]),
            coefficients=(1.0, -lift, 0.0, 0.0, 0.0),
            fitted_networks=len(measured.subnets),
            errors=errors,
            part_count=len(parts),
            parts=tuple(
                TablePart(id=part.id, alone_us=float(us), relative_std=float(std / us), measured=False)
                for part, us, std in zip(parts, alone, stds[:-1], strict=True)
            ),
            uncertainty=TableUncertainty(
                shared_us=_rows(posterior.shared_us),
                own_us=tuple(_digits(value) for value in posterior.own_us),
                learnt_us=_rows(posterior.learnt_us),
                noise=posterior.noise,
            ),
        )

    def _profile(
        self, measured: MeasuredNetworks, like: DeviceProfile, name: str, today: date, source: str, spread: float
    ) -> DeviceProfile:
        known = [self._workloads.of(subnet) for subnet in measured.subnets]
        slower = float(np.median(measured.latency_us / LatencyModel().predict(known, like)))
        origin = f"{like.name}, latencies {slower:.3g} times as long by the measured networks"
        costs = like.costs
        overhead = _rounded(costs.run_overhead_us.value * slower)
        return like.model_copy(
            update={
                "name": name,
                "description": f"Few-shot: {source}; facts, budgets and memory of {like.name}.",
                "budgets": like.budgets.model_copy(
                    update={"confidence": like.budgets.confidence or CONFIDENCE, "energy_uj": None}  # not predicted
                ),
                "costs": CostParameters(
                    kernels=_scaled(costs.kernels, slower, origin),
                    run_overhead_us=TimeFigure(value=overhead, provenance="few_shot", source=origin),
                    arena_ratio=costs.arena_ratio,
                    engine_memory=costs.engine_memory,
                    measured_on=today,
                    latency_std=Figure(value=_rounded(spread), provenance="few_shot", source=source),
                    rows=measured.rows,
                ),
                "more_costs": {},  # nothing was measured in another precision
            }
        )


def _check_spread(measured: MeasuredNetworks, usual: NDArray[np.float64]) -> None:
    """Raise `ConfigError` if the latency of one network differs from those of the others as units do.

    Args:
        measured: The measurements.
        usual: What is expected of the networks in any unit, (networks,).
    """
    ratios = measured.latency_us / usual
    farthest = int(np.argmax(np.abs(np.log(ratios / np.median(ratios)))))
    apart = ratios[farthest] / float(np.median(ratios))
    if not 1 / _APART < apart < _APART:
        raise ConfigError(
            f"{measured.source}: network {measured.subnets[farthest].id}: its latency of "
            f"{measured.latency_us[farthest]:.4g} us is {apart:.3g} times what the other networks suggest; is it in "
            "another unit? If it is right, say so with --trust-units"
        )


def _check_unit(measured: MeasuredNetworks, usual_us: NDArray[np.float64], like: DeviceProfile) -> None:
    """Raise `ConfigError` if the latencies differ from those of `like`, (networks,) microseconds, as units do."""
    ratio = float(np.median(measured.latency_us / usual_us))
    if 1 / _APART < ratio < _APART:
        return
    stated = measured.column.partition(".")[0].removeprefix("latency_")
    steps = max(1, round(abs(math.log(ratio)) / math.log(1000)))
    place = _UNITS.index(stated) + (-steps if ratio > 1 else steps)
    suspected = _UNITS[place] if 0 <= place < len(_UNITS) else ""
    looks = f"they look like {suspected}, not {stated}" if suspected else f"they do not look like {stated}"
    raise ConfigError(
        f"{measured.source}: the latencies in the column {measured.column} are {ratio:.3g} times those that are "
        f"predicted for {like.name}: {looks}; correct the column, or choose a --like of similar speed, or if the "
        "device is so different, say so with --trust-units"
    )


def _left_out_errors(
    prior: Prior, design: NDArray[np.float64], latency_us: NDArray[np.float64]
) -> PredictionErrors | None:
    """Errors of predicting each measured network from all others; None with too few networks."""
    count = len(latency_us)
    if count < _FEWEST_TO_EVALUATE:
        return None
    predicted = np.empty(count)
    for index in range(count):
        others = np.arange(count) != index
        predicted[index] = update(prior, design[others], latency_us[others]).predict(design[[index]])[0][0]
    return prediction_errors(predicted, latency_us)


def _scaled(kernels: dict[KernelKind, KernelCost], slower: float, source: str) -> dict[KernelKind, KernelCost]:
    def rate(figure: Figure) -> Figure:
        return Figure(value=_rounded(figure.value / slower), provenance="few_shot", source=source)

    found: dict[KernelKind, KernelCost] = {}
    for kind in KERNEL_KINDS:
        kernel = kernels[kind]
        overhead = _rounded(kernel.overhead_us.value * slower)
        found[kind] = KernelCost(
            gmacs_per_s=rate(kernel.gmacs_per_s) if kernel.gmacs_per_s else None,
            gbytes_per_s=rate(kernel.gbytes_per_s),
            overhead_us=TimeFigure(value=overhead, provenance="few_shot", source=source),
        )
    return found


def _rows(values: NDArray[np.float64]) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(_digits(value) for value in row) for row in values)


def _digits(value: float) -> float:
    """Seven digits: the variance is a difference of large sums, so the terms need more digits than the result."""
    return float(f"{value:.7g}")


def _rounded(value: float) -> float:
    """Four digits: more than the precision of a scaled cost, and readable in a profile."""
    return float(f"{value:.4g}")
