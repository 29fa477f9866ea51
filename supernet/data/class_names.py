"""Checks of class names, the same for every source: an app must be able to tell classes apart by their names."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

from factory_base.errors import DataError


def composed(name: str) -> str:
    """`name` in Unicode's composed form (NFC): file systems of macOS store names decomposed, others as they are."""
    return unicodedata.normalize("NFC", name)


def checked_class_names(names: Sequence[str], where: str) -> tuple[str, ...]:
    """`names` as they are.

    Args:
        names: The name of each class, in the order of the labels.
        where: The source of the names, for messages.

    Raises:
        DataError: A name is empty, cannot be written in one line of UTF-8 text, or belongs to two classes.
    """
    seen: dict[str, int] = {}
    for label, name in enumerate(names):
        if not name.strip() or not _is_text(name):
            raise DataError(f"{where}: class {label} is named {name!a:.200}; a name is one line of text; rename it")
        first = seen.setdefault(composed(name), label)
        if first != label:
            raise DataError(
                f"{where}: classes {first} and {label} are both named {name!r:.200}; an app could not tell them apart, "
                "so rename one"
            )
    return tuple(names)


def same_class_names(first: Sequence[str], second: Sequence[str]) -> bool:
    """Whether the names are the same in the same order, however their accents are stored."""
    return [composed(name) for name in first] == [composed(name) for name in second]


def similar_names_note(names: Sequence[str]) -> str | None:
    """A sentence that names two classes whose names differ only in case, width or spaces; None if there are none."""
    seen: dict[str, str] = {}
    for name in names:
        plain = " ".join(unicodedata.normalize("NFKC", name).casefold().split())
        other = seen.setdefault(plain, name)
        if other != name:
            return (
                f"data: classes {other!r} and {name!r} differ in little more than case or spaces and are kept apart; "
                "if they are one class, merge them"
            )
    return None


def _is_text(name: str) -> bool:
    """Whether `name` is without control characters, line breaks and bytes that are not UTF-8."""
    return not any(unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") for character in name)
