"""The fields that the records of the manifest share: bounded integers, names, files and their base class."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

MAX_INTEGER = 2**53 - 1
"""The largest integer that JSON readers with doubles, such as JavaScript, represent exactly (RFC 8259, section 6)."""
PPM = 1_000_000
"""Parts per million: an accuracy of 1."""
PPM_PER_POINT = 10_000
"""A percentage point in parts per million."""

Id = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_.\-]{0,63}$")]
"""A name that is safe in file names, URLs and log lines of all platforms; 64 characters keep such lines short."""
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
RelativePath = Annotated[
    str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.\-]*(/[A-Za-z0-9_][A-Za-z0-9_.\-]*)*$", max_length=255)
]
"""A path below the manifest's folder, without `..`; 255 bytes is the longest name of common file systems."""
Version = Annotated[str, Field(pattern=r"^[0-9]+(\.[0-9]+)*$", max_length=32)]
"""Dotted numbers. 32 characters hold every known version and bound the work of comparing them."""
Count = Annotated[int, Field(ge=0, le=MAX_INTEGER)]
Positive = Annotated[int, Field(ge=1, le=MAX_INTEGER)]
Byte = Annotated[int, Field(ge=0, le=255)]
Ppm = Annotated[int, Field(ge=0, le=PPM)]
SignedPpm = Annotated[int, Field(ge=-PPM, le=PPM)]
Score = Annotated[int, Field(ge=-MAX_INTEGER, le=PPM)]
"""A metric in parts per million, of which 1 is the best value; it may be below 0."""
Name = Annotated[str, Field(max_length=128)]
Basis = Literal["measured", "few_shot", "modelled", "assumed"]


class Record(BaseModel):
    """The base of every object of the manifest: frozen, without conversion of types; unknown fields are ignored."""

    model_config = ConfigDict(
        extra="ignore", frozen=True, strict=True, allow_inf_nan=False, validate_by_name=True, protected_namespaces=()
    )


class Blocks(Record):
    """The digests of a file's parts, so that a damaged part can be fetched again alone.

    Attributes:
        bytes: The size of a block; the last one may be shorter.
        sha256: The digest of each block.
    """

    bytes: Positive
    sha256: Annotated[tuple[Sha256, ...], Field(min_length=1, max_length=4096)]


class File(Record):
    """One file of the release. `name` is relative to the manifest's folder; small files have no blocks."""

    role: Id
    name: RelativePath
    bytes: Positive
    sha256: Sha256
    blocks: Blocks | None = None
