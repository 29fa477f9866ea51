"""The reference of every key of the config, as Markdown: a rendering of the JSON Schema, so that it misses no key."""

from __future__ import annotations

import re
import sys
import textwrap
from collections.abc import Iterator
from typing import Any, Final

from factory_base.field_docs import summary
from factory_base.quantities import EXAMPLES
from model_factory.jobs.schema import config_schema
from supernet.data.sources import SOURCES

_WIDTH = 120  # columns of a line, as everywhere in the repository
_NOT_IN_ANCHORS = re.compile(r"[^\w\- ]")
_TYPES: Final = {"string": "text", "boolean": "`true` or `false`", "object": "a section", "null": "nothing"}
_SECTIONS: Final = {"array": "a list of sections", "object": "names, each with a section"}
_IMPORT_PATH = "package.module:callable"
_NUMBERS: Final = {"integer": "a whole number", "number": "a number"}

_HEAD = """# Every key of the config

Written by `make docs` from the typed config in the code: change the docstrings there, not this page.

A config is a YAML file, `factory.yaml`. [`factory init`](../README.md#bring-your-own-data) writes one for your data.
The error for an unknown key names the nearest known one. Quantities have units: `8 ms`, `64 MiB`, `60 M`. Limits on
numbers mostly catch typing errors.

`factory schema --output factory.schema.json` writes a JSON Schema. An editor with the YAML language server completes
and explains keys by it if the first line of the config is `# yaml-language-server: $schema=factory.schema.json`;
`factory init` writes both."""


def config_reference() -> str:
    """The page. Every key of every section, model space and task has an entry with its type, limits and default."""
    schema = config_schema()
    page = _Page(schema["$defs"])
    top = [_HEAD, "## The whole file", *page.entries(schema, "")]
    return "\n\n".join([*top, *page.sections(schema, "")]) + "\n"


class _Page:
    def __init__(self, definitions: dict[str, Any]) -> None:
        self._definitions = definitions

    def sections(self, schema: dict[str, Any], place: str) -> Iterator[str]:
        """The blocks of all sections below `place`, in the order of their keys."""
        for key, value in schema["properties"].items():
            for heading, _, name in self._parts(_joined(place, key), value):
                part = self._definitions[name]
                yield f"{'###' if place else '##'} {heading}"
                if part.get("description"):
                    yield from map(_filled, part["description"].split("\n\n"))
                yield from self.entries(part, heading)
                yield from _extras(heading)
                yield from self.sections(part, heading)

    def entries(self, schema: dict[str, Any], place: str) -> Iterator[str]:
        """A list with an entry for each key of a section."""
        required = schema.get("required", ())
        entries = [
            self._entry(key, value, _joined(place, key), required=key in required)
            for key, value in schema["properties"].items()
        ]
        yield "\n".join(entries)

    def _entry(self, key: str, value: dict[str, Any], place: str, *, required: bool) -> str:
        default, is_fixed = value.get("default"), "const" in value
        facts = [self._words(value, place)]
        if required:
            facts.append("required")
        elif default not in (None, [], {}) and not is_fixed:
            facts.append(f"default {_code(default)}")
        doc = "" if is_fixed else " ".join(value.get("description", "").split())
        text = f"- **`{key}`** ({'; '.join(facts)})"
        return _filled(f"{text}: {doc}" if doc else text, "  ")

    def _parts(self, place: str, value: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
        """The sections that may stand at `place`: heading, short label for links, and name of the definition."""
        found = list(self._references(value))
        for suffix, name in found:
            key, choice = next(iter(self._definitions[name]["properties"].items()))
            tag = choice.get("const") or _IMPORT_PATH
            several = len(found) > 1
            heading = f"{place}{suffix} ({key}: {tag})" if several else f"{place}{suffix}"
            yield heading, tag if several else heading, name

    def _references(self, value: dict[str, Any]) -> Iterator[tuple[str, str]]:
        if "$ref" in value:
            yield "", value["$ref"].rpartition("/")[2]
        for part in (*value.get("oneOf", ()), *value.get("anyOf", ())):
            yield from self._references(part)
        for mark, inner in (("[]", value.get("items")), (".NAME", value.get("additionalProperties"))):
            if isinstance(inner, dict):
                yield from ((mark + suffix, name) for suffix, name in self._references(inner))

    def _words(self, value: dict[str, Any], place: str) -> str:
        """What may stand there, in words."""
        if "enum" in value:
            return " or ".join(map(_code, value["enum"]))
        if "const" in value:
            return _code(value["const"])
        links = [f"[`{label}`](#{_anchor(heading)})" for heading, label, _ in self._parts(place, value)]
        options = [*value.get("anyOf", ()), *value.get("oneOf", ())]
        if links:
            others = [part for part in options if part.get("type") != "null" and not any(self._references(part))]
            names = "".join(f"{self._words(part, place)}, or " for part in others)
            return f"{names}{_SECTIONS.get(value.get('type', ''), 'a section')}, see {' or '.join(links)}"
        if options:
            words = [self._words(part, place) for part in options if part.get("type") != "null"]
            return words[0] if _example(options[0]) else " or ".join(dict.fromkeys(words))
        return self._plain_words(value, place)

    def _plain_words(self, value: dict[str, Any], place: str) -> str:
        kind = value.get("type", "")
        if "prefixItems" in value:
            parts = value["prefixItems"]
            return f"a list of {len(parts)}, each {self._words(parts[0], place)}"
        if kind == "array":
            return f"a list, each entry {self._words(value.get('items', {}), place)}"
        if kind == "object" and isinstance(value.get("additionalProperties"), dict):
            return f"names, each with {self._words(value['additionalProperties'], place)}"
        if kind in _NUMBERS:
            return _NUMBERS[kind] + _range(value)
        return _example(value) or _TYPES.get(kind, "anything")


def _extras(heading: str) -> Iterator[str]:
    """What belongs to a section beside its keys: the sources of data."""
    for name, load in SOURCES.items() if heading == "data" else ():
        yield f"### data (source: {name})"
        about, rules = summary(sys.modules[load.__module__]).split("\n\n"), summary(load).split("\n\n")
        yield from map(
            _filled, (about[0], *rules[1:])
        )  # the first of the rules says the same as the first of the module


def _example(value: dict[str, Any]) -> str | None:
    """A quantity in words, with an example."""
    return next((text.replace("'", "`") for kind, text in EXAMPLES.items() if kind == value.get("title")), None)


def _range(value: dict[str, Any]) -> str:
    low = value.get("minimum"), value.get("exclusiveMinimum")
    high = value.get("maximum"), value.get("exclusiveMaximum")
    if low[0] is not None and high[0] is not None:
        return f" from {_number(low[0])} to {_number(high[0])}"
    limits = (("at least", low[0]), ("above", low[1]), ("at most", high[0]), ("below", high[1]))
    parts = [f"{word} {_number(limit)}" for word, limit in limits if limit is not None]
    return f", {' and '.join(parts)}" if parts else ""


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:,.15g}"


def _code(value: Any) -> str:
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, float):
        return f"`{value:.6g}`"
    return f"`{value}`"


def _joined(place: str, key: str) -> str:
    return f"{place}.{key}" if place else key


def _anchor(heading: str) -> str:
    """The anchor that GitHub gives a heading."""
    return _NOT_IN_ANCHORS.sub("", heading.lower()).replace(" ", "-")


def _filled(text: str, indent: str = "") -> str:
    return textwrap.fill(text, _WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
