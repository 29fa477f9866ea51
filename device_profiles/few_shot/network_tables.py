"""Tables of measured latencies from users, as CSV or Parquet: one row for each network, its choices in columns.

A table for one device has a column `latency_us`, `latency_ms` or `latency_s`; a table for many devices has columns such
as `latency_ms.<device>`, empty for networks that were not measured. One column for each choice of the search space
identifies the network of a row; a choice of an absent block may be empty.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from factory_base.documents import nearest
from factory_base.errors import ConfigError, SpaceError
from factory_base.quantities import US_PER_LATENCY_COLUMN
from supernet.space import Choice, SearchSpace, SubnetConfig

if TYPE_CHECKING:
    from pandas import DataFrame

_COLUMNS = ", ".join(US_PER_LATENCY_COLUMN)
_DISAGREEMENT = 2.0
"""Largest ratio between two measurements of one network on one device. Noise and mild throttling stay below it; another
device, a typing error and above all another unit (a factor of 1000) do not."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MeasuredNetworks:
    """Distinct networks that were measured on one device.

    Attributes:
        subnets: The networks.
        latency_us: Measured latency of each network, (networks,).
        rows: Number of measurements behind all of them.
    """

    subnets: tuple[SubnetConfig, ...]
    latency_us: NDArray[np.float64]
    rows: int


def read_measurements(path: Path, space: SearchSpace, device: str | None = None) -> MeasuredNetworks:
    """Read the networks in `path` that were measured on one device. Rows without a latency are skipped.

    Several rows for one network are replaced by their geometric mean, weighted by the column `rows` (the number of
    measurements behind a row) if there is one.

    Args:
        path: CSV or Parquet file.
        space: Search space of the networks.
        device: Name in the column `device`; required if that column holds several names.

    Raises:
        ConfigError: The file is missing, has no rows or belongs to another space; a row's choices contradict its
            `network`; a latency is not a positive number; or measurements of one network differ more than twofold.
    """
    frame = _one_device(_read(path), path, device)
    column = _latency_column(frame, path)
    frame = frame[frame[column].notna()]
    if frame.empty:
        raise ConfigError(f"{path}: no network is measured; fill in the column {column}")
    subnets = _subnets(frame, space, path)
    _check_ids(frame, subnets, path)
    latency_us = _latencies(frame, column, path) * US_PER_LATENCY_COLUMN[column]
    weights = _row_counts(frame, path)
    groups: dict[SubnetConfig, list[int]] = {}
    for index, subnet in enumerate(subnets):
        groups.setdefault(subnet, []).append(index)
    for subnet, members in groups.items():
        _check_agreement(subnet, frame.index[members].tolist(), latency_us[members], path)
    means = [np.average(np.log(latency_us[members]), weights=weights[members]) for members in groups.values()]
    return MeasuredNetworks(subnets=tuple(groups), latency_us=np.exp(means), rows=int(weights.sum()))


def read_fleet(path: Path, space: SearchSpace) -> dict[str, MeasuredNetworks]:
    """Read a table with a latency column for each device: device name -> its measured networks.

    Raises:
        ConfigError: As for `read_measurements`, or there is no column of latencies, or one is empty.
    """
    frame = _read(path)
    columns = {
        str(c): str(c).partition(".") for c in frame.columns if str(c).partition(".")[0] in US_PER_LATENCY_COLUMN
    }
    columns = {name: parts for name, parts in columns.items() if parts[2]}
    if not columns:
        raise ConfigError(
            f"{path}: there is no column such as latency_ms.pixel3; add one for each device, its name starting with "
            f"one of {_COLUMNS}"
        )
    subnets = _subnets(frame, space, path)
    found = {}
    for name, (unit, _, device) in columns.items():
        present = frame[name].notna().to_numpy()
        if not present.any():
            raise ConfigError(f"{path}: column {name} is empty; fill it in or remove it")
        latency_us = _latencies(frame[present], name, path) * US_PER_LATENCY_COLUMN[unit]
        chosen = tuple(subnet for subnet, is_there in zip(subnets, present, strict=True) if is_there)
        found[device] = MeasuredNetworks(subnets=chosen, latency_us=latency_us, rows=len(chosen))
    return found


def _read(path: Path) -> DataFrame:
    import pandas as pd

    if not path.is_file():
        raise ConfigError(f"{path}: no such file; name a table of measured networks")
    try:
        with path.open("rb") as stream:
            frame = pd.read_parquet(stream) if path.suffix == ".parquet" else pd.read_csv(stream)
    except Exception as error:  # the errors of pandas have no common base class
        reason = str(error).splitlines()[0]
        raise ConfigError(f"{path}: not a table in CSV or Parquet ({reason}); save it in one of these") from error
    if frame.empty:
        raise ConfigError(f"{path}: the table has no rows; add the measured networks")
    return frame


def _one_device(frame: DataFrame, path: Path, device: str | None) -> DataFrame:
    if "device" not in frame:
        return frame
    known = sorted({str(name) for name in frame["device"]})
    if device is None and len(known) > 1:
        raise ConfigError(f"{path}: the table holds several devices ({', '.join(known[:5])}); choose one with --only")
    if device is None:
        return frame
    if device not in known:
        raise ConfigError(f"{path}: no row is of the device {device!r}; {nearest(device, known)}")
    return frame[frame["device"].astype(str) == device]


def _latency_column(frame: DataFrame, path: Path) -> str:
    found = [str(name) for name in frame.columns if name in US_PER_LATENCY_COLUMN]
    if len(found) != 1:
        raise ConfigError(
            f"{path}: there {'are the columns' if found else 'is'} {' and '.join(found) or 'no column of latencies'}; "
            f"the table needs exactly one of {_COLUMNS}"
        )
    return found[0]


def _latencies(frame: DataFrame, column: str, path: Path) -> NDArray[np.float64]:
    import pandas as pd

    values = pd.to_numeric(frame[column], errors="coerce").to_numpy(dtype=np.float64)
    wrong = np.flatnonzero(~(np.isfinite(values) & (values > 0)))
    if wrong.size:
        given = frame[column].iloc[wrong[0]]
        raise ConfigError(f"{path}, row {frame.index[wrong[0]] + 1}: {column} {given} is not a latency above zero")
    return values


def _row_counts(frame: DataFrame, path: Path) -> NDArray[np.float64]:
    if "rows" not in frame:
        return np.ones(len(frame))
    counts = frame["rows"].to_numpy(dtype=np.float64)
    if not (np.isfinite(counts) & (counts >= 1)).all():
        raise ConfigError(f"{path}: the column rows holds {counts.min():g}; every value must be 1 or more")
    return counts


def _subnets(frame: DataFrame, space: SearchSpace, path: Path) -> list[SubnetConfig]:
    missing = [choice.name for choice in space if choice.name not in frame]
    if missing:
        raise ConfigError(
            f"{path}: the table belongs to another search space: it lacks the column {missing[0]!r}"
            + (f" and {len(missing) - 1} more" if len(missing) > 1 else "")
            + "; each choice of the space needs a column"
        )
    columns = [frame[choice.name].tolist() for choice in space]
    found = []
    for index, values in zip(frame.index, zip(*columns, strict=True), strict=True):
        try:
            found.append(_subnet(dict(zip(space, values, strict=True)), space))
        except SpaceError as error:
            raise ConfigError(
                f"{path}, row {index + 1}: the network belongs to another search space: {error}"
            ) from error
    return found


def _subnet(values: Mapping[Choice, Any], space: SearchSpace) -> SubnetConfig:
    given = {c.name: c.options[0] if _is_blank(value) else _option(c, value) for c, value in values.items()}
    subnet = space.subnet(given)
    for choice, value in values.items():
        if _is_blank(value) and space.exists(choice, subnet.to_dict()):
            raise SpaceError(f"choice {choice.name!r} is empty; fill in one of {list(choice.options)}")
    return subnet


def _is_blank(value: Any) -> bool:
    return value is None or value == "" or (isinstance(value, float) and math.isnan(value))


def _option(choice: Choice, value: Any) -> Any:
    """Return the option that a cell stands for: tables turn 3 into 3.0 or "3"."""
    return next((option for option in choice.options if option == value or str(option) == str(value)), value)


def _check_ids(frame: DataFrame, subnets: list[SubnetConfig], path: Path) -> None:
    if "network" not in frame:
        return
    for index, given, subnet in zip(frame.index, frame["network"], subnets, strict=True):
        if str(given) != subnet.id:
            raise ConfigError(
                f"{path}, row {index + 1}: network {given} does not match its choices, which are those of {subnet.id}; "
                "correct one of them, or remove the column network"
            )


def _check_agreement(subnet: SubnetConfig, rows: list[int], latency_us: NDArray[np.float64], path: Path) -> None:
    low, high = int(np.argmin(latency_us)), int(np.argmax(latency_us))
    ratio = latency_us[high] / latency_us[low]
    if ratio > _DISAGREEMENT:
        raise ConfigError(
            f"{path}, rows {rows[low] + 1} and {rows[high] + 1}: measurements of network {subnet.id} differ by a "
            f"factor of {ratio:.3g}, allowed are {_DISAGREEMENT:g}; measure it again, and remove the wrong row"
        )
