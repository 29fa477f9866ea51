"""Files that people write: YAML in, a frozen Pydantic model out, and a clear one-line error if something is wrong."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar, get_args

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    GetJsonSchemaHandler,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic.fields import FieldInfo

from factory_base.errors import ConfigError, ForeignError
from factory_base.faults import limits_at, shown, value_fault
from factory_base.foreign import INT64, one_line, printable, read_regular
from factory_base.quantities import WITH_UNITS

_MAX_BYTES = 4 * 2**20
"""Far more than a person writes; a latency table, which is larger, is JSON."""
_MAX_DEPTH, _MAX_VALUES = 50, 100_000
"""Limits on nesting, of which our own files need less than 10 levels, and on values, each alias counted as all that it
stands for."""
_INTEGER_CHARACTERS = 80
"""As many as 64 bits take in base 2, with underscores."""
_OCTAL = re.compile(r"[-+]?0[0-7_]+")


class Document(BaseModel):
    """Base class of whatever is read from a file that people write. It refuses unknown keys, and is frozen."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, validate_by_name=True)

    @field_validator("*", mode="before")
    @classmethod
    def _is_no_number(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuse `yes` and `true`, which Python takes for the number 1, where a number is expected."""
        values = value if isinstance(value, list) else (value,)
        if any(isinstance(one, bool) for one in values):
            field = cls.model_fields[str(info.field_name)]
            if not {bool, Any} & set(_types(field.annotation)):
                raise ValueError(f"must not be true or false, got {shown(value)}")
        return value

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: Any, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """The JSON Schema of the class, in which the descriptions are the documentation in the code."""
        from factory_base.field_docs import field_docs, summary

        written = handler(schema)
        described = handler.resolve_ref_schema(written)
        described["description"] = summary(cls)
        described.pop("title", None)
        docs = field_docs(cls)
        for name, field in cls.model_fields.items():
            if (value := described.get("properties", {}).get(field.alias or name)) is not None:
                _describe_property(value, docs.get(name), field)
        return written


def _describe_property(value: dict[str, Any], doc: str | None, field: FieldInfo) -> None:
    """Give the schema of a property its documentation and, for a quantity, the default as files hold it."""
    if value.get("title", "").istitle():  # the name of the field, from which pydantic makes a title
        del value["title"]
    if "$ref" in value:  # the defaults of a section are those of its own fields
        value.pop("default", None)
    if isinstance(value.get("default"), int | float) and value.get("type") == "string":
        annotated = TypeAdapter(field.rebuild_annotation())
        value["default"] = annotated.dump_python(field.default, context=WITH_UNITS)
    if doc is not None:
        value["description"] = doc


D = TypeVar("D", bound=Document)

_MAX_FAULTS = 100
"""Unknown keys for which the nearest known key is looked for: far more than are shown."""


@dataclass(frozen=True, slots=True)
class Handling:
    """Marks a field that says how work is done, not what comes out: results do not depend on it.

    For example where a study is stored, how often states are saved, or whether decoded images are kept in memory.
    """


HANDLING: Final = Handling()
"""The mark: `workers: Annotated[int, HANDLING] = 0`."""


@dataclass(frozen=True, slots=True)
class Added:
    """Marks a field that the first configs did not have.

    At its default it is left out of keys, so those of earlier runs, which knew no such field, stay as they were.
    """


ADDED: Final = Added()
"""The mark: `fitting: Annotated[Fitting, ADDED] = "squash"`."""


def nearest(word: str, known: Iterable[str]) -> str:
    """A hint for a misspelt word: the nearest of the `known` words, or all of them if none is near."""
    options = sorted(known)
    match = _near(word, options)
    return f"did you mean {match[0]!r}?" if match else f"known: {', '.join(options) or 'none'}"


def _near(word: str, options: Sequence[str]) -> list[str]:
    return difflib.get_close_matches(word, options, n=1)


def shaping_values(document: BaseModel, *, exclude: Collection[str] = ()) -> dict[str, Any]:
    """The JSON values of `document` that shape a result, at any depth.

    All but the fields marked `HANDLING`, and those marked `ADDED` that have their default.

    Keys of cached stages are digests of these values.

    Args:
        document: A config or a section of one.
        exclude: Fields of `document` itself to leave out too.
    """
    values = document.model_dump(mode="json", exclude=set(exclude))
    for name, field in type(document).model_fields.items():
        is_at_default = ADDED in field.metadata and getattr(document, name) == field.get_default(
            call_default_factory=True
        )
        if HANDLING in field.metadata or is_at_default:
            values.pop(name, None)
        elif name in values and isinstance(section := getattr(document, name), BaseModel):
            values[name] = shaping_values(section)
    return values


def load_yaml(path: Path) -> Any:
    """The YAML value in `path`: a regular file of at most 4 MiB whose mappings name each key once.

    Raises:
        ConfigError: The file is missing, unreadable, or not YAML; a key is repeated; an integer exceeds 64 bits or a
            number is not finite; the file is too large or nested too deep. The message names the line and column.
    """
    try:
        return yaml.load(read_regular(path, _MAX_BYTES).decode("utf-8"), Loader=_StrictLoader)
    except ForeignError as error:
        raise ConfigError(str(error)) from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is not UTF-8 text") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        problem = one_line(getattr(error, "problem", error))
        stated = problem if isinstance(error, _RefusedValueError) else f"is not valid YAML ({problem})"
        raise ConfigError(f"{path}{where}: {stated}") from error
    except ValueError as error:
        raise ConfigError(
            f"{path}: a value is not a valid date or number ({printable(str(error))}); put text in quotes"
        ) from error


class _RefusedValueError(yaml.MarkedYAMLError):
    """Valid YAML that is refused nevertheless."""


class _StrictLoader(yaml.SafeLoader):
    """Plain YAML values, without what hides a mistake or grows without bounds."""

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._depth = self._values = 0
        self._sizes: dict[int, int] = {}
        """The number of values below each finished node, by `id`."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """The next node; refuses deep nesting, and aliases that contain themselves or make too many values."""
        is_alias = self.check_event(yaml.AliasEvent)
        mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise _fault(f"is nested deeper than {_MAX_DEPTH} levels", mark)
        before = self._values
        node = super().compose_node(parent, index)
        self._depth -= 1
        if is_alias and id(node) not in self._sizes:
            raise _fault("an alias stands for a value that contains it", mark)
        self._values += self._sizes[id(node)] if is_alias else 1
        if self._values > _MAX_VALUES:
            raise _fault(f"holds more than {_MAX_VALUES:,} values, each alias counted as what it stands for", mark)
        self._sizes[id(node)] = self._values - before
        return node

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """The next mapping; refuses a key that is given twice. Keys that `<<` merges in may be given again."""
        node = super().compose_mapping_node(anchor)
        seen: dict[Any, int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag == "tag:yaml.org,2002:merge":
                continue
            value = self.construct_object(key)
            if value in seen:
                first = seen[value] + 1
                raise _fault(f"key {key.value!r} is given twice, first in line {first}", key.start_mark)
            seen[value] = key.start_mark.line
        return node

    def construct_bounded_int(self, node: yaml.ScalarNode) -> int:
        """An integer of at most 64 bits, whose notation cannot be misread."""
        _refuse_surprising(node)
        if len(node.value) > _INTEGER_CHARACTERS or (value := self.construct_yaml_int(node)) not in INT64:
            raise _fault(f"the integer {node.value[:40]} exceeds 64 bits", node.start_mark)
        return int(value)

    def construct_finite_float(self, node: yaml.ScalarNode) -> float:
        """A finite number, whose notation cannot be misread."""
        _refuse_surprising(node)
        value = float(self.construct_yaml_float(node))
        if not math.isfinite(value):
            raise _fault(f"the number {node.value[:40]} is not finite", node.start_mark)
        return value


_StrictLoader.add_constructor("tag:yaml.org,2002:int", _StrictLoader.construct_bounded_int)
_StrictLoader.add_constructor("tag:yaml.org,2002:float", _StrictLoader.construct_finite_float)


def _refuse_surprising(node: yaml.ScalarNode) -> None:
    """Refuse numbers that YAML 1.1 reads in base 60 or 8: `1:30` is 90, and `010` is 8."""
    base = 60 if ":" in node.value else 8 if _OCTAL.fullmatch(node.value) else None
    if base is not None:
        raise _fault(
            f"{printable(node.value, 40)} would be read in base {base}; write a decimal number, or text in quotes",
            node.start_mark,
        )


def _fault(problem: str, mark: yaml.Mark) -> _RefusedValueError:
    return _RefusedValueError(problem=problem, problem_mark=mark)


def load_document(path: Path, model: type[D]) -> D:
    """Read `path` as a `model`. Raises `ConfigError`."""
    return parse_document(load_yaml(path), model, str(path))


def parse_document(value: Any, model: type[D], source: str) -> D:
    """`value` as a `model`.

    Args:
        value: What the file holds, as the YAML reader returns it.
        model: The document class.
        source: Name of the file, for messages.

    Raises:
        ConfigError: `value` does not fit `model`. The message states every fault with its place, the value and what is
            allowed and, for an unknown key, the nearest known one.
    """
    if not isinstance(value, dict):
        raise ConfigError(f"{source}: holds {shown(value)}, expected keys: {', '.join(_keys_at(model, ()))}")
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise ConfigError.of_faults(source, _faults(error, model)) from error


def _faults(error: ValidationError, model: type[BaseModel]) -> list[str]:
    """A line for each fault, unknown keys first: they are what the user has to correct."""
    faults = sorted(error.errors(include_url=False), key=lambda fault: fault["type"] != "extra_forbidden")
    meant = {
        (*fault["loc"][:-1], near[0])
        for fault in faults[:_MAX_FAULTS]
        if fault["type"] == "extra_forbidden"
        and (near := _near(str(fault["loc"][-1]), _keys_at(model, fault["loc"][:-1])))
    }
    around = {fault["loc"][:end] for fault in faults for end in range(len(fault["loc"]))}
    # A misspelt key is reported twice, as unknown and as missing; a value of several types for each of them; and a list
    # with a wrong entry as too short as well.
    lines: dict[tuple[int | str, ...], str] = {}
    for fault in faults:
        if (fault["type"] == "missing" and fault["loc"] in meant) or (
            fault["type"] == "too_short" and fault["loc"] in around
        ):
            continue
        location, line = _location(fault["loc"]), _describe(dict(fault), model)
        # Of a number or a list of numbers, the number is what people write; of whole and other numbers, the latter.
        if location not in lines or not str(fault["loc"][-1]).startswith("tuple["):
            lines[location] = line
    return list(lines.values())


def _describe(fault: dict[str, Any], model: type[BaseModel]) -> str:
    location = _location(fault["loc"])
    place = printable(".".join(map(str, location)))
    if fault["type"] == "extra_forbidden":
        return f"unknown key '{place}'; {nearest(str(location[-1]), _keys_at(model, location[:-1]))}"
    if fault["type"] == "missing":
        return f"key '{place}' is missing"
    stated = value_fault(fault, _keys_at(model, location), limits_at(model, location))
    return f"'{place}': {stated}" if place else stated


def _location(parts: tuple[int | str, ...]) -> tuple[int | str, ...]:
    """The keys and positions that lead to a value, without the members of a union, which Pydantic names as well."""
    named = [part for part in parts if not (isinstance(part, str) and (part.startswith("<") or part == "[key]"))]
    while named and (named[-1] in ("int", "float") or str(named[-1]).startswith(("constrained-", "tuple["))):
        named.pop()
    return tuple(named)


def _keys_at(model: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    models = [model]
    for part in location:
        models = [m for owner in models for m in _models_in(owner, part)] or models
    return sorted({field.alias or name for m in models for name, field in m.model_fields.items()})


def _models_in(owner: type[BaseModel], part: int | str) -> list[type[BaseModel]]:
    fields = (field for name, field in owner.model_fields.items() if part in (name, field.alias))
    return [model for field in fields for model in _flatten(field.annotation)]


def _types(annotation: Any) -> Iterator[Any]:
    yield annotation
    for part in get_args(annotation):
        yield from _types(part)


def _flatten(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _flatten(part)]
