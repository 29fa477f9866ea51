"""Guesses what the columns of a table hold, from their names and from the cells of its first rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Final

from factory_base.errors import ConfigError, DataError
from factory_base.foreign import printable
from supernet.data.formats import EXTENSIONS
from supernet.data.split_names import listed, split_of_word, words_of
from supernet.data.table.reading import SUFFIXES, TableFile
from supernet.data.types import LabelKind

_ROWS = 2000
"""Rows whose cells are looked at."""
_MOST = 0.9
"""Share of the cells that must be of a kind for a column to be of it; the rest may be missing or damaged."""
_TEXT_WORDS = 3
"""Mean number of words from which cells are texts; names of classes have one or two."""
_MANY_VALUES = 30
"""Distinct whole numbers from which a column measures something, if there are that many in `_ROWS` rows."""

_IMAGE_NAMES: Final = ("image", "img", "images", "path", "file", "filename", "filepath", "picture", "photo")
_TEXT_NAMES: Final = (
    "text", "sentence", "review", "content", "comment", "message", "question", "body", "tweet", "title",
)  # fmt: skip
_LABEL_NAMES: Final = (
    "label", "labels", "class", "category", "target", "y", "tag", "tags", "species", "sentiment", "rating", "score",
    "age",
)  # fmt: skip
_SPLIT_NAMES: Final = ("split", "subset", "set", "partition", "fold", "phase")
_GROUP_NAMES: Final = ("group", "patient", "subject", "user", "session", "scene", "video", "site", "customer", "author")
_WEIGHT_NAMES: Final = ("weight", "weights")
_LIST_SEPARATORS: Final = ("|", ";")
_UNSURE_SEPARATORS: Final = ("tags", "labels")
"""Names of columns in which a comma separates labels, too."""
_IDENTIFIERS: Final = ("id", "index", "idx", "uuid", "unnamed", "row", "number")


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """What the columns of a table hold.

    Attributes:
        keys: The keys of the section `data` that name them.
        kinds: The kinds of labels that they may hold, the likeliest first.
        is_text: Whether the examples are texts.
        in_cells: Whether the table holds the images themselves.
        unused: The names of the other columns.
    """

    keys: Mapping[str, Any]
    kinds: tuple[LabelKind, ...]
    is_text: bool
    in_cells: bool
    unused: tuple[str, ...]

    def describe(self) -> str:
        """What was taken for what, in one line."""
        taken = [f"{key.split('_')[0]} from {_listed(value)}" for key, value in self.keys.items() if key != "columns"]
        return f"columns: {', '.join(taken)}" + (f"; not used: {_listed(self.unused)}" if self.unused else "")


def table_files(folder: Path) -> list[Path]:
    """The tables in a folder and in the folders in it."""
    paths = (*folder.glob("*"), *folder.glob("*/*"))
    return sorted(path for path in paths if path.suffix.lower() in SUFFIXES and path.name[0] != ".")


def guess_columns(path: Path, labels: Sequence[str] = ()) -> Columns:
    """What the columns of the table in a file hold.

    Args:
        path: A CSV, TSV, JSON Lines or Parquet file.
        labels: The columns of labels, if the user named them.

    Raises:
        ConfigError: It is not clear which column holds what; the message names the columns.
        DataError: The file is damaged or empty.
    """
    file = TableFile(path=path, format=SUFFIXES[path.suffix.lower()])
    header = _invented_header(file)
    if header is not None:
        file = TableFile(path=path, format=file.format, header=header)
    cells = first_cells(file, file.columns(), _ROWS)
    return _Guess(printable(str(path)), cells, labels).columns(header)


def first_cells(file: TableFile, names: Sequence[str], rows: int) -> dict[str, list[Any]]:
    """The cells of the first `rows` rows, by column. Raises `DataError` if there are none."""
    batch = next(_batches(file, names, rows), None)
    cells = {} if batch is None else {name: values.slice(0, rows).to_pylist() for name, values in batch.items()}
    if not cells or not all(cells.values()):
        raise DataError(f"{printable(str(file.path))}: holds no rows")
    return cells


def _batches(file: TableFile, names: Sequence[str], rows: int) -> Iterator[dict[str, Any]]:
    """The first batch; of Parquet, whose cells may be whole images, only `rows` of them are read."""
    if file.format != "parquet":
        yield from islice(file.batches(names), 1)
        return
    import pyarrow.parquet as pq

    with pq.ParquetFile(file.path) as opened:
        for batch in islice(opened.iter_batches(batch_size=rows, columns=list(names)), 1):
            yield {name: batch.column(name) for name in names}


def _invented_header(file: TableFile) -> tuple[str, ...] | None:
    """Names of the columns of a file whose first line is a row already: cells are paths, numbers or texts."""
    if file.format not in ("csv", "tsv"):
        return None
    names = file.columns()
    are_cells = [_is_number(name) or _is_image(name) or len(name.split()) > _TEXT_WORDS for name in names]
    if not any(are_cells):
        return None
    kinds = ["image" if _is_image(name) else "text" if len(name.split()) > _TEXT_WORDS else "label" for name in names]
    return tuple(kind if kinds.count(kind) == 1 else f"{kind}_{i + 1}" for i, kind in enumerate(kinds))


class _Guess:
    """The columns of one table.

    Args:
        where: Name of the file, for messages.
        cells: The cells of the first rows, by column.
        labels: The columns of labels, if the user named them.
    """

    def __init__(self, where: str, cells: Mapping[str, list[Any]], labels: Sequence[str]) -> None:
        self._where, self._cells, self._labels = where, cells, labels
        unknown = [name for name in labels if name not in cells]
        if unknown:
            raise ConfigError(f"{where}: has no column {unknown[0]!r:.80}; its columns: {_listed(list(cells))}")

    def columns(self, header: tuple[str, ...] | None) -> Columns:
        """What each column holds."""
        left = [name for name in self._cells if name not in self._labels]
        special = {
            "split_column": self._named(left, _SPLIT_NAMES, self._is_split),
            "group_column": self._named(left, _GROUP_NAMES, self._repeats),
            "weight_column": self._named(left, _WEIGHT_NAMES, self._are_numbers),
        }
        left = [name for name in left if name not in special.values()]
        images = [name for name in left if self._share(name, _is_image) >= _MOST]
        texts = [] if images else [name for name in left if self._words(name) >= _TEXT_WORDS]
        if not images and not texts:
            endings = " ".join(EXTENSIONS[:3])
            raise ConfigError(
                f"{self._where}: no column holds images (paths that end in {endings} ..., or bytes) or texts; its "
                f"columns: {_listed(list(self._cells))}"
            )
        example = _preferred(images, _IMAGE_NAMES) if images else _preferred(texts, _TEXT_NAMES, key=self._words)
        key = "image_column" if images else "text_column"
        names, kinds = self._label_columns([name for name in left if name not in (*images, example)])
        label: dict[str, Any] = {"label_column": names[0]} if len(names) == 1 else {"label_columns": list(names)}
        keys = {key: example, **label, **{k: name for k, name in special.items() if name}}
        return Columns(
            keys=keys | ({"columns": list(header)} if header else {}),
            kinds=kinds,
            is_text=not images,
            in_cells=bool(images) and not isinstance(_present(self._cells[example])[0], str),
            unused=tuple(name for name in self._cells if name not in (example, *names, *special.values())),
        )

    def _label_columns(self, left: Sequence[str]) -> tuple[Sequence[str], tuple[LabelKind, ...]]:
        if self._labels:
            return self._labels, self._kinds(self._labels)
        named = [name for name in left if set(words_of(name)) & set(_LABEL_NAMES)]
        useful = [name for name in left if not set(words_of(name)) & set(_IDENTIFIERS)]
        flags = [name for name in useful if self._share(name, _is_flag) == 1]
        if len(flags) > 1 and not named:
            return flags, ("classes",)
        chosen = named or useful or list(left)
        if len(chosen) != 1:
            found = f"its columns: {_listed(list(self._cells))}"
            what = "several columns may be the label" if chosen else "no column is left for the label"
            raise ConfigError(f"{self._where}: {what}; name it with --label COLUMN, or several; {found}")
        return chosen, self._kinds(chosen)

    def _kinds(self, names: Sequence[str]) -> tuple[LabelKind, ...]:
        if len(names) > 1:
            return ("classes",) if all(self._share(name, _is_flag) == 1 for name in names) else ("values",)
        cells = _present(self._cells[names[0]])
        if self._are_lists(names[0], cells):
            return ("classes",)
        if self._are_numbers(names[0]):
            numbers = {float(cell) for cell in cells}
            is_whole = all(number == int(number) for number in numbers)
            return ("class",) if is_whole and len(numbers) <= _MANY_VALUES else ("values",)
        return ("class",)

    def _are_lists(self, name: str, cells: Sequence[Any]) -> bool:
        separators = (*_LIST_SEPARATORS, *([","] if name.lower() in _UNSURE_SEPARATORS else []))
        return any(
            isinstance(cell, list) or (isinstance(cell, str) and any(one in cell for one in separators))
            for cell in cells
        )

    def _named(self, names: Sequence[str], words: Sequence[str], fits: Any) -> str | None:
        """The first of the columns that are named so and whose cells fit."""
        return next((name for name in names if set(words_of(name)) & set(words) and fits(name)), None)

    def _is_split(self, name: str) -> bool:
        return self._share(name, lambda cell: split_of_word(str(cell).strip().lower()) is not None) == 1

    def _repeats(self, name: str) -> bool:
        cells = _present(self._cells[name])
        return len({str(cell) for cell in cells}) < len(cells)

    def _are_numbers(self, name: str) -> bool:
        return self._share(name, _is_number) == 1

    def _share(self, name: str, holds: Any) -> float:
        cells = _present(self._cells[name])
        return sum(map(holds, cells)) / len(cells) if cells else 0.0

    def _words(self, name: str) -> float:
        cells = _present(self._cells[name])
        lengths = [len(cell.split()) for cell in cells if isinstance(cell, str)]
        return sum(lengths) / len(lengths) if lengths else 0.0


def _present(cells: Sequence[Any]) -> list[Any]:
    return [cell for cell in cells if cell is not None and cell != ""]


def _is_image(cell: Any) -> bool:
    """Whether a cell is the path of an image, or one."""
    if isinstance(cell, dict):
        return isinstance(cell.get("bytes"), bytes)
    return isinstance(cell, bytes) or (isinstance(cell, str) and cell.lower().endswith(EXTENSIONS))


def _is_number(cell: Any) -> bool:
    if isinstance(cell, bool | list | dict):
        return False
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _is_flag(cell: Any) -> bool:
    return str(cell).strip().lower() in ("0", "1", "0.0", "1.0", "true", "false")


def _preferred(names: Sequence[str], words: Sequence[str], key: Any = None) -> str:
    named = [name for name in names if set(words_of(name)) & set(words)]
    return max(named or names, key=key) if key else (named or names)[0]


def _listed(names: Any) -> str:
    return listed([printable(name, 40) for name in names]) if isinstance(names, list | tuple) else printable(names, 40)
