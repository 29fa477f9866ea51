"""Measured latencies that people bring: networks with their choices in columns, as CSV or Parquet.

Of one device: a column `latency_us`, `latency_ms` or `latency_s`. Of many: `latency_ms.<device>` and so on, empty
where a network was not measured. One column for each choice of the search space says which network a row is; a choice
of an absent block may be empty.
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
"""Two measurements of one network may differ by this factor."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MeasuredNetworks:
    """Different networks measured on one device.

    Attributes:
        subnets: of them.
        latency_us: (networks,).
        rows: how many measurements stand behind all of them.
    """

    subnets: tuple[SubnetConfig, ...]
    latency_us: NDArray[np.float64]
    rows: int


def read_measurements(path: Path, space: SearchSpace, device: str | None = None) -> MeasuredNetworks:
    """The networks in `path` that were measured on one device; those without a latency are left out.

    Several rows of one network count as their geometric mean; a column `rows` says how many measurements a row is.

    Args:
        path: CSV or Parquet.
        space: of the networks.
        device: which of the column `device`; needed where that names several.

    Raises:
        ConfigError: no such file, no rows, another space, a network that contradicts its `network`, a latency that is
            none, or measurements of one network that differ more than twofold.
    """
    frame = _one_device(_read(path), path, device)
    column = _latency_column(frame, path)
    frame = frame[frame[column].notna()]
    if frame.empty:
        raise ConfigError(f"{path}: holds no measured network; fill the column {column}")
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
    """What each device of a table of networks by devices measured. Raises `ConfigError`, as `read_measurements`."""
    frame = _read(path)
    columns = {
        str(c): str(c).partition(".") for c in frame.columns if str(c).partition(".")[0] in US_PER_LATENCY_COLUMN
    }
    columns = {name: parts for name, parts in columns.items() if parts[2]}
    if not columns:
        raise ConfigError(f"{path}: has no column such as latency_ms.pixel3; known are {_COLUMNS}")
    subnets = _subnets(frame, space, path)
    found = {}
    for name, (unit, _, device) in columns.items():
        present = frame[name].notna().to_numpy()
        if not present.any():
            raise ConfigError(f"{path}: column {name} is empty; remove it")
        latency_us = _latencies(frame[present], name, path) * US_PER_LATENCY_COLUMN[unit]
        chosen = tuple(subnet for subnet, is_there in zip(subnets, present, strict=True) if is_there)
        found[device] = MeasuredNetworks(subnets=chosen, latency_us=latency_us, rows=len(chosen))
    return found


def _read(path: Path) -> DataFrame:
    import pandas as pd

    if not path.is_file():
        raise ConfigError(f"{path}: no such file")
    try:
        with path.open("rb") as stream:
            frame = pd.read_parquet(stream) if path.suffix == ".parquet" else pd.read_csv(stream)
    except Exception as error:  # pandas has no root of its errors
        raise ConfigError(f"{path}: is no table in CSV or Parquet ({str(error).splitlines()[0]})") from error
    if frame.empty:
        raise ConfigError(f"{path}: has no rows")
    return frame


def _one_device(frame: DataFrame, path: Path, device: str | None) -> DataFrame:
    if "device" not in frame:
        return frame
    known = sorted({str(name) for name in frame["device"]})
    if device is None and len(known) > 1:
        raise ConfigError(f"{path}: is of several devices ({', '.join(known[:5])}); say which with --only")
    if device is None:
        return frame
    if device not in known:
        raise ConfigError(f"{path}: has no rows of {device!r}; {nearest(device, known)}")
    return frame[frame["device"].astype(str) == device]


def _latency_column(frame: DataFrame, path: Path) -> str:
    found = [str(name) for name in frame.columns if name in US_PER_LATENCY_COLUMN]
    if len(found) != 1:
        raise ConfigError(f"{path}: has {' and '.join(found) or 'no latency'}; needs one of {_COLUMNS}")
    return found[0]


def _latencies(frame: DataFrame, column: str, path: Path) -> NDArray[np.float64]:
    import pandas as pd

    values = pd.to_numeric(frame[column], errors="coerce").to_numpy(dtype=np.float64)
    wrong = np.flatnonzero(~(np.isfinite(values) & (values > 0)))
    if wrong.size:
        given = frame[column].iloc[wrong[0]]
        raise ConfigError(f"{path}, row {frame.index[wrong[0]] + 1}: {column} {given} is no latency above zero")
    return values


def _row_counts(frame: DataFrame, path: Path) -> NDArray[np.float64]:
    if "rows" not in frame:
        return np.ones(len(frame))
    counts = frame["rows"].to_numpy(dtype=np.float64)
    if not (np.isfinite(counts) & (counts >= 1)).all():
        raise ConfigError(f"{path}: the column rows holds {counts.min():g}; each must be 1 or more")
    return counts


def _subnets(frame: DataFrame, space: SearchSpace, path: Path) -> list[SubnetConfig]:
    missing = [choice.name for choice in space if choice.name not in frame]
    if missing:
        raise ConfigError(
            f"{path}: is of another search space: it has no column {missing[0]!r}"
            + (f" nor {len(missing) - 1} others" if len(missing) > 1 else "")
            + "; each choice of the space needs one"
        )
    columns = [frame[choice.name].tolist() for choice in space]
    found = []
    for index, values in zip(frame.index, zip(*columns, strict=True), strict=True):
        try:
            found.append(_subnet(dict(zip(space, values, strict=True)), space))
        except SpaceError as error:
            raise ConfigError(f"{path}, row {index + 1}: is of another search space: {error}") from error
    return found


def _subnet(values: Mapping[Choice, Any], space: SearchSpace) -> SubnetConfig:
    given = {c.name: c.options[0] if _is_blank(value) else _option(c, value) for c, value in values.items()}
    subnet = space.subnet(given)
    for choice, value in values.items():
        if _is_blank(value) and space.exists(choice, subnet.to_dict()):
            raise SpaceError(f"choice {choice.name!r} is empty; options: {list(choice.options)}")
    return subnet


def _is_blank(value: Any) -> bool:
    return value is None or value == "" or (isinstance(value, float) and math.isnan(value))


def _option(choice: Choice, value: Any) -> Any:
    """The option that a cell means: tables turn 3 into 3.0 or "3"."""
    return next((option for option in choice.options if option == value or str(option) == str(value)), value)


def _check_ids(frame: DataFrame, subnets: list[SubnetConfig], path: Path) -> None:
    if "network" not in frame:
        return
    for index, given, subnet in zip(frame.index, frame["network"], subnets, strict=True):
        if str(given) != subnet.id:
            raise ConfigError(
                f"{path}, row {index + 1}: network {given} is unknown: the choices beside it are those of {subnet.id}; "
                "correct one of them, or leave the column network out"
            )


def _check_agreement(subnet: SubnetConfig, rows: list[int], latency_us: NDArray[np.float64], path: Path) -> None:
    low, high = int(np.argmin(latency_us)), int(np.argmax(latency_us))
    ratio = latency_us[high] / latency_us[low]
    if ratio > _DISAGREEMENT:
        raise ConfigError(
            f"{path}, rows {rows[low] + 1} and {rows[high] + 1}: measurements of network {subnet.id} differ "
            f"{ratio:.3g} times, allowed {_DISAGREEMENT:g}; measure it again, and remove the wrong one"
        )
