"""Traced parts in a file, so that another process needs neither PyTorch nor seconds to have them again.

The file is JSON. It holds a digest of itself, and one of all that shapes a workload: the choices and links of the model
space, the code that traces, the version of PyTorch, and a key of the caller for the code behind the model space.
"""

from __future__ import annotations

import importlib.metadata
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from device_profiles.workload.file_size import FileContent
from device_profiles.workload.link_parts import UNKNOWN
from device_profiles.workload.operators import KernelKind, Operator, Workload, totals_of
from device_profiles.workload.parts import ChainParts, Part
from factory_base.documents import Document, parse_document
from factory_base.errors import ConfigError, ForeignError, SpaceError
from factory_base.files import digest_of, sha256_bytes, sha256_file, write_text
from factory_base.foreign import INT64, parse_json, read_regular
from supernet.chain import ChainModelSpace

_MAX_BYTES, _MAX_VALUES = 256 * 2**20, 20_000_000
"""Limits of a file: two hundred thousand parts, the most that are enumerated, with some fifty numbers each."""

_TRACING = ("*.py", "../../supernet/sharing/blueprint.py", "../../supernet/sharing/meta_calls.py")
"""The code that turns a model space into workloads: this folder, and what it uses to build and run networks."""

_Count = Annotated[int, Field(ge=0, lt=INT64.stop)]
_Shape = tuple[_Count, ...]


class _StoredWorkload(Document):
    """A workload. Its operators are numbers in the file's list; what follows from the operators is left out."""

    operators: tuple[_Count, ...]
    weight_elements: _Count
    arena_elements: _Count
    input_elements: _Count
    input_shape: _Shape
    output_shape: _Shape
    fp32_bytes: _Count
    fp16_bytes: _Count
    int8_bytes: _Count
    int8_weights_bytes: _Count


class _StoredPart(Document):
    """A part. `taken` are the indices of its subnet's options other than 0, each after the index of its choice."""

    workload: _StoredWorkload
    input_shape: _Shape
    link: _Count
    taken: tuple[tuple[_Count, _Count], ...]


class _StoredParts(Document):
    """The content of a file. `tables` are the numbers of the parts, link by link, as in `LinkParts.table`."""

    format: Literal[1] = 1
    origin: str
    operators: tuple[tuple[KernelKind, _Count, _Count, _Count, _Count], ...]
    largest: _StoredWorkload
    parts: tuple[_StoredPart, ...]
    tables: tuple[tuple[Annotated[int, Field(ge=UNKNOWN, lt=INT64.stop)], ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class KnownParts:
    """What `read_parts` found.

    Attributes:
        parts: The parts, by number.
        tables: The numbers of the parts, link by link, as in `LinkParts.table`.
        largest: The workload of the largest network, traced as a whole.
    """

    parts: tuple[Part, ...]
    tables: tuple[tuple[int, ...], ...]
    largest: Workload


def write_parts(path: Path, chain: ChainParts, largest: Workload, model_space: ChainModelSpace, key: str) -> None:
    """Write the parts that `chain` has traced to `path`, atomically.

    Args:
        path: The file.
        chain: The parts.
        largest: The workload of the largest network, traced as a whole.
        model_space: The model space of `chain`.
        key: Identifies the code and the options behind the model space.

    Raises:
        DiskError: The file cannot be written.
    """
    numbers: dict[Operator, int] = {}
    names = [link.name for link in chain.links]
    content = {
        "format": 1,
        "origin": _origin(model_space, key),
        "largest": _stored(largest, numbers),
        "parts": [
            {
                "workload": _stored(part.workload, numbers),
                "input_shape": part.input_shape,
                "link": names.index(part.link),
                "taken": [[c, index] for c, index in enumerate(model_space.space.encode(part.subnet)) if index],
            }
            for part in chain.parts
        ],
        "operators": [[o.kind, o.macs, o.input_elements, o.output_elements, o.weight_elements] for o in numbers],
        "tables": chain.tables(),
    }
    text = json.dumps(content, separators=(",", ":"), sort_keys=True)
    write_text(path, f'{{"content":{text},"digest":"{sha256_bytes(text.encode())}"}}\n')


def read_parts(path: Path, model_space: ChainModelSpace, key: str) -> KnownParts | None:
    """Return the parts in `path`; None if it was damaged or edited, or holds those of something else, or is missing.

    Args:
        path: The file.
        model_space: The model space whose parts are wanted.
        key: As for `write_parts`.
    """
    try:
        data = read_regular(path, _MAX_BYTES)
        value = parse_json(data, str(path), max_bytes=_MAX_BYTES, max_values=_MAX_VALUES)
        content = value["content"]
        text = json.dumps(content, separators=(",", ":"), sort_keys=True)
        if value["digest"] != sha256_bytes(text.encode()) or content["origin"] != _origin(model_space, key):
            return None
        return _restored(parse_document(content, _StoredParts, str(path)), model_space)
    except (ForeignError, ConfigError, SpaceError, LookupError, TypeError):
        return None


def _restored(stored: _StoredParts, model_space: ChainModelSpace) -> KnownParts:
    operators = [
        Operator(kind=kind, macs=macs, input_elements=read, output_elements=written, weight_elements=weights)
        for kind, macs, read, written, weights in stored.operators
    ]
    space, links = model_space.space, model_space.links
    parts = []
    for part in stored.parts:
        taken = dict(part.taken)
        vector = tuple(taken.get(column, 0) for column in range(len(space.choices)))
        workload = _workload(part.workload, operators)
        link = links[part.link].name
        parts.append(Part(workload=workload, input_shape=part.input_shape, link=link, subnet=space.decode(vector)))
    if any(number >= len(parts) for table in stored.tables for number in table):
        raise IndexError("a table names a part that is not there")
    return KnownParts(parts=tuple(parts), tables=stored.tables, largest=_workload(stored.largest, operators))


def _stored(workload: Workload, numbers: dict[Operator, int]) -> Mapping[str, Any]:
    return {
        "operators": [numbers.setdefault(operator, len(numbers)) for operator in workload.operators],
        "weight_elements": workload.weight_elements,
        "arena_elements": workload.arena_elements,
        "input_elements": workload.input_elements,
        "input_shape": workload.input_shape,
        "output_shape": workload.output_shape,
        "fp32_bytes": workload.file_content.fp32,
        "fp16_bytes": workload.file_content.fp16,
        "int8_bytes": workload.file_content.int8,
        "int8_weights_bytes": workload.file_content.int8_weights,
    }


def _workload(stored: _StoredWorkload, known: Sequence[Operator]) -> Workload:
    operators = tuple(known[number] for number in stored.operators)
    return Workload(
        operators=operators,
        macs=sum(operator.macs for operator in operators),
        weight_elements=stored.weight_elements,
        arena_elements=stored.arena_elements,
        input_elements=stored.input_elements,
        input_shape=stored.input_shape,
        output_shape=stored.output_shape,
        file_content=FileContent(
            fp32=stored.fp32_bytes,
            fp16=stored.fp16_bytes,
            int8=stored.int8_bytes,
            int8_weights=stored.int8_weights_bytes,
        ),
        totals=totals_of(operators),
    )


def _origin(model_space: ChainModelSpace, key: str) -> str:
    """The digest of all that shapes the workloads of `model_space`."""
    links = [[li.name, list(li.choices), li.depth_choice, li.exists_from] for li in model_space.links]
    return digest_of([key, model_space.space.to_json(), links, importlib.metadata.version("torch"), _tracing_code()])


@cache
def _tracing_code() -> str:
    folder = Path(__file__).parent
    return digest_of([sha256_file(path) for pattern in _TRACING for path in _matching(folder, pattern)])


def _matching(folder: Path, pattern: str) -> Sequence[Path]:
    return sorted(folder.glob(pattern)) if "*" in pattern else [folder / pattern]
