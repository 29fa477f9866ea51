"""What a launch needs of a manifest for one model: files, samples, how its input is made, and what its outputs mean.

A manifest is foreign: every value is checked here, before anything is downloaded or removed for it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from .decoding import Decoding, decoding_of
from .files import FILE_NAME, MAX_NAME
from .inputs import InputForm, input_form
from .store import MANIFEST, PART
from .strict_json import take
from .tokens import TokenForm, token_form

MAX_MODEL_BYTES = 1 << 31
"""No ONNX file is larger: protobuf allows 2 GiB."""
MAX_OTHER_BYTES = 1 << 26
"""The largest file of labels, samples or a tokenizer: expected outputs of 50 models for 10,000 classes have 36 MB."""
MAX_SAMPLES = 64
"""Samples that a proof may run: a launch waits for it."""
MAX_BLOCKS = 1 << 12
"""Blocks of a file: more would not fit into a manifest."""
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class NeededFile:
    """A file of the release.

    Attributes:
        name: Its path below the manifest's folder.
        size: Its size in bytes.
        sha256: Its digest.
        block_bytes: The size of its blocks; 0 if the manifest states none.
        blocks: The digest of each block.
    """

    name: str
    size: int
    sha256: str
    block_bytes: int = 0
    blocks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Samples:
    """What a proof runs: `images` are PNG files to be preprocessed, `tensors` one file with `count` inputs."""

    kind: Literal["images", "tensors"]
    inputs: tuple[NeededFile, ...]
    count: int
    expected: NeededFile


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """All that a model needs.

    Attributes:
        model: Its id.
        files: Its files; the engine opens the first.
        labels: The labels; None if they are in `labels_file`.
        labels_file: The file with the labels.
        tokenizer: The file with the tokenizer; None if the model takes images.
        samples: The samples; None if the family has none.
        form: How pixels or tokens become its input.
        decoding: What its outputs mean.
    """

    model: str
    files: tuple[NeededFile, ...]
    labels: tuple[str, ...] | None
    labels_file: NeededFile | None
    tokenizer: NeededFile | None
    samples: Samples | None
    form: InputForm | TokenForm
    decoding: Decoding

    def needed(self, *, samples: bool) -> tuple[NeededFile, ...]:
        """The files to be stored, each once, with or without the samples."""
        others = [file for file in (self.labels_file, self.tokenizer) if file is not None]
        proof = [*self.samples.inputs, self.samples.expected] if samples and self.samples else []
        return tuple({file.name: file for file in (*self.files, *others, *proof)}.values())


def plan_model(manifest: dict[str, Any], name: str) -> Plan:
    """The plan for a model that the resolver chose.

    Raises:
        ValueError: The manifest lacks something or names a file that is not allowed.
    """
    model = take(manifest, dict, "models", name)
    task = take(manifest, dict, "task")
    text, listed = task.get("tokenizer") is not None, "labels_file" in task
    form = token_form(task, model) if text else input_form(task, model)
    plan = Plan(
        model=name,
        files=tuple(_file(file, MAX_MODEL_BYTES) for file in _some(model, "files")),
        labels=None if listed else label_names(take(manifest, list, "task", "labels")),
        labels_file=_file(task["labels_file"], MAX_OTHER_BYTES) if listed else None,
        tokenizer=_file(take(task, dict, "tokenizer", "file"), MAX_OTHER_BYTES) if text else None,
        samples=_samples(manifest.get("samples"), form),
        form=form,
        decoding=decoding_of(task),
    )
    _check_names(plan)
    return plan


def label_names(value: Any) -> tuple[str, ...]:
    """The names of the classes, in the order of the logits. Raises `ValueError` if they are not a list of texts."""
    if not isinstance(value, list) or not value or not all(isinstance(name, str) for name in value):
        raise ValueError("the labels are not a list of names; download the family again")
    return tuple(value)


def files_named(manifest: Any) -> Iterator[tuple[str, str, int]]:
    """The name, digest and size of every file that a manifest names in a form that is understood."""
    if isinstance(manifest, dict):
        name, digest, size = (manifest.get(key) for key in ("name", "sha256", "bytes"))
        if isinstance(name, str) and isinstance(digest, str) and isinstance(size, int):
            if FILE_NAME.fullmatch(name):
                yield name, digest, size
            return
    values = manifest.values() if isinstance(manifest, dict) else manifest if isinstance(manifest, list) else ()
    for value in values:
        yield from files_named(value)


def _samples(value: Any, form: InputForm | TokenForm) -> Samples | None:
    if value is None:
        return None
    kind, inputs = take(value, dict).get("kind", "images"), _some(value, "inputs")
    if kind == "tensors":
        inputs = [entry for entry in inputs if form.takes(entry)]
    elif kind != "images" or isinstance(form, TokenForm):
        raise ValueError("the manifest has samples of a kind that this program does not know; update the app")
    count = take(inputs, int, 0, "count") if kind == "tensors" else len(inputs)
    found = Samples(
        kind=kind,
        inputs=tuple(_file(entry, MAX_OTHER_BYTES) for entry in inputs[: 1 if kind == "tensors" else None]),
        count=count,
        expected=_file(value.get("expected"), MAX_OTHER_BYTES),
    )
    if not 0 < count <= MAX_SAMPLES or (kind == "tensors" and found.inputs[0].size != count * form.input_bytes):
        raise ValueError("the manifest has no usable samples.inputs; download the family again")
    return found


def _some(value: Any, key: str) -> list[Any]:
    """The list at `key`, which must not be empty."""
    found: list[Any] = take(value, list, key)
    if not found:
        raise ValueError(f"the manifest has no usable {key}.0; download the family again")
    return found


def _file(value: Any, limit: int) -> NeededFile:
    name, size, digest = take(value, str, "name"), take(value, int, "bytes"), take(value, str, "sha256")
    if not FILE_NAME.fullmatch(name) or len(name) > MAX_NAME or name == MANIFEST or name.endswith(PART):
        raise ValueError(f"the file name {name[:80]!r} is not allowed: it could lead out of the family")
    if not 0 < size <= limit or not _SHA256.fullmatch(digest):
        raise ValueError(f"the manifest has no usable size or digest of {name}; download the family again")
    block_bytes, blocks = _blocks(value.get("blocks"), size)
    return NeededFile(name=name, size=size, sha256=digest, block_bytes=block_bytes, blocks=blocks)


def _blocks(value: Any, size: int) -> tuple[int, tuple[str, ...]]:
    """The size and the digests of the blocks; 0 and none if they do not fit to the file, which works without them."""
    block, digests = (value.get("bytes"), value.get("sha256")) if isinstance(value, dict) else (0, ())
    if not isinstance(block, int) or block < 1 or not isinstance(digests, list):
        return 0, ()
    usable = all(isinstance(digest, str) and _SHA256.fullmatch(digest) for digest in digests)
    return (block, tuple(digests)) if usable and len(digests) == -(-size // block) <= MAX_BLOCKS else (0, ())


def _check_names(plan: Plan) -> None:
    """Raise `ValueError` if a name stands for two contents."""
    samples = [*plan.samples.inputs, plan.samples.expected] if plan.samples else []
    others = [file for file in (plan.labels_file, plan.tokenizer) if file is not None]
    files = [*plan.files, *others, *samples]
    if len({file.name for file in files}) < len({(file.name, file.sha256, file.size) for file in files}):
        raise ValueError("the manifest gives two files the same name; download the family again")
