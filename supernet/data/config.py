"""The `data` section of a config: the source, its location, and how it is split."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, Self, get_args

from pydantic import Field, field_validator, model_validator

from factory_base.documents import ADDED, HANDLING, Document, nearest
from factory_base.quantities import SizeBytes
from supernet.data.ignoring import check_pattern
from supernet.data.image_form import Fitting, ImageForm
from supernet.data.normalising import Normalize

SourceName = Literal["digits", "folder", "npz", "parquet", "table", "webdataset"]
"""The built-in sources; `supernet.data.sources.SOURCES` holds their loaders."""

SOURCE_NAMES: Final[tuple[SourceName, ...]] = get_args(SourceName)
"""The values of `SourceName`."""

_SEARCHED: Final = ("folder", "parquet", "table")
"""The sources that find their files in a folder."""


Side = Annotated[int, Field(ge=4, le=1024)]
"""Height or width of images, in pixels."""


_TABLES: Final = ("table", "parquet")
_KEY_SOURCES: Final[dict[str, tuple[str, ...]]] = {
    "text_column": _TABLES,
    "columns": ("table",),
    **dict.fromkeys(
        ("label_columns", "label_separator", "split_column", "group_column", "weight_column"),
        (*_TABLES, "webdataset"),
    ),
}
"""Key -> the sources that have such columns."""


class DataConfig(Document):
    """Where images come from, how they are split and how they are cached.

    Limits on numbers only catch typing errors; the default fractions are the usual ones.

    Attributes:
        source: `digits` (embedded), `folder`, `table`, `parquet` (a table too), `npz`, or an import path
            `package.module:callable`.
        path: Location of the training data, relative to the config's folder. A folder, an archive or a set of Parquet
            shards whose names state `train` and `test` splits provides both.
        test_path: Location of the test data if `path` does not hold it. Without it, `test_fraction` of the data in
            `path` is set aside.
        image_size: Height and width in pixels to which every image is resized (bilinear with antialiasing), or
            `[height, width]` for images that are not square; 32 suits small images such as those of CIFAR-10.
        channels: 3 for images in colour (RGB), 1 for grey ones; pictures in colour become grey by their luma (ITU-R
            BT.601).
        fitting: How a picture of another aspect ratio becomes an image. `squash`: it is distorted. `crop`: the centre,
            as large as possible. `letterbox`: the whole picture, with grey borders at two sides. Apps do the same.
        image_column: Name of a table's column of images: paths that start at the folder of the table, or, in Parquet,
            the bytes of image files.
        label_column: Name of a table's column of labels.
        text_column: Name of a table's column of texts, in place of images.
        label_columns: Names of several columns of labels, in place of `label_column`: of 0 and 1 for several labels per
            example, or of numbers.
        label_separator: What separates the labels in a cell of `label_column`, for several labels per example. Default:
            the first of `|`, `;` and `,` that occurs in the column.
        split_column: Name of a table's column that states the split of each row, in the words `train`, `validation` and
            `test` or usual ones for them. Rows of the validation split are the held-out ones.
        group_column: Name of a table's column of what must not be on two sides of a split, such as the patient or the
            session. Held-out and test data are drawn by whole groups.
        weight_column: Name of a table's column of numbers above 0 that state how much each row counts.
        columns: Names of the columns of CSV and TSV files whose first line is a row already, in place of names.
        normalize: The mean and standard deviation with which images are normalised. `data`: those of the training
            images. `imagenet`, `inception` (-1 to 1) or a section with `mean` and `std`: those with which the initial
            weights were trained; a pretrained start sets it.
        heldout_fraction: Share of the training data that is held out: it guides the search and fits no weights.
        test_fraction: Share of the data in `path` set aside as test data; used only if the source has no test data.
        limit: Number of training images to use (a seeded draw), for quick experiments; at least 4: two images of
            each of two classes.
        ignore: Files and folders in the folder of the data that are not part of it: patterns of names (`*.txt`, `old*`)
            or of paths from that folder (`cats/draft_*`), with `*`, `?` and `[...]`. What systems leave behind
            (`Thumbs.db`, `desktop.ini`, `__MACOSX`, hidden files) is ignored anyway.
        small_classes: What happens to classes with too few images to be split, or fewer than `class_minimum`. `error`:
            they are refused. `drop`: their images are left out. `merge`: they become one class, `merged_class`.
        class_minimum: Least number of training images of a class; by default as many as the splits need: 2, or 3 if the
            test data are set aside from the training data.
        merged_class: Name of the class that small classes are merged into.
        options: Keyword arguments for a callable source; relative paths in them start at the config's folder, in which
            the callable runs.
        tokenizer: For texts, a `tokenizer.json` of the package `tokenizers`, relative to the config's folder. By
            default one is trained on the training texts, with as many tokens as the model has.
        length: Number of tokens of a text: longer ones are truncated. By default the largest length of the model.
        cache: Where decoded images are kept. `memory`: in memory, in every process. `disk`: in one file per split in
            the run folder, written once and read at random; it takes height * width * `channels` bytes per image and
            avoids decoding from then on. `none`: nowhere; an image is decoded whenever it is used. `auto`: `memory` up
            to `memory_limit`; above it `disk` if the source reads files and at least half of the free space remains
            free; else `none`. Unless the cache is `memory`, every image is read once per run before training, to
            compute the statistics and to find damaged images at once.
        memory_limit: Most memory that `auto` takes for decoded images, in each process; 4 GiB is half of a small
            machine.
        workers: Processes that prepare training batches in the background; 0 prepares them in the training process, in
            between the steps. Default: 0 for images in memory, else the number of cores less one.
    """

    source: str
    path: str | None = None
    test_path: str | None = None
    image_size: Side | Annotated[tuple[Side, ...], Field(min_length=2, max_length=2)] = 32
    channels: Annotated[Literal[1, 3], ADDED] = 3
    fitting: Annotated[Fitting, ADDED] = "squash"
    image_column: str = "image"
    label_column: str = "label"
    text_column: Annotated[str | None, ADDED] = None
    label_columns: Annotated[list[str] | None, ADDED] = Field(default=None, min_length=1)
    label_separator: Annotated[str | None, ADDED] = Field(default=None, min_length=1, max_length=8)
    split_column: Annotated[str | None, ADDED] = None
    group_column: Annotated[str | None, ADDED] = None
    weight_column: Annotated[str | None, ADDED] = None
    columns: Annotated[list[str] | None, ADDED] = Field(default=None, min_length=1)
    normalize: Annotated[Normalize, ADDED] = "data"
    heldout_fraction: float = Field(default=0.1, gt=0.0, le=0.5)
    test_fraction: float = Field(default=0.2, gt=0.0, le=0.5)
    limit: int | None = Field(default=None, ge=4, le=1_000_000_000)
    ignore: Annotated[tuple[str, ...], ADDED] = ()
    small_classes: Annotated[Literal["error", "drop", "merge"], ADDED] = "error"
    class_minimum: Annotated[int | None, ADDED] = Field(default=None, ge=2, le=1_000_000)
    merged_class: Annotated[str, ADDED] = "other"
    options: dict[str, Any] = Field(default_factory=dict)
    tokenizer: Annotated[str | None, ADDED] = None
    length: Annotated[int | None, ADDED] = Field(default=None, ge=1, le=65_536)
    cache: Annotated[Literal["auto", "memory", "disk", "none"], HANDLING] = "auto"
    memory_limit: Annotated[SizeBytes, HANDLING] = 4 * 2**30
    workers: Annotated[int | None, HANDLING] = Field(default=None, ge=0, le=256)

    @field_validator("source")
    @classmethod
    def _known_source(cls, source: str) -> str:
        module, colon, attribute = source.partition(":")
        if colon and (not attribute.isidentifier() or not all(part.isidentifier() for part in module.split("."))):
            raise ValueError(f"{source!r} is not an import path; write 'package.module:callable'")
        if not colon and source not in SOURCE_NAMES:
            raise ValueError(
                f"unknown source {source!r}; {nearest(source, [*SOURCE_NAMES, 'package.module:callable'])}"
            )
        return source

    @field_validator("image_size")
    @classmethod
    def _one_form_of_squares(cls, size: int | tuple[int, ...]) -> int | tuple[int, ...]:
        return size[0] if isinstance(size, tuple) and size[0] == size[1] else size

    @field_validator("ignore")
    @classmethod
    def _patterns(cls, patterns: tuple[str, ...]) -> tuple[str, ...]:
        for pattern in patterns:
            check_pattern(pattern)
        return patterns

    @field_validator("merged_class")
    @classmethod
    def _is_a_name(cls, name: str) -> str:
        if not name or name != name.strip() or not name.isprintable():
            raise ValueError(f"must be a name without spaces around it, got {name!r}")
        return name

    @model_validator(mode="after")
    def _paths_fit_source(self) -> Self:
        if self.needs_path and self.path is None:
            raise ValueError(f"set data.path to the location of your data, which source {self.source!r} needs")
        if not self.needs_path and (self.path is not None or self.test_path is not None):
            raise ValueError(f"source {self.source!r} takes neither 'path' nor 'test_path'; remove them")
        if self.options and not self.is_callable:
            raise ValueError(
                f"'options' are for a callable source 'package.module:callable', not for {self.source!r}; remove them"
            )
        if self.ignore and self.source not in _SEARCHED:
            raise ValueError(
                f"'ignore' is for sources that search a folder ({', '.join(_SEARCHED)}), not for {self.source!r}; "
                "remove it"
            )
        if self.channels == 1 and self.normalize != "data":
            raise ValueError("'normalize' states three channels, but 'channels' is 1; remove one of them")
        if self.merged_class != "other" and self.small_classes != "merge":
            raise ValueError("'merged_class' is for 'small_classes: merge'; add that, or remove it")
        if self.cache == "disk" and not self.needs_path:
            raise ValueError(f"'cache: disk' is for images in files, not for source {self.source!r}; remove it")
        return self

    @model_validator(mode="after")
    def _columns_fit_source(self) -> Self:
        given = [key for key, sources in _KEY_SOURCES.items() if getattr(self, key) and self.source not in sources]
        if given:
            raise ValueError(
                f"{given[0]!r} is for a table, not for source {self.source!r}; remove it, or set source: table"
            )
        if self.label_columns and "label_column" in self.model_fields_set:
            raise ValueError("'label_column' and 'label_columns' are both given; keep one of them")
        if self.text_column and "image_column" in self.model_fields_set:
            raise ValueError("'image_column' and 'text_column' are both given; keep one of them")
        if self.split_column and self.test_path:
            raise ValueError("'split_column' and 'test_path' both state the test data; keep one of them")
        repeated = [name for part in (self.label_columns, self.columns) for name in _repeated(part or [])]
        if repeated:
            raise ValueError(f"column {repeated[0]!r} is named twice; keep it once")
        return self

    @property
    def form(self) -> ImageForm:
        """The size and channels of all images, and how pictures are fitted."""
        height, width = self.image_size if isinstance(self.image_size, tuple) else (self.image_size, self.image_size)
        return ImageForm(height=height, width=width, channels=self.channels, fitting=self.fitting)

    @property
    def is_callable(self) -> bool:
        """Whether `source` is an import path."""
        return ":" in self.source

    @property
    def needs_path(self) -> bool:
        """Whether the source reads files whose location the config must give."""
        return not self.is_callable and self.source != "digits"


def _repeated(names: list[str]) -> list[str]:
    return [name for i, name in enumerate(names) if name in names[:i]]
