"""Finds the samples of a tar archive, and where their images lie, without reading the images.

Files that follow each other and have the same path up to the first dot of their name form a sample; what follows that
dot says what each file is: `n01/0001.jpg`, `n01/0001.cls`, `n01/0001.json` are the image, class and properties of one.
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from factory_base.errors import DataError, FactoryError
from factory_base.foreign import one_line, printable
from supernet.data.formats import EXTENSIONS

CLASS, TEXT, PROPERTIES = "cls", "txt", "json"
"""Extensions of the files of a sample other than its image."""

_MOST_BYTES = 2**20  # of such a file: a label and some properties take a few hundred
_BLOCK = 512  # bytes: the unit of a tar archive
_MAGIC: Final = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7z": "xz", b"\x28\xb5": "zstd"}
"""How compressed files start."""


@dataclass(slots=True, kw_only=True)
class Sample:
    """One sample.

    Attributes:
        key: The shared part of the names of its files.
        cells: Its properties, and its class and text under `cls` and `txt`.
        images: Extension in lower case -> where the image starts in the archive, and its size, in bytes.
        others: Names of the files that are none of these.
    """

    key: str
    cells: dict[str, Any] = field(default_factory=dict)
    images: dict[str, tuple[int, int]] = field(default_factory=dict)
    others: list[str] = field(default_factory=list)


def samples_in(path: Path) -> Iterator[Sample]:
    """The samples of the archive `path` in order. Hidden files in it are skipped.

    Raises:
        DataError: The archive cannot be read, is compressed, damaged or truncated, or a label or property is not
            readable; the message names the file.
    """
    try:
        with path.open("rb") as stream:
            yield from _samples(path, stream)
    except (FactoryError, GeneratorExit):
        raise
    except OSError as error:
        raise DataError(f"{printable(str(path))}: cannot be read ({error.strerror or one_line(error)})") from error
    except Exception as error:  # besides its own errors, `tarfile` raises what the damage leads it to
        raise DataError(f"{printable(str(path))}: {_complaint(path, error)}") from error


def _samples(path: Path, stream: Any) -> Iterator[Sample]:
    sample = None
    with tarfile.open(fileobj=stream, mode="r:") as archive:
        while (member := archive.next()) is not None:
            archive.members.clear()  # type: ignore[attr-defined] # else it keeps all of them
            folder, slash, name = member.name.rpartition("/")
            if name.startswith(".") or member.isdir():
                continue
            stem, _, extension = name.partition(".")
            key = folder + slash + stem
            if sample is None or sample.key != key:
                if sample is not None:
                    yield sample
                sample = Sample(key=key)
            _add(sample, path, archive, member, extension)
        _check_end(path, stream, archive.offset)
    if sample is not None:
        yield sample


def _add(sample: Sample, path: Path, archive: tarfile.TarFile, member: tarfile.TarInfo, extension: str) -> None:
    kind = extension.lower()
    if not member.isreg() or member.issparse():
        sample.others.append(f"{extension} (a link or special file)")
    elif "." + kind.rpartition(".")[2] in EXTENSIONS:
        sample.images[kind] = (member.offset_data, member.size)
    elif kind in (CLASS, TEXT, PROPERTIES):
        sample.cells.update(_cells(f"{printable(str(path))}, file {printable(member.name)!r}", archive, member, kind))
    else:
        sample.others.append(extension)


def _cells(place: str, archive: tarfile.TarFile, member: tarfile.TarInfo, kind: str) -> dict[str, Any]:
    """The cells that one file of a sample gives."""
    if member.size > _MOST_BYTES:
        raise DataError(
            f"{place}: has {member.size:,} bytes, expected a label or properties of at most {_MOST_BYTES:,}"
        )
    stream = archive.extractfile(member)
    content = stream.read() if stream is not None else b""
    try:
        text = content.decode("utf-8").strip()
        if kind != PROPERTIES:
            is_number = kind == CLASS and text.removeprefix("-").isascii() and text.removeprefix("-").isdigit()
            return {kind: int(text) if is_number and len(text) < 19 else text}  # 18 digits fit in 64 bits
        value = json.loads(text)
    except ValueError as error:
        raise DataError(f"{place}: is not readable ({one_line(error)}); correct it") from error
    if not isinstance(value, dict):
        raise DataError(f"{place}: holds {printable(text, 60)}, expected a JSON object")
    return value


def _check_end(path: Path, stream: Any, offset: int) -> None:
    """Refuse an archive that does not end where its last file ends: `tarfile` takes damage for the end."""
    stream.seek(offset - offset % _BLOCK)
    blocks = stream.read(2 * _BLOCK)
    if len(blocks) < _BLOCK or blocks.strip(b"\0"):
        problem = "ends without the mark of its end, so it is truncated" if len(blocks) < _BLOCK else "is damaged"
        raise DataError(f"{printable(str(path))}: {problem} (at byte {offset:,}); write or copy it again")


def _complaint(path: Path, error: Exception) -> str:
    with path.open("rb") as stream:
        start = stream.read(3)
    packed = next((name for magic, name in _MAGIC.items() if start.startswith(magic)), None)
    if packed:
        return f"is compressed by {packed}, and could not be read at random; decompress it to a plain .tar"
    return f"is a damaged or truncated tar archive ({one_line(error)}); write or copy it again"
