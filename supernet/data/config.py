"""The `data` section of a config: which source, where it lies, how it is split."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, Self, get_args

from pydantic import Field, field_validator, model_validator

from factory_base.documents import HANDLING, Document, nearest
from factory_base.quantities import SizeBytes

SourceName = Literal["digits", "folder", "npz", "parquet"]
"""The sources that ship; `sources.SOURCES` has their loaders."""

SOURCE_NAMES: Final[tuple[SourceName, ...]] = get_args(SourceName)


class DataConfig(Document):
    """Where images come from.

    Attributes:
        source: `digits` (embedded), `folder`, `parquet`, `npz`, or an import path `package.module:callable`.
        path: training data, relative to the config's folder. A folder or a set of Parquet shards that holds `train` and
            `test` parts gives both.
        test_path: test data, where `path` does not hold it. Without any, `test_fraction` of `path` is set aside.
        image_size: every image is brought to this many pixels in height and width, ignoring its aspect ratio (RGB,
            bilinear with antialiasing).
        image_column: Parquet only.
        label_column: Parquet only.
        heldout_fraction: share of the training data that steers the search instead of fitting weights.
        test_fraction: share of `path` set aside as test data, used only where the source has no test data of its own.
        limit: use only this many training images (a seeded draw), for trials.
        options: keyword arguments of a callable source.
        cache: what is kept of decoded images. `memory`: all of them, in each process. `disk`: one file per part in the
            run folder, 3 bytes per pixel, written once and read at random; it costs the disk `image_size`^2 * 3 bytes
            per image and spares the decoding from then on. `none`: nothing, an image is decoded whenever it is used.
            `auto`: `memory` up to `memory_limit`; above it `disk`, where that leaves at least half of the free space
            free and the source is files; else `none`. Without `memory`, every image is read once before the training,
            for the statistics and so that damage is found at once; a run does that once.
        memory_limit: what `auto` may take for decoded images, in each process.
        workers: processes that prepare training batches in the background; 0 prepares them in between. Default: none
            for images in memory, else the number of cores less one.
    """

    source: str
    path: str | None = None
    test_path: str | None = None
    image_size: int = Field(default=32, ge=4, le=1024)
    image_column: str = "image"
    label_column: str = "label"
    heldout_fraction: float = Field(default=0.1, gt=0.0, le=0.5)
    test_fraction: float = Field(default=0.2, gt=0.0, le=0.5)
    limit: int | None = Field(default=None, ge=4)
    options: dict[str, Any] = Field(default_factory=dict)
    cache: Annotated[Literal["auto", "memory", "disk", "none"], HANDLING] = "auto"
    memory_limit: Annotated[SizeBytes, HANDLING] = 4 * 2**30
    workers: Annotated[int | None, HANDLING] = Field(default=None, ge=0, le=256)

    @field_validator("source")
    @classmethod
    def _known_source(cls, source: str) -> str:
        module, colon, attribute = source.partition(":")
        if colon and (not attribute.isidentifier() or not all(part.isidentifier() for part in module.split("."))):
            raise ValueError(f"{source!r} is no import path; write 'package.module:callable'")
        if not colon and source not in SOURCE_NAMES:
            raise ValueError(
                f"unknown source {source!r}; {nearest(source, [*SOURCE_NAMES, 'package.module:callable'])}"
            )
        return source

    @model_validator(mode="after")
    def _paths_fit_source(self) -> Self:
        if self.needs_path and self.path is None:
            raise ValueError(f"source {self.source!r} needs 'path', the place of its training data")
        if not self.needs_path and (self.path is not None or self.test_path is not None):
            raise ValueError(f"source {self.source!r} takes no 'path' and no 'test_path'; remove them")
        if self.options and not self.is_callable:
            raise ValueError(f"'options' go to a callable source 'package.module:callable', not to {self.source!r}")
        if self.cache == "disk" and not self.needs_path:
            raise ValueError(f"'cache: disk' is for images in files, not for source {self.source!r}; remove it")
        return self

    @property
    def is_callable(self) -> bool:
        """Whether `source` is an import path."""
        return ":" in self.source

    @property
    def needs_path(self) -> bool:
        """Whether the source reads files that the config must name."""
        return not self.is_callable and self.source != "digits"
