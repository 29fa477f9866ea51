"""What the code says about the fields of a document, for schemas and references that are generated from it."""

from __future__ import annotations

import ast
import inspect
import re
import sys
from functools import cache
from typing import Any

_ATTRIBUTE = re.compile(r"^ {4}(\w+): (.*)$")
_SECTION = re.compile(r"^(Attributes|Args|Raises|Returns):$")


def field_docs(document: type) -> dict[str, str]:
    """The documentation of each field of a class and its bases, one paragraph each, by the name of the field.

    A field is documented by a string below it, or by an entry in the section `Attributes` of the docstring of its
    class. Fields without documentation are missing.
    """
    found: dict[str, str] = {}
    for owner in reversed(document.__mro__):
        if "__annotations__" in vars(owner):
            found |= _listed_attributes(owner) | _strings_below(owner)
    return found


def summary(documented: object) -> str:
    """The docstring of a class, function or module up to its first section or example, each paragraph in one line."""
    kept = []
    for line in inspect.cleandoc(documented.__doc__ or "").splitlines():
        if _SECTION.match(line) or line.startswith(">>>"):
            break
        kept.append(line)
    return paragraphs("\n".join(kept))


def paragraphs(text: str) -> str:
    """`text` with each paragraph and each entry of a list in one line."""
    blocks = re.split(r"\n\s*\n|\n(?=- )", text.strip())
    return "\n\n".join(" ".join(block.split()) for block in blocks)


def _listed_attributes(owner: type) -> dict[str, str]:
    lines = inspect.cleandoc(owner.__doc__ or "").splitlines()
    found: dict[str, list[str]] = {}
    name = None
    for line in lines[lines.index("Attributes:") + 1 :] if "Attributes:" in lines else ():
        match = _ATTRIBUTE.match(line)
        if match:
            name = match[1]
            found[name] = [match[2]]
        elif line.startswith(" " * 8) and name:
            found[name].append(line.strip())
        elif line.strip():
            break
    return {name: " ".join(text) for name, text in found.items()}


def _strings_below(owner: type) -> dict[str, str]:
    written = _classes(owner.__module__).get(owner.__qualname__)
    if written is None:
        return {}
    found = {}
    for field, below in zip(written.body, written.body[1:], strict=False):
        text = below.value.value if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant) else None
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(text, str):
            found[field.target.id] = paragraphs(text)
    return found


@cache
def _classes(module: str) -> dict[str, ast.ClassDef]:
    """The top-level classes in the source of a module; empty if there is no source."""
    try:
        source: Any = inspect.getsource(sys.modules[module])
    except (OSError, KeyError, TypeError):
        return {}
    return {node.name: node for node in ast.parse(source).body if isinstance(node, ast.ClassDef)}
