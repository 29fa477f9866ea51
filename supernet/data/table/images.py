"""The image files that the rows of a table name: their paths, and that all of them exist."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from factory_base.errors import DataError
from factory_base.foreign import printable
from supernet.data.table.rows import RowFile, Table, refuse, require_all

_PART = 4096  # files that a thread looks for before it takes others
_LISTED = 64  # files of one folder from which on the folder is listed
_THREADS = 16  # a file system in a network answers many questions at once
_ODD = r"(^|/)\.\.?(/|$)|//|/$"  # what a shorter path could say: `./a.png`, `b/../a.png`, `b//a.png`


class MissingFilesError(DataError):
    """Files that the rows of a table name do not exist.

    Args:
        message: The message.
        missing: The place of each such row and the path that it names, for people.
    """

    def __init__(self, message: str, missing: Sequence[tuple[str, str]]) -> None:
        super().__init__(message)
        self.missing = tuple(missing)


def image_paths(table: Table, name: str, root: Path) -> Any:
    """The paths that a column names, from `root` or absolute, as a `pyarrow.LargeStringArray`.

    Raises:
        DataError: A cell is missing, no text, or names something else than a file.
    """
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.types as kinds

    if not kinds.is_large_string(table.columns[name].type):
        raise DataError(
            f"{table.place(0)}: column {printable(name)!r} holds {table.columns[name].type}, expected paths of images; "
            "set 'image_column'"
        )
    require_all(table, name, "write the path of an image, or remove the row")
    url = np.flatnonzero(pc.match_substring(table.columns[name], "://").to_numpy(zero_copy_only=False))
    refuse(table, name, url, "which is not a path; download the images and write their paths")
    parts, first = [], 0
    for file, count in zip(table.files, table.counts, strict=True):
        parts.append(_from_root(table.columns[name].slice(first, count), root, file))
        first += count
    cells = pa.concat_arrays(parts)
    if pc.any(pc.match_substring_regex(cells, _ODD)).as_py():
        return pa.array([posixpath.normpath(cell.as_py()) for cell in cells], pa.large_string())
    return cells


def _from_root(cells: Any, root: Path, file: RowFile) -> Any:
    """`cells`, which start at the folder of `file`, as paths from `root`."""
    import pyarrow as pa
    import pyarrow.compute as pc

    folder = file.path.parent
    if folder == root:
        return cells
    start = folder.relative_to(root) if folder.is_relative_to(root) else folder.absolute()
    text = pa.large_string()
    joined = pc.binary_join_element_wise(pa.scalar(start.as_posix(), text), cells, pa.scalar("/", text))
    return pc.if_else(pc.starts_with(cells, "/"), cells, joined)


def check_exist(table: Table, name: str, root: Path) -> None:
    """Look for the files whose paths from `root` are in a column; nothing is read.

    Raises:
        MissingFilesError: Some do not exist; the error has all of them.
    """
    paths = table.columns[name]

    def missing_from(chosen: NDArray[np.int64]) -> list[int]:
        return _missing(root, list(zip(chosen.tolist(), paths.take(chosen).to_pylist(), strict=True)))

    with ThreadPoolExecutor(_THREADS) as pool:
        rows = sorted(row for found in pool.map(missing_from, _by_folder(paths)) for row in found)
    if not rows:
        return
    places = table.places(np.array(rows, dtype=np.int64))
    missing = [(place, printable(str(root / paths[row].as_py()))) for place, row in zip(places, rows, strict=True)]
    raise MissingFilesError(_complaint(missing, len(paths), paths[rows[0]].as_py()), missing)


def _by_folder(paths: Any) -> list[NDArray[np.int64]]:
    """All rows in parts of some thousands, in the order of their folders; the rows of one folder are in one part."""
    import pyarrow.compute as pc

    folders = pc.replace_substring_regex(paths, "[^/]*$", "").dictionary_encode()
    codes = folders.indices.to_numpy(zero_copy_only=False)
    starts = np.concatenate([[0], np.cumsum(np.bincount(codes))[:-1]])
    begins_part = np.diff(starts // _PART, prepend=0) > 0
    return np.split(np.argsort(codes, kind="stable"), starts[begins_part])


def _missing(root: Path, files: Sequence[tuple[int, str]]) -> list[int]:
    """The rows of `files`, which are in the order of their folders, that do not exist.

    Listing a folder takes a small part of the time of asking for each of its files, above all in a network. What is not
    in the list is asked for, since the file system decides which names are the same.
    """
    missing = []
    for folder, members in groupby(files, key=lambda file: posixpath.dirname(file[1])):
        found = list(members)
        listed = _names_in(root / folder) if len(found) >= _LISTED else set()
        asked = [(row, path) for row, path in found if posixpath.basename(path) not in listed]
        missing += [row for row, path in asked if not _exists(os.path.join(root, path))]  # noqa: PTH118 - fast
    return missing


def _names_in(folder: Path) -> set[str]:
    """Names in a folder, without links, which may lead nowhere; none if it cannot be listed."""
    try:
        with os.scandir(folder) as entries:
            return {entry.name for entry in entries if not entry.is_symlink()}
    except (OSError, ValueError):
        return set()


def _exists(path: str) -> bool:
    try:
        os.stat(path)  # noqa: PTH116 - a million times
    except (FileNotFoundError, NotADirectoryError):
        return False
    except (OSError, ValueError):  # no permission, or no name of a file: reading says so
        return True
    return True


def _complaint(missing: list[tuple[str, str]], total: int, path: str) -> str:
    hint = "; paths start at the folder of the table"
    if "\\" in path:
        hint = "; write / between folders, not \\"
    if len(missing) == total:
        return f"{missing[0][0]}: there is no file {missing[0][1]}, nor any that the other rows name{hint}"
    others = "" if len(missing) == 1 else f", nor those of {len(missing) - 1:,} more of {total:,} rows"
    return f"{missing[0][0]}: there is no file {missing[0][1]}{others}{hint}; add the files or remove the rows"
