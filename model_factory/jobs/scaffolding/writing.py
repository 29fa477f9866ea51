"""Writes a config as YAML in which keys carry comments that say what to change."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

_COLUMN = 28
"""Where comments start, unless the value is longer."""
_WIDTH = 120
_INDENT = "  "


@dataclass(frozen=True, slots=True)
class Noted:
    """A value of a config with the comment that stands beside it."""

    value: Any
    note: str


Tree = dict[str, Any]
"""A config: key -> a value, a section or a list of sections, any of which may be `Noted`."""


def plain(tree: Any) -> Any:
    """`tree` without its comments."""
    if isinstance(tree, Noted):
        return plain(tree.value)
    if isinstance(tree, Mapping):
        return {key: plain(value) for key, value in tree.items()}
    return [plain(item) for item in tree] if isinstance(tree, list | tuple) else tree


def rendered(tree: Tree, head: Sequence[str]) -> str:
    """A config as YAML text, below the comment lines `head`."""
    lines = [f"# {part}" for line in head for part in textwrap.wrap(line, _WIDTH - 2, break_on_hyphens=False)]
    for key, value in tree.items():
        if isinstance(_value(value), dict | list):
            lines.append("")
        lines += _entry(key, value, "")
    return "\n".join(lines) + "\n"


def _entry(key: str, noted: Any, indent: str) -> list[str]:
    value, note = _value(noted), _note(noted)
    if isinstance(value, dict) and not indent:
        return [*_line(f"{key}:", note, indent), *(line for k in value for line in _entry(k, value[k], _INDENT))]
    if isinstance(value, list) and value and isinstance(_value(value[0]), dict):
        inner = indent + _INDENT
        items = [line for item in value for line in _line(f"{inner}- {flow(item)}", _note(item), inner)]
        return [*_line(f"{indent}{key}:", note, indent), *items]
    return _line(f"{indent}{key}: {flow(value)}", note, indent)


def flow(value: Any) -> str:
    """A value in one line of YAML."""
    text = yaml.safe_dump(plain(value), default_flow_style=True, width=10_000, allow_unicode=True, sort_keys=False)
    return text.removesuffix("\n").removesuffix("\n...")


def _line(text: str, note: str, indent: str) -> list[str]:
    """A line with its comment behind it, or above it if they do not fit into one."""
    if not note:
        return [text]
    beside = f"{text:<{_COLUMN - 2}}  # {note}"
    return [beside] if len(beside) <= _WIDTH else [f"{indent}# {note}", text]


def _value(noted: Any) -> Any:
    return noted.value if isinstance(noted, Noted) else noted


def _note(noted: Any) -> str:
    return noted.note if isinstance(noted, Noted) else ""
