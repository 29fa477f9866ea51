"""`factory onboard`: make a profile of a device from a few networks measured on it and from known devices."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np

from device_profiles.few_shot.network_tables import MeasuredNetworks, read_fleet, read_measurements
from device_profiles.few_shot.onboarding import Fleet
from device_profiles.latency_table import LatencyTable
from device_profiles.profile import DeviceProfile, FoundProfile, profile_name, shipped_profiles
from device_profiles.profile_writer import refuse_to_replace, write_profile
from exports.engines import get_engine
from factory_base.errors import ConfigError
from factory_base.files import exclusive, write_text
from model_factory.console import Console
from model_factory.run import Run
from model_factory.stages.materials import Materials
from supernet.space import SubnetConfig

_TABLES = (".csv", ".tsv", ".parquet")
"""Suffixes of files that hold a table of networks by devices; any other prior is a profile."""
_CALIBRATION_INPUTS = 4
"""Inputs that calibrate an int8 file: any few will do, because the weights are random and only the speed matters."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What `factory onboard` was asked for.

    Attributes:
        measurements: A CSV or Parquet file with networks measured on the new device; None if there is none yet.
        only: The device to use, if `measurements` names several.
        priors: Known devices: profiles, or tables of networks by devices. If empty, the profiles beside the config that
            have a latency table, and the shipped ones.
        like: A profile with the facts, budgets and memory of the new device.
        trust_units: Accept latencies that differ from those of `like` as units do.
    """

    measurements: Path | None
    only: str | None
    priors: tuple[str, ...]
    like: str
    trust_units: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class NewDevice:
    """A profile made from few measurements.

    Attributes:
        path: Its file.
        profile: The profile.
        table: Its latency table.
        priors: Names of the known devices that the predictions start from.
        notes: Sentences for people on the measurements and the priors.
    """

    path: Path
    profile: DeviceProfile
    table: LatencyTable
    priors: tuple[str, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Suggestion:
    """Networks to measure.

    Attributes:
        sheet: The CSV file to fill in; the networks' files are beside it.
        networks: The networks, in the order in which they were chosen.
    """

    sheet: Path
    networks: tuple[SubnetConfig, ...]


def onboard(
    run: Run, console: Console, request: Request, output: Path, *, today: date, force: bool = False
) -> NewDevice:
    """Make a profile from the measurements of `request` and write it to `output`, whose name is that of the profile.

    The profile states `today` as the date of its table. With `force` it replaces any profile there.

    Raises:
        ConfigError: The measurements or a known device belong to another space or are wrong, or `output` is a measured
            or edited profile.
        DiskError: The profile cannot be written.
    """
    if request.measurements is None:
        raise ConfigError("no measurements; name a file of them, or ask for networks to measure with --suggest 5")
    name = profile_name(output)
    if not force:
        refuse_to_replace(output, ("measured",))
    like = run.profile(request.like, typed=True)
    materials = Materials(run, console)
    measured = read_measurements(request.measurements, materials.model_space.space, request.only)
    fleet = _fleet(run, materials, console, request, like)
    found = fleet.onboard(measured, like.profile, name, today=today, trust_units=request.trust_units)
    profile = write_profile(found.profile, output, [found.table])
    return NewDevice(path=output, profile=profile, table=found.table, priors=found.priors, notes=found.notes)


def suggest(run: Run, console: Console, request: Request, count: int, folder: Path) -> Suggestion:
    """Choose networks to measure next; write their files and a sheet for their latencies to `folder`.

    The networks have random weights, which do not change their speed.

    Raises:
        ConfigError: A known device belongs to another space, or a sheet would be overwritten.
        EngineError: The engine of the new device cannot run a network.
        DiskError: A file cannot be written.
    """
    from device_profiles.measuring.random_inputs import network_input_type, random_inputs
    from device_profiles.measuring.random_weights import keep_units_alive

    sheet = folder / "measurements.csv"
    if sheet.exists() and not (request.measurements and request.measurements.resolve() == sheet.resolve()):
        raise ConfigError(
            f"{sheet} exists and may hold latencies; add to it with `factory onboard {sheet} --suggest {count}`, or "
            "choose another --output"
        )
    like = run.profile(request.like, typed=True)
    materials = Materials(run, console)
    space = materials.model_space.space
    measured = read_measurements(request.measurements, space, request.only) if request.measurements else None
    networks = _fleet(run, materials, console, request, like).suggest(count, like.profile, measured)
    engine = get_engine(like.profile.engine, opset=run.config.export.opset)
    with exclusive(folder, "suggest"), console.stage("write the networks") as progress:
        for index, subnet in enumerate(networks):
            progress(index, len(networks), subnet.id)
            shape = materials.model_space.input_shape(subnet)
            generator = np.random.default_rng(run.config.seed)
            inputs = random_inputs(materials.model_space, subnet, _CALIBRATION_INPUTS, generator)
            precision, module = like.profile.precision, materials.model_space.build(subnet).eval()
            keep_units_alive([module])
            engine.convert(
                module,
                shape,
                folder / f"{subnet.id}.{'onnx' if engine.name == 'onnxruntime' else engine.name}",
                precision=precision,
                calibration=None if precision == "fp32" else inputs,
                input_type=network_input_type(materials.model_space),
            )
        write_text(sheet, _sheet(networks, measured))
    return Suggestion(sheet=sheet, networks=tuple(networks))


def _fleet(run: Run, materials: Materials, console: Console, request: Request, like: FoundProfile) -> Fleet:
    with console.stage("trace all parts of the model space") as progress:
        # The networks that are measured on a device are written above, without a preprocessing.
        fleet = Fleet(materials.known_workloads(pixels=False), progress, run.config.seed)
    space = materials.model_space.space
    for prior in request.priors:
        if Path(prior).suffix.lower() in _TABLES:
            for name, networks in read_fleet(Path(prior), space).items():
                fleet.add_measured(name, networks, like.profile, trust_units=request.trust_units)
        else:
            fleet.add_profile(run.profile(prior, typed=True))
    if not request.priors:
        for found in _default_priors(run):
            fleet.add_profile(found)
    return fleet


def _default_priors(run: Run) -> list[FoundProfile]:
    """The profiles beside the config that have a measured latency table, and the shipped ones."""
    mine = [run.profile(str(path)) for path in sorted((run.config_folder / "profiles").glob("*.yaml"))]
    tables = [found for found in mine if found.table is not None and found.table.uncertainty is None]
    return [*tables, *(run.profile(name) for name in shipped_profiles())]


def _sheet(networks: Sequence[SubnetConfig], measured: MeasuredNetworks | None) -> str:
    """CSV text with a row for each network; those that were measured already keep their latencies."""
    known = list(zip(measured.subnets, measured.latency_us.tolist(), strict=True)) if measured else []
    rows = [*((s, f"{us / 1e3:.6g}") for s, us in known), *((s, "") for s in networks)]
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    names = [name for name, _ in rows[0][0].values] if rows else []
    writer.writerow(["network", "latency_ms", *names])
    for subnet, latency in rows:
        writer.writerow([subnet.id, latency, *(value for _, value in subnet.values)])
    return stream.getvalue()
