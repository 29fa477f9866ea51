"""Files and folders in the folder of a data set that are not part of it: what systems leave behind, and patterns."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path, PurePath
from typing import Final

from factory_base.foreign import printable
from factory_base.wording import counted

DROPPINGS: Final = ("thumbs.db", "ehthumbs.db", "desktop.ini", "__macosx", ".ds_store", ".ipynb_checkpoints")
"""Names in lower case that Windows, macOS and Jupyter leave in folders and archives."""


def is_dropping(name: str) -> bool:
    """Whether a file or folder of this name was left behind by a system: nothing of a data set changes with it."""
    return name.startswith("._") or name.lower() in DROPPINGS


def check_pattern(pattern: str) -> None:
    """Raise `ValueError` unless `pattern` can match: a name or a relative path, with `*`, `?` and `[...]`."""
    parts = pattern.split("/")
    if not pattern or "" in parts or "\\" in pattern or not {".", "..", "**"}.isdisjoint(parts):
        raise ValueError(
            f"pattern {printable(pattern, 60)!r} matches nothing; write a name (*.txt) or a path from the folder of "
            "the data (cats/draft_*), with *, ? and [...]"
        )


class Ignoring:
    """Tells which files and folders of a data set are ignored, and remembers those that a pattern matched.

    Args:
        roots: The folders from which paths are matched.
        patterns: Patterns that `check_pattern` accepts; one without `/` matches a name at any depth.
    """

    def __init__(self, roots: Sequence[Path], patterns: Sequence[str] = ()) -> None:
        self._roots = roots
        self._found: dict[str, set[Path]] = {pattern: set() for pattern in patterns}

    def ignores(self, path: Path) -> bool:
        """Whether a file or folder is hidden, was left behind by a system, or is matched by a pattern.

        The folder that holds it must not be ignored itself.
        """
        return path.name.startswith(".") or is_dropping(path.name) or self.matches(path)

    def matches(self, path: Path) -> bool:
        """Whether a pattern matches a file or folder."""
        if not self._found:
            return False
        below = [path.relative_to(root) for root in self._roots if path.is_relative_to(root)]
        matching = [pattern for pattern in self._found if any(_matches(one, pattern) for one in below)]
        for pattern in matching:
            self._found[pattern].add(path)
        return bool(matching)

    def note(self) -> str:
        """A line for people: how many files and whole folders each pattern matched; empty without patterns."""
        parts = [f"{printable(pattern)}: {_counted(found)}" for pattern, found in self._found.items()]
        return f"data: ignored by data.ignore: {'; '.join(parts)}" if parts else ""


def _matches(below: PurePath, pattern: str) -> bool:
    parts = pattern.split("/")
    if len(parts) == 1:
        return fnmatchcase(below.name, pattern)
    return len(parts) == len(below.parts) and all(map(fnmatchcase, below.parts, parts))


def _counted(found: set[Path]) -> str:
    folders = sum(path.is_dir() for path in found)
    parts = [(len(found) - folders, "file"), (folders, "folder")]
    return " and ".join(counted(number, noun) for number, noun in parts if number) or "nothing"
