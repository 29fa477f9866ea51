"""Reading and writing `manifest.json`: the rules for its encoding, its structure (`records`) and its references."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from exports.client.python.resolver import SUPPORTED_CRITICAL, SUPPORTED_MAJOR
from exports.family.records import FORMAT_VERSION, LABELS_FEATURE, MAX_INTEGER, SCHEMA_URN, Manifest, Tier
from exports.family.task_rules import AnswerKind, answer_kind, task_faults
from factory_base.errors import ForeignError, ManifestError
from factory_base.foreign import parse_json, printable, read_regular
from factory_base.wording import counted

FILE_NAME = "manifest.json"
SCHEMA_FILE = Path(__file__).with_name("manifest.schema.json")
EXAMPLE_MANIFEST = Path(__file__).with_name("manifest.example.json")
"""A manifest of two models, that of the demo cut to four tiers, for examples and for ports of the resolver. The files
that it names are not shipped."""
MAX_BYTES = 256 * 1024
"""The largest manifest that is read, so that a damaged or hostile file cannot fill an app's memory. A model takes
3 to 5 KiB, so it suffices for 50 models."""
MAX_DEPTH = 16
"""The deepest nesting of objects and lists that is read, so that no parser overflows its stack. Version 1 needs 7."""
_ANSWERS: Final[dict[AnswerKind, tuple[str, str]]] = {
    "classes": ("class", "classes"),
    "labels": ("label", "labels"),
    "values": ("value", "values"),
}
"""What the output has one value for, in the singular and the plural."""
FLOOR = "floor"
"""The id of the tier of rank 0."""


def manifest_path(path: Path) -> Path:
    """The file of a manifest: `path` itself, or `manifest.json` in the folder `path`."""
    return path / FILE_NAME if path.is_dir() else path


def read_manifest(path: Path) -> Manifest:
    """Read and check a manifest. The files that it names are not opened.

    >>> from exports import EXAMPLE_MANIFEST, read_manifest
    >>> manifest = read_manifest(EXAMPLE_MANIFEST)  # or a family's folder, such as Path("dist/digits")
    >>> for tier in manifest.tiers:
    ...     model = manifest.models[tier.models[0]]
    ...     print(tier.platform, tier.id, tier.models[0], model.files[0].bytes, model.quality.value_ppm / 1e6)
    any floor small 38981 0.982222
    android lowend_3gb large 293819 0.986667
    android midrange large 293819 0.986667
    linux_iot speaker small 38981 0.982222

    Args:
        path: The manifest or the family's folder.

    Raises:
        ManifestError: The manifest cannot be read, breaks a rule of the encoding, has another major version or an
            unknown critical feature, does not match the schema, or contradicts itself. The message is one line about
            the first fault.
    """
    return _checked(read_bytes(path), str(manifest_path(path)))


def read_manifest_value(path: Path) -> Any:
    """The JSON of a manifest that `read_manifest` accepts, for the resolver. Raises `ManifestError`."""
    data, source = read_bytes(path), str(manifest_path(path))
    _checked(data, source)
    return decode_json(data, source)


def _checked(data: bytes, source: str) -> Manifest:
    manifest = parse_manifest(data, source)
    for fault in reference_faults(manifest):
        raise ManifestError(f"{printable(source)}: {fault}")
    return manifest


def read_bytes(path: Path) -> bytes:
    """The bytes of a family's manifest, at most `MAX_BYTES` of them. Raises `ManifestError`."""
    file = manifest_path(path)
    try:
        return read_regular(file, MAX_BYTES, inside=file.parent)
    except ForeignError as error:
        raise ManifestError(f"{error}; name a family's folder or manifest") from error


def parse_manifest(data: bytes, source: str) -> Manifest:
    """Check encoding, version, critical features and structure, but not references.

    Args:
        data: The contents of the file.
        source: The name of the file in messages.

    Raises:
        ManifestError: See `read_manifest`.
    """
    value = decode_json(data, source)
    source = printable(source)
    _check_version(value, source)
    try:
        return Manifest.model_validate_json(data)
    except ValidationError as error:
        raise ManifestError(f"{source}: {first_fault(error)}") from error


def first_fault(error: ValidationError) -> str:
    """The first fault of a record in one line: its field, what is wrong, the offending value."""
    first = error.errors(include_url=False)[0]
    place = ".".join(printable(str(part), 80) for part in first["loc"]) or "the file"
    shown = "" if first["type"] == "missing" else f", got {_shorten(first['input'])}"
    what = first["msg"].removeprefix("Value error, ")
    return printable(f"'{place}': {what[0].lower()}{what[1:]}{shown}")


def decode_json(data: bytes, source: str) -> Any:
    """Decode JSON by the manifest's rules: those of `parse_json`, within the limits above and integers of +-(2^53-1).

    Args:
        data: The contents of the file.
        source: The name of the file in messages.

    Raises:
        ManifestError: A rule is broken; the message names the first.
    """
    try:
        value = parse_json(data, source, max_bytes=MAX_BYTES, max_depth=MAX_DEPTH)
    except ForeignError as error:
        raise ManifestError(str(error)) from error
    level = [value]
    while level:
        for item in level:
            if isinstance(item, int) and abs(item) > MAX_INTEGER:
                raise ManifestError(f"{printable(source)}: the integer {item} is outside +-(2^53-1)")
        lists = [item.values() if isinstance(item, dict) else item for item in level if isinstance(item, dict | list)]
        level = [item for items in lists for item in items]
    return value


def encode_manifest(manifest: Manifest, source: str) -> str:
    """The text of `manifest.json`: see `json_text`; fields without a value are left out.

    Args:
        manifest: The manifest.
        source: The name of the file in messages.

    Raises:
        ManifestError: The text breaks a rule that readers enforce, for example the limit of the size.
    """
    text = manifest_text(manifest)
    _checked(text.encode(), source)
    return text


def manifest_text(manifest: Manifest) -> str:
    """What `encode_manifest` returns, without its checks."""
    return json_text(manifest.model_dump(mode="json", by_alias=True, exclude_none=True))


def json_text(value: Mapping[str, Any]) -> str:
    """The JSON of a manifest with sorted keys: a line for each model and tier, so that two releases can be compared.

    One line per value would take a third more: 12 models with latencies on 12 devices would exceed 64 KiB.
    """
    return "{\n" + ",\n".join(f"{_json(key)}:{_lines(value[key])}" for key in sorted(value)) + "\n}\n"


def _lines(value: Any) -> str:
    if isinstance(value, dict) and value and all(isinstance(item, dict) for item in value.values()):
        return "{\n" + ",\n".join(f"{_json(key)}:{_json(value[key])}" for key in sorted(value)) + "\n}"
    if isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
        return "[\n" + ",\n".join(map(_json, value)) + "\n]"
    return _json(value)


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), sort_keys=True, ensure_ascii=False)


def manifest_schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of the manifest, which is shipped as `manifest.schema.json`."""
    schema = Manifest.model_json_schema(by_alias=True)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": SCHEMA_URN, **schema}


def reference_faults(manifest: Manifest) -> Iterator[str]:
    """One line for each way in which the manifest contradicts itself."""
    yield from _tier_faults(manifest.tiers)
    for tier in manifest.tiers:
        for name in tier.models:
            if name not in manifest.models:
                yield f"tier {tier.id!r} names the model {name!r}, which the manifest does not describe"
    yield from _file_faults(manifest)
    yield from _label_faults(manifest)
    yield from task_faults(manifest)
    evaluation = manifest.evaluation
    if evaluation is not None and set(evaluation.predictions) != set(manifest.models):
        yield "the models with predictions are not the models that the manifest describes"
    yield from _floor_faults(manifest)
    yield from _block_faults(manifest)
    yield from _class_faults(manifest)


def _floor_faults(manifest: Manifest) -> Iterator[str]:
    for floor in manifest.floors:
        if bool(floor.models) != (floor.action == "model"):
            count = counted(len(floor.models), "model")
            yield f"the floor of platform {floor.platform!r} has the action {floor.action!r} and {count}"
        for name in floor.models:
            if name not in manifest.models:
                place = f"the floor of platform {floor.platform!r}"
                yield f"{place} names the model {name!r}, which the manifest does not describe"
    if (twice := repeated([floor.platform for floor in manifest.floors])) is not None:
        yield f"platform {twice!r} has two floors"


def _block_faults(manifest: Manifest) -> Iterator[str]:
    for file in manifest.files():
        if file.blocks is not None and len(file.blocks.sha256) != -(-file.bytes // file.blocks.bytes):
            yield (
                f"the file {file.name!r} has {counted(len(file.blocks.sha256), 'block')} of {file.blocks.bytes:,} "
                f"bytes, which do not make {file.bytes:,} bytes"
            )


def _class_faults(manifest: Manifest) -> Iterator[str]:
    """Lists and indices of classes that do not fit the labels, which readers would take for others."""
    classes = manifest.task.output_count
    found = [("the number of test images", manifest.class_images)]
    if manifest.evaluation is not None:
        found.append(("the number of evaluated test images", manifest.evaluation.class_images))
    for name, model in manifest.models.items():
        quality = model.quality.classes
        if quality is not None:
            found.append((f"model {name!r}: its accuracy", quality.correct))
            if quality.worst.index >= classes:
                yield f"model {name!r}: its worst class has the index {quality.worst.index} of {classes:,}"
    for what, values in found:
        if values is not None and len(values) != classes:
            yield f"{what} per class is given for {len(values):,} classes, but the output has {classes:,}"


def _label_faults(manifest: Manifest) -> Iterator[str]:
    task = manifest.task
    if task.labels_file is not None:  # the file itself is checked by `labels.family_labels`
        if task.labels:
            yield "the labels are both in the manifest and in a file"
        if LABELS_FEATURE not in manifest.critical:
            yield f"the labels are in a file, but {LABELS_FEATURE!r} is not among the critical features"
    elif task.output_count != len(task.labels):
        yield (
            f"the output has {counted(task.output_count, *_ANSWERS[answer_kind(task)])}, "
            f"but there {'is' if len(task.labels) == 1 else 'are'} {counted(len(task.labels), 'label')}"
        )
    elif (name := repeated(task.labels)) is not None:
        yield f"two {_ANSWERS[answer_kind(task)][1]} have the label {name!r}"


def repeated(names: Sequence[str]) -> str | None:
    """The first name that was there before; None if all are distinct."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    return None


def _tier_faults(tiers: tuple[Tier, ...]) -> Iterator[str]:
    ids = [tier.id for tier in tiers]
    for name in sorted({name for name in ids if ids.count(name) > 1}):
        yield f"the tier id {name!r} is used twice"
    floors = [tier for tier in tiers if tier.rank == 0]
    if [(tier.id, tier.platform, tier.match) for tier in floors] != [(FLOOR, "any", ())]:
        yield f"there must be exactly one tier of rank 0, {FLOOR!r}, for platform 'any' and without selectors"
    for platform in sorted({tier.platform for tier in tiers}):
        ranks = sorted(tier.rank for tier in tiers if tier.platform == platform and tier.rank)
        if ranks != list(range(1, len(ranks) + 1)):
            yield f"the ranks of platform {platform!r} are {ranks}, expected each of 1 to {len(ranks)} once"


def _file_faults(manifest: Manifest) -> Iterator[str]:
    files = [file for model in manifest.models.values() for file in model.files] + list(manifest.task.files())
    if manifest.samples is not None:
        files += [*manifest.samples.inputs, manifest.samples.expected]
    if manifest.evaluation is not None:
        files += [manifest.evaluation.labels, *manifest.evaluation.predictions.values()]
    for file in files:
        if file not in manifest.files():
            yield f"the file {file.name!r} is described twice, with different contents"


def _check_version(value: Any, source: str) -> None:
    if not isinstance(value, dict) or not isinstance(value.get("manifest_version"), str):
        raise ManifestError(
            f"{source}: is not a manifest (it has no manifest_version); name a family's folder or manifest"
        )
    if value["manifest_version"].split(".")[0] != str(SUPPORTED_MAJOR):
        raise ManifestError(
            f"{source}: has the manifest version {_shorten(value['manifest_version'])}, this tool reads "
            f"{SUPPORTED_MAJOR}.x (and writes {FORMAT_VERSION}); use the tool that wrote it, or a newer one"
        )
    critical = value.get("critical", [])
    unknown = sorted({str(name) for name in critical} - SUPPORTED_CRITICAL) if isinstance(critical, list) else []
    if unknown:
        named = printable(", ".join(unknown), 200)
        raise ManifestError(f"{source}: needs the unknown features {named}; use a newer tool")


def _shorten(value: Any) -> str:
    """The value in about 60 characters, so that a message stays one line."""
    return printable(repr(value), 60)
