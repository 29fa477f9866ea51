"""Tables of measured latencies from users, as CSV or Parquet: one row for each network, its choices in columns.

A table for one device has a column `latency_us`, `latency_ms` or `latency_s`; a table for many devices has columns such
as `latency_ms.<device>`, empty for networks that were not measured. One column for each choice of the search space
identifies the network of a row; a choice of an absent block may be empty.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from device_profiles.foreign.table_file import TableFile, open_table
from device_profiles.foreign.written_numbers import Notation, find_notation, is_text, numbers_of
from factory_base.documents import nearest
from factory_base.errors import ConfigError, ForeignError, SpaceError
from factory_base.foreign import printable
from factory_base.quantities import US_PER_LATENCY_COLUMN
from supernet.space import Choice, SearchSpace, SubnetConfig

_COLUMNS = ", ".join(US_PER_LATENCY_COLUMN)
_DISAGREEMENT = 2.0
"""Largest ratio between two measurements of one network on one device. Noise and mild throttling stay below it; another
device, a typing error and above all another unit (a factor of 1000) do not."""

_MOST_CELLS = 5_000_000
"""Cells that are read, rows times columns: a hundred thousand networks of fifty choices."""

_SHORTEST_US, _LONGEST_US = 1e-3, 1e12
"""One nanosecond and twelve days: no network takes less or more."""

_MOST_COUNTED = 1e12
"""Largest number of measurements behind a row: more than any fleet sends."""

_BLANK = ("", "nan", "na", "n/a", "null", "none", "#n/a")
"""Cells without a value, in lower case, as programs write them."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MeasuredNetworks:
    """Distinct networks that were measured on one device.

    Attributes:
        subnets: The networks.
        latency_us: Measured latency of each network, (networks,).
        rows: Number of measurements behind all of them.
        source: The table, for messages.
        column: The column of the latencies, which states their unit.
        notes: What people should know about how the table was read, a sentence each.
    """

    subnets: tuple[SubnetConfig, ...]
    latency_us: NDArray[np.float64]
    rows: int
    source: str = "the measurements"
    column: str = "latency_us"
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Cells:
    """One column: its cells as they were written, None where there is none, and what they are as numbers."""

    written: list[Any]
    numbers: NDArray[np.float64]

    def at(self, rows: NDArray[np.int64]) -> _Cells:
        return _Cells(written=[self.written[row] for row in rows], numbers=self.numbers[rows])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Table:
    """Some rows of a table.

    Attributes:
        path: The file.
        shown: Its path for messages.
        cells: Name of a column -> its cells.
        row: Number of each row in the file, from 1, without the header.
        notation: How numbers are written.
    """

    path: Path
    shown: str
    cells: dict[str, _Cells]
    row: NDArray[np.int64]
    notation: Notation

    def where(self, chosen: NDArray[np.bool_]) -> _Table:
        rows = np.flatnonzero(chosen)
        cells = {name: cells.at(rows) for name, cells in self.cells.items()}
        return _Table(path=self.path, shown=self.shown, cells=cells, row=self.row[rows], notation=self.notation)

    @property
    def notes(self) -> tuple[str, ...]:
        return tuple(filter(None, [self.notation.describe()]))


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
    table = _one_device(_read(path, space), device)
    column = _latency_column(table)
    table = table.where(_present(table.cells[column]))
    if not len(table.row):
        raise ConfigError(f"{table.shown}: no network is measured; fill in the column {column}")
    subnets = _subnets(table, space)
    _check_ids(table, subnets)
    latency_us = _latencies(table, column) * US_PER_LATENCY_COLUMN[column]
    weights = _row_counts(table)
    groups: dict[SubnetConfig, list[int]] = {}
    for index, subnet in enumerate(subnets):
        groups.setdefault(subnet, []).append(index)
    for subnet, members in groups.items():
        _check_agreement(subnet, table.row[members], latency_us[members], table.shown)
    means = [np.average(np.log(latency_us[members]), weights=weights[members]) for members in groups.values()]
    return MeasuredNetworks(
        subnets=tuple(groups), latency_us=np.exp(means), rows=int(weights.sum()), source=table.shown, column=column,
        notes=table.notes,
    )  # fmt: skip


def read_fleet(path: Path, space: SearchSpace) -> dict[str, MeasuredNetworks]:
    """Read a table with a latency column for each device: device name -> its measured networks.

    Raises:
        ConfigError: As for `read_measurements`, or there is no column of latencies, or one is empty.
    """
    table = _read(path, space)
    columns = {name: name.partition(".") for name in table.cells if name.partition(".")[0] in US_PER_LATENCY_COLUMN}
    columns = {name: parts for name, parts in columns.items() if parts[2]}
    if not columns:
        raise ConfigError(
            f"{table.shown}: there is no column such as latency_ms.pixel3; add one for each device, its name starting "
            f"with one of {_COLUMNS}"
        )
    subnets = _subnets(table, space)
    found = {}
    for name, (unit, _, device) in columns.items():
        present = _present(table.cells[name])
        if not present.any():
            raise ConfigError(f"{table.shown}: column {printable(name, 60)} is empty; fill it in or remove it")
        latency_us = _latencies(table.where(present), name) * US_PER_LATENCY_COLUMN[unit]
        chosen = tuple(subnet for subnet, is_there in zip(subnets, present, strict=True) if is_there)
        found[printable(device, 60)] = MeasuredNetworks(
            subnets=chosen, latency_us=latency_us, rows=len(chosen), source=table.shown, column=printable(name, 60),
            notes=table.notes,
        )  # fmt: skip
    return found


def _read(path: Path, space: SearchSpace) -> _Table:
    """The columns of `path` that mean something here."""
    choices = {choice.name for choice in space}
    try:
        file = open_table(path)
        known = [name for name in file.columns if name in choices or _is_latency(name)]
        names = dict.fromkeys([*known, *(name for name in ("network", "device", "rows") if name in file.columns)])
        arrays = _arrays(file, list(names))
        texts = [array for name, array in arrays.items() if name not in ("network", "device") and is_text(array)]
        notation = _notation(texts, file.shown)
        cells = {name: _cells(name, array, notation, file.shown) for name, array in arrays.items()}
    except ForeignError as error:
        raise ConfigError(str(error)) from error
    rows = max((len(column.written) for column in cells.values()), default=0)
    if names and not rows:
        raise ConfigError(f"{file.shown}: the table has no rows; add the measured networks")
    return _Table(path=path, shown=file.shown, cells=cells, row=np.arange(1, rows + 1), notation=notation)


def _is_latency(name: str) -> bool:
    return name.partition(".")[0] in US_PER_LATENCY_COLUMN


def _arrays(file: TableFile, names: Sequence[str]) -> dict[str, Any]:
    """The whole columns. Raises `ForeignError` for too many cells, and for rows with too many or too few."""
    from pyarrow import concat_arrays

    parts: dict[str, list[Any]] = {name: [] for name in names}
    torn: list[str] = []
    rows = 0
    for batch in file.batches(names, torn):
        for name, array in batch.items():
            parts[name].append(array)
            rows = max(rows, sum(map(len, parts[name])))
        if rows * len(names) > _MOST_CELLS:
            raise ForeignError(f"{file.shown}: has more than {_MOST_CELLS:,} cells; keep the networks that you need")
    if torn:
        raise ForeignError(f"{file.shown}: {torn[0]}; correct it")
    return {name: concat_arrays(arrays) for name, arrays in parts.items() if arrays}


def _notation(arrays: Sequence[Any], source: str) -> Notation:
    """How all texts of the table write numbers: a program writes all of them in one way."""
    from pyarrow import chunked_array, string

    return find_notation(chunked_array(arrays, type=string()).combine_chunks(), source) if arrays else Notation()


def _cells(name: str, array: Any, notation: Notation, shown: str) -> _Cells:
    try:
        numbers = np.full(len(array), np.nan) if name in ("network", "device") else numbers_of(array, notation)
    except ForeignError:
        if _is_latency(name) or name == "rows":
            raise ForeignError(f"{shown}: the column {name!r} holds {array.type}; write numbers") from None
        numbers = np.full(len(array), np.nan)  # choices may be truth values
    return _Cells(written=array.to_pylist(), numbers=numbers)


def _one_device(table: _Table, device: str | None) -> _Table:
    if "device" not in table.cells:
        return table
    names = [str(name).strip() for name in table.cells["device"].written]
    known = sorted(set(names))
    if device is None and len(known) > 1:
        shown = ", ".join(printable(name, 40) for name in known[:5])
        raise ConfigError(f"{table.shown}: the table holds several devices ({shown}); choose one with --only")
    if device is None:
        return table
    if device not in known:
        raise ConfigError(f"{table.shown}: no row is of the device {device!r}; {printable(nearest(device, known))}")
    return table.where(np.array([name == device for name in names]))


def _latency_column(table: _Table) -> str:
    found = [name for name in table.cells if name in US_PER_LATENCY_COLUMN]
    if len(found) != 1:
        raise ConfigError(
            f"{table.shown}: there {'are the columns' if found else 'is'} "
            f"{' and '.join(found) or 'no column of latencies'}; the table needs exactly one of {_COLUMNS}"
        )
    return found[0]


def _latencies(table: _Table, column: str) -> NDArray[np.float64]:
    """The values of a column of latencies, in its unit."""
    cells = table.cells[column]
    values = cells.numbers
    us = values * US_PER_LATENCY_COLUMN[column.partition(".")[0]]
    wrong = np.flatnonzero(~((us >= _SHORTEST_US) & (us <= _LONGEST_US)))
    if wrong.size:
        given = printable(str(cells.written[wrong[0]]), 40)
        allowed = "between 1 ns and 12 days" if values[wrong[0]] > 0 else "above zero"
        raise ConfigError(
            f"{table.shown}, row {table.row[wrong[0]]}: {printable(column, 60)} {given} is not a latency {allowed}"
        )
    return values


def _row_counts(table: _Table) -> NDArray[np.float64]:
    if "rows" not in table.cells:
        return np.ones(len(table.row))
    counts = table.cells["rows"].numbers
    wrong = np.flatnonzero(~((counts >= 1) & (counts <= _MOST_COUNTED)))
    if wrong.size:
        given = printable(str(table.cells["rows"].written[wrong[0]]), 40)
        raise ConfigError(
            f"{table.shown}, row {table.row[wrong[0]]}: the column rows holds {given}; every value must be 1 or more, "
            f"and at most {_MOST_COUNTED:g}"
        )
    return counts


def _subnets(table: _Table, space: SearchSpace) -> list[SubnetConfig]:
    missing = [choice.name for choice in space if choice.name not in table.cells]
    if missing:
        raise ConfigError(
            f"{table.shown}: the table belongs to another search space: it lacks the column {missing[0]!r}"
            + (f" and {len(missing) - 1} more" if len(missing) > 1 else "")
            + "; each choice of the space needs a column"
        )
    columns = [_options(choice, table.cells[choice.name]) for choice in space]
    found = []
    for row, values in zip(table.row, zip(*columns, strict=True), strict=True):
        try:
            found.append(_subnet(dict(zip(space, values, strict=True)), space))
        except SpaceError as error:
            raise ConfigError(
                f"{table.shown}, row {row}: the network belongs to another search space: {printable(str(error))}"
            ) from error
    return found


def _subnet(values: dict[Choice, Any], space: SearchSpace) -> SubnetConfig:
    subnet = space.subnet({c.name: c.options[0] if value is None else value for c, value in values.items()})
    for choice, value in values.items():
        if value is None and space.exists(choice, subnet.to_dict()):
            raise SpaceError(f"choice {choice.name!r} is empty; fill in one of {list(choice.options)}")
    return subnet


def _options(choice: Choice, cells: _Cells) -> list[Any]:
    """The option that each cell means, None for a blank cell, and the cell itself if it is not an option."""
    return [_option(choice, value, number) for value, number in zip(cells.written, cells.numbers.tolist(), strict=True)]


def _option(choice: Choice, value: Any, number: float) -> Any:
    """Tables turn 3 into 3.0 or "3", and True into TRUE."""
    text = str(value).strip()
    for option in choice.options:
        if str(option) == text or (isinstance(option, bool) and str(option).lower() == text.lower()):
            return option
        if isinstance(option, int | float) and not isinstance(option, bool) and option == number:
            return option
    if text.lower() in _BLANK:
        return None
    return int(number) if number.is_integer() else text


def _present(cells: _Cells) -> NDArray[np.bool_]:
    """(rows,): whether a cell holds something, be it right or wrong."""
    return np.array([str(value).strip().lower() not in _BLANK for value in cells.written], dtype=np.bool_)


def _check_ids(table: _Table, subnets: list[SubnetConfig]) -> None:
    if "network" not in table.cells:
        return
    for row, given, subnet in zip(table.row, table.cells["network"].written, subnets, strict=True):
        if str(given).strip() != subnet.id:
            raise ConfigError(
                f"{table.shown}, row {row}: network {printable(str(given), 40)} does not match its choices, which are "
                f"those of {subnet.id}; correct one of them, or remove the column network"
            )


def _check_agreement(
    subnet: SubnetConfig, rows: NDArray[np.int64], latency_us: NDArray[np.float64], shown: str
) -> None:
    low, high = int(np.argmin(latency_us)), int(np.argmax(latency_us))
    ratio = latency_us[high] / latency_us[low]
    if ratio > _DISAGREEMENT:
        raise ConfigError(
            f"{shown}, rows {rows[low]} and {rows[high]}: measurements of network {subnet.id} differ by a factor of "
            f"{ratio:.3g}, allowed are {_DISAGREEMENT:g}; measure it again, and remove the wrong row"
        )
