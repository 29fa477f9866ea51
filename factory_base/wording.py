"""How texts for people are worded. Imports nothing, since every command needs it."""

from __future__ import annotations


def counted(number: int, noun: str, plural: str = "") -> str:
    """`1 row`, `2 rows`, `1,000 rows`, `2 classes` for the plural `classes`: a number of things for people."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def capitalised(words: str) -> str:
    """`words` with a capital letter at the start."""
    return words[:1].upper() + words[1:]
