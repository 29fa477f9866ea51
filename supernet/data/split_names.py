"""Finds the split that a file, a folder or an array belongs to by the words in its name.

The words are those of the `datasets` library, and count only if they are delimited: `cars_train`, `Test-00000-of-00001`
and `train.0` name a split, `trains` and `contest` do not.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePath
from typing import Final, Literal

from factory_base.errors import ConfigError

SplitName = Literal["train", "validation", "test"]

_WORDS: Final[dict[SplitName, tuple[str, ...]]] = {
    "train": ("train", "training", "trainset", "trainval"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing", "testset", "eval", "evaluation"),
}
_SPLIT_OF_WORD: Final[dict[str, SplitName]] = {word: split for split, words in _WORDS.items() for word in words}
_CASE_CHANGE = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")  # `carsTrain` and `XTrain` are two words
_LETTERS = re.compile(r"[^\W\d_]+")  # anything else delimits a word: digits, `-`, `_`, `.`, spaces
_MOST_NAMES = 3  # names in a line; more would not fit


def words_of(name: str) -> list[str]:
    """The delimited words of a name in lower case: `x_Train0` -> `x`, `train`."""
    return [word.lower() for word in _LETTERS.findall(_CASE_CHANGE.sub(" ", name))]


def split_of_word(word: str) -> SplitName | None:
    """The split that a lower-case word names; None if it does not name one."""
    return _SPLIT_OF_WORD.get(word)


def split_of_name(name: str, where: str) -> SplitName | None:
    """The split that one name states; None if it states none.

    Raises:
        ConfigError: It states two; the message starts with `where`.
    """
    found = sorted({split for word in words_of(name) if (split := split_of_word(word))})
    if len(found) > 1:
        raise ConfigError(f"{where}: names the splits {' and '.join(found)} at once; {_SAY_WHICH}")
    return found[0] if found else None


def split_of_path(path: Path, root: Path) -> SplitName | None:
    """The split that the name of a file or of a folder between it and `root` states; None if none does.

    Raises:
        ConfigError: The names state different splits.
    """
    below = path.relative_to(root)
    names = (below.stem, *(parent.name for parent in below.parents))
    found = sorted({split for name in names if (split := split_of_name(name, str(path)))})
    if len(found) > 1:
        raise ConfigError(f"{path}: names the splits {' and '.join(found)} at once; {_SAY_WHICH}")
    return found[0] if found else None


def paths_by_split(paths: Iterable[Path], root: Path) -> dict[SplitName | None, list[Path]]:
    """`paths` grouped by the split that they name, in their order; under None those that name none.

    Raises:
        ConfigError: A path names two splits, or some paths name a split and others do not.
    """
    groups: dict[SplitName | None, list[Path]] = {}
    for path in paths:
        groups.setdefault(split_of_path(path, root), []).append(path)
    if None in groups and len(groups) > 1:
        known = ", ".join(str(split) for split in groups if split)
        raise ConfigError(
            f"{groups[None][0]}: names no split, but other files there name {known}; {_SAY_WHICH}, or rename the file"
        )
    return groups


def pattern_for(paths: Sequence[Path], others: Iterable[Path]) -> str | None:
    """A path or a glob that stands for `paths` and none of `others`; None if there is no simple one."""
    if len(paths) == 1:
        return str(paths[0])
    first, last = min(map(str, paths)), max(map(str, paths))
    shared = next(i for i, pair in enumerate(zip(first + "\0", last + "\1", strict=False)) if pair[0] != pair[1])
    pattern = first[:shared].rstrip("0123456789") + "*"
    return None if any(PurePath(other).match(pattern) for other in others) else pattern


def listed(names: Sequence[object]) -> str:
    """The first names of a list and the number of the others, for a line of text."""
    shown = ", ".join(str(name) for name in names[:_MOST_NAMES])
    return shown if len(names) <= _MOST_NAMES else f"{shown} and {len(names) - _MOST_NAMES} more"


def taken_note(train: str, test: str | None, unused: Sequence[object] = ()) -> str:
    """The line that says what was taken for what.

    Args:
        train: What the training and held-out images come from.
        test: What the test images come from; None if they are set aside from the training data.
        unused: Names of what lies there too and is not used.
    """
    drawn = "set aside from the same" if test is None else test
    return f"data: training: {train}; test: {drawn}" + (f"; not used: {listed(unused)}" if unused else "")


_SAY_WHICH = "say which data to use: set 'path' to the training data and 'test_path' to the test data"
