"""How texts for people are worded. Imports nothing, since every command needs it."""

from __future__ import annotations


def counted(number: int, noun: str) -> str:
    """`1 row`, `2 rows`, `1,000 rows`: a number of things for people; the plural of `noun` ends in an s."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
