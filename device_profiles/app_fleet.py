"""A fleet: the classes of devices that an app runs on, with their shares of installs, as a CSV file states them.

    name,share,profile,latency_scale,latency,peak_memory
    Android Go,18 %,lowend_1gb,1.3,60 ms,
    flagships,9 %,flagship,,20 ms,256 MiB

Every class names a device profile, which predicts what subnets cost there. Where devices are slower or faster than
those of the profile by about a factor, `latency_scale` states it. Budgets that are left empty are those of the profile.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from device_profiles.budgets import Budgets
from factory_base.documents import nearest, parse_document
from factory_base.errors import ConfigError, ForeignError, UnknownNameError
from factory_base.foreign import printable, read_regular
from factory_base.wording import counted

FLEETS_FOLDER: Final = Path(__file__).parent / "fleets"
"""The folder of the fleets that ship with the package."""
BUDGET_COLUMNS: Final = (
    *("latency", "frame_rate", "frame_share", "confidence", "peak_memory", "file_size", "download", "macs", "energy"),
)
"""Columns of budgets: the keys of a profile's budgets that are a single quantity."""
COLUMNS: Final = ("name", "share", "installs", "profile", "latency_scale", *BUDGET_COLUMNS)
_MOST_BYTES, _MOST_CLASSES = 50_000_000, 100_000
_TOLERANCE = 0.005
"""How far shares may be off 100 %, as rounded percentages are."""
_SCALES = (0.01, 100.0)
"""A class that is a hundred times slower than its profile belongs to another profile."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceClass:
    """Devices that get the same model.

    Attributes:
        name: The name of the class.
        share: Its share of all installs, above 0; the shares of a fleet add up to 1.
        profile: The profile that predicts costs, as people name it.
        latency_scale: The latency on these devices, as a multiple of that of the profile.
        budgets: Budgets that override those of the profile.
    """

    name: str
    share: float
    profile: str
    latency_scale: float = 1.0
    budgets: Budgets = field(default_factory=Budgets)


@dataclass(frozen=True, slots=True, kw_only=True)
class AppFleet:
    """The classes of devices that an app runs on.

    Attributes:
        name: The name of the file without its suffix.
        origin: Where it was found: `file fleet.csv` or `shipped example`.
        classes: The classes, in the order of the file.
        notes: Sentences for people, for example that shares were scaled.
    """

    name: str
    origin: str
    classes: tuple[DeviceClass, ...]
    notes: tuple[str, ...] = ()


def shipped_fleets() -> tuple[str, ...]:
    """The names of the fleets that ship with the package, sorted."""
    return tuple(sorted(path.stem for path in FLEETS_FOLDER.glob("*.csv")))


def find_fleet(name_or_path: str) -> AppFleet:
    """The fleet that a person means: a file or, if there is none, a shipped fleet of that name.

    >>> from device_profiles import find_fleet
    >>> fleet = find_fleet("example")
    >>> fleet.classes[0].profile, round(sum(one.share for one in fleet.classes), 6)
    ('lowend_1gb', 1.0)

    Raises:
        ConfigError: The file is wrong; the message names the line.
        UnknownNameError: It is neither a file nor the name of a shipped fleet.
    """
    path = Path(name_or_path)
    if path.exists() or path.suffix:
        return read_fleet(path, f"file {name_or_path}")
    if name_or_path in shipped_fleets():
        return read_fleet(FLEETS_FOLDER / f"{name_or_path}.csv", f"shipped {name_or_path}")
    raise UnknownNameError(
        f"fleet {name_or_path!r} is neither a file nor a shipped fleet; {nearest(name_or_path, shipped_fleets())}"
    )


def read_fleet(path: Path, origin: str) -> AppFleet:
    """Read a fleet from a CSV file with a header; lines that begin with `#` are comments.

    Raises:
        ConfigError: The file cannot be read or is wrong; the message names the line.
    """
    source = printable(str(path))
    try:
        text = read_regular(path, _MOST_BYTES).decode("utf-8-sig")
    except ForeignError as error:
        raise ConfigError(str(error)) from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{source}: is not UTF-8 text; save it as CSV in UTF-8") from error
    rows = _rows(text, source)
    header = next(rows, None)
    if header is None:
        raise ConfigError(f"{source}: is empty; it needs a header with the columns name, share and profile")
    columns = _columns(header[1], f"{source}, line {header[0]}")
    return _fleet(path.stem, origin, source, [_Row.of(line, cells, columns, source) for line, cells in rows])


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    """The cells of one line that are not empty, by their column."""

    place: str
    cells: dict[str, str]

    @classmethod
    def of(cls, line: int, cells: Sequence[str], columns: Sequence[str], source: str) -> _Row:
        place = f"{source}, line {line}"
        if len(cells) != len(columns):
            raise ConfigError(f"{place}: has {counted(len(cells), 'cell')}, but the header has {len(columns)}")
        stripped = zip(columns, (cell.strip() for cell in cells), strict=True)
        return cls(place=place, cells={column: cell for column, cell in stripped if cell})

    def required(self, column: str) -> str:
        if column not in self.cells:
            raise ConfigError(f"{self.place}: {column!r} is empty")
        return self.cells[column]

    def is_percentage(self, column: str) -> bool:
        return self.required(column).endswith("%")

    def number(self, column: str) -> float:
        """The number in a cell, without the sign of a percentage."""
        text = self.required(column)
        try:
            value = float(text.removesuffix("%"))
        except ValueError:
            value = math.nan
        if not math.isfinite(value) or "_" in text:
            raise ConfigError(f"{self.place}: {column} {text!r:.80} is not a number such as 1.5")
        return value


def _rows(text: str, source: str) -> Iterator[tuple[int, list[str]]]:
    """Every line that is neither empty nor a comment, with its number."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    line = 1
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells) and not cells[0].lstrip().startswith("#"):
                yield line, cells
            line = reader.line_num + 1
    except csv.Error as error:
        raise ConfigError(f"{source}, line {line}: is not CSV ({error})") from error


def _columns(cells: Sequence[str], place: str) -> list[str]:
    columns = [cell.strip() for cell in cells]
    for column in columns:
        if column not in COLUMNS:
            hint = "; separate cells with commas" if ";" in column or "\t" in column else ""
            raise ConfigError(f"{place}: unknown column {column!r:.80}; {nearest(column, COLUMNS)}{hint}")
        if columns.count(column) > 1:
            raise ConfigError(f"{place}: column {column!r} is there twice")
    missing = [column for column in ("name", "profile") if column not in columns]
    if missing:
        raise ConfigError(f"{place}: column {missing[0]!r} is missing")
    if ("share" in columns) == ("installs" in columns):
        raise ConfigError(f"{place}: expected one of the columns 'share' and 'installs'")
    return columns


def _fleet(name: str, origin: str, source: str, rows: Sequence[_Row]) -> AppFleet:
    if not rows:
        raise ConfigError(f"{source}: has no classes of devices, but only a header")
    if len(rows) > _MOST_CLASSES:
        raise ConfigError(f"{source}: has {len(rows):,} classes of devices; at most {_MOST_CLASSES:,} are possible")
    seen: dict[str, str] = {}
    for row in rows:
        if (named := row.required("name")) in seen:
            raise ConfigError(
                f"{row.place}: class {named!r:.80} is there already ({seen[named]}); give each class a name of its own"
            )
        seen[named] = row.place.rpartition(", ")[2]
    shares, notes = _shares(rows, source)
    classes = tuple(_class(row, share) for row, share in zip(rows, shares, strict=True))
    return AppFleet(name=name, origin=origin, classes=classes, notes=notes)


def _shares(rows: Sequence[_Row], source: str) -> tuple[list[float], tuple[str, ...]]:
    """The share of each row, and a note if they had to be scaled."""
    of_installs = "share" not in rows[0].cells and "installs" in rows[0].cells
    found = [_installs(row) if of_installs else _share(row) for row in rows]
    total = math.fsum(found)
    shares = [value / total for value in found]
    if of_installs or abs(total - 1) < 1e-6:
        return shares, ()
    if abs(total - 1) > _TOLERANCE:
        raise ConfigError(
            f"{source}: the shares add up to {100 * total:.6g} %, expected 100 %; if these are numbers of installs, "
            "name the column 'installs'"
        )
    return shares, (f"the shares add up to {100 * total:.6g} %; each was scaled so that they add up to 100 %",)


def _share(row: _Row) -> float:
    text = row.required("share")
    value = row.number("share") / 100 if row.is_percentage("share") else row.number("share")
    if value > 1 or (value == 1 and not row.is_percentage("share")):
        raise ConfigError(f"{row.place}: share {text!r:.80} is not a share such as '12.5 %' or 0.125")
    if value <= 0:
        raise ConfigError(f"{row.place}: share {text!r:.80} is not above 0; leave the class out")
    return value


def _installs(row: _Row) -> float:
    value = row.number("installs")
    if value <= 0 or row.is_percentage("installs"):
        raise ConfigError(
            f"{row.place}: installs {row.cells['installs']!r:.80} is not a number above 0; leave out classes without "
            "installs"
        )
    return value


def _class(row: _Row, share: float) -> DeviceClass:
    scale = row.number("latency_scale") if "latency_scale" in row.cells else 1.0
    if row.cells.get("latency_scale", "").endswith("%") or not _SCALES[0] <= scale <= _SCALES[1]:
        raise ConfigError(
            f"{row.place}: latency_scale {row.cells['latency_scale']!r:.80} is not a factor from {_SCALES[0]} to "
            f"{_SCALES[1]:g}"
        )
    return DeviceClass(
        name=row.cells["name"],
        share=share,
        profile=row.required("profile"),
        latency_scale=scale,
        budgets=parse_document({key: row.cells[key] for key in BUDGET_COLUMNS if key in row.cells}, Budgets, row.place),
    )
