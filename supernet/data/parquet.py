"""Parquet files of encoded images, as the `datasets` library writes them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from factory_base.documents import nearest
from factory_base.errors import DataError, FactoryError
from factory_base.foreign import one_line, parse_json, printable
from factory_base.progress import Progress, silent
from factory_base.wording import counted
from supernet.data.class_names import checked_class_names, same_class_names
from supernet.data.config import DataConfig
from supernet.data.decoding import decode, largest_sample
from supernet.data.image_form import ImageForm
from supernet.data.images import allocate, decode_many, largest_of
from supernet.data.shards import Shards, find_shards
from supernet.data.source_splits import (
    Source,
    SourceSplit,
    check_distinct,
    checked_labels,
    gives_one_class,
    numbered_names,
)
from supernet.data.split_names import listed, taken_note
from supernet.data.types import Images, LabelKind, Labels, Rows, chunk_length

_MOST_METADATA = 64 * 2**20  # bytes of schema metadata; names of a million classes take less
_SCAN = 256  # images whose largest sample is computed at a time
_BATCH = 4096  # most encoded images in memory at a time; for images above 52 pixels, `chunk_length` is lower


def load_parquet_source(config: DataConfig, folder: Path, kind: LabelKind) -> Source:
    """The images in the Parquet files that `config` names; see `supernet.data.shards.find_shards`.

    The image column holds bytes, or a struct with a field `bytes`. The label column holds integers, with the class
    names in the schema metadata (`huggingface`, `info.features.<label>.names`).

    Args:
        config: The `data` section, with source `parquet`.
        folder: Folder of the config file.
        kind: The kind of labels that the task learns.

    Raises:
        ConfigError: The task learns something else than one class, a file does not exist, or it is unclear which shards
            are the test data.
        DataError: A file is not a Parquet file, lacks a column or has one of the wrong type, a label is out of range,
            two classes have one name, or the classes of two files differ.
    """
    gives_one_class(kind, "parquet")
    shards = find_shards(config, folder)
    check_distinct(shards.train, shards.test)
    names = _class_names([*shards.train, *shards.test], config)
    train = _source_split(shards.train, config, names)
    names = names or numbered_names(train.labels, _where(shards.train))
    test = _source_split(shards.test, config, names) if shards.test else None
    test_data = _described(test, shards.test, shards) if test else None
    note = taken_note(_described(train, shards.train, shards), test_data, shards.unused)
    return Source(train=train, test=test, class_names=names, notes=(note, shards.note))


def _described(split: SourceSplit, paths: Sequence[Path], shards: Shards) -> str:
    names = [printable(str(shards.shown(path))) for path in paths]
    return f"{len(split.labels)} images in {counted(len(paths), 'file')} ({listed(names)})"


def _class_names(paths: Sequence[Path], config: DataConfig) -> tuple[str, ...] | None:
    """The class names in the metadata of the shards, which must be the same in all; None if there are none."""
    first = _names_in(paths[0], config)
    for path in paths[1:]:
        names = _names_in(path, config)
        if (first is None) != (names is None) or not same_class_names(first or (), names or ()):
            raise DataError(
                f"{path}: classes {_class_list(names)} differ from the training data's {_class_list(first)}; write all "
                "files with the same class names"
            )
    return first


def _names_in(path: Path, config: DataConfig) -> tuple[str, ...] | None:
    with _opened(path) as file:
        written = (file.schema_arrow.metadata or {}).get(b"huggingface")
    if not written:
        return None
    names = parse_json(written, f"{path}, metadata 'huggingface'", max_bytes=_MOST_METADATA)
    for key in ("info", "features", config.label_column, "names"):
        names = names.get(key) if isinstance(names, dict) else None
    if not isinstance(names, list):
        return None
    return checked_class_names([str(name) for name in names], printable(str(path)))


def _where(paths: Sequence[Path]) -> str:
    return str(paths[0]) if len(paths) == 1 else f"{paths[0].parent} ({len(paths)} shards)"


def _class_list(names: tuple[str, ...] | None) -> str:
    return "without names" if names is None else f"[{listed(names)}]"


def _source_split(paths: Sequence[Path], config: DataConfig, names: tuple[str, ...] | None) -> SourceSplit:
    count = None if names is None else len(names)
    labels = [_read_labels(path, config, count) for path in paths]
    shards = tuple((path, len(found)) for path, found in zip(paths, labels, strict=True))
    together = checked_labels(np.concatenate(labels), count, _where(paths))
    return _with_reader(together, _Reader(shards=shards, column=config.image_column))


def _with_reader(labels: Labels, reader: _Reader) -> SourceSplit:
    return SourceSplit(
        labels=labels,
        read=reader,
        stream=reader.stream,
        largest_samples=reader.largest_samples,
        at_depth=lambda depth: _with_reader(labels, replace(reader, depth=depth)),
    )


def _read_labels(path: Path, config: DataConfig, class_count: int | None) -> Labels:
    with _opened(path) as file:
        _check_columns(path, file.schema_arrow, config)
        column = file.read(columns=[config.label_column]).column(0)
    if column.null_count:
        row = column.is_null().to_pylist().index(True)
        raise DataError(f"{path}, row {row}: the label is missing; every image needs one")
    values: Labels = column.to_numpy()
    return values if class_count is None or not len(values) else checked_labels(values, class_count, str(path))


def _check_columns(path: Path, schema: Any, config: DataConfig) -> None:
    import pyarrow.types as kinds

    for key, column in (("image_column", config.image_column), ("label_column", config.label_column)):
        if column not in schema.names:
            raise DataError(f"{path}: has no column {column!r}; {nearest(column, schema.names)}; set '{key}'")
    label, image = schema.field(config.label_column).type, schema.field(config.image_column).type
    if not kinds.is_integer(label):
        raise DataError(f"{path}: column {config.label_column!r} holds {label}, expected integers; set 'label_column'")
    if kinds.is_struct(image) and image.get_field_index("bytes") >= 0:
        image = image.field("bytes").type
    if not (kinds.is_binary(image) or kinds.is_large_binary(image)):
        raise DataError(
            f"{path}: column {config.image_column!r} holds {image}, expected binary or a struct with binary 'bytes'; "
            "set 'image_column'"
        )


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """The opened Parquet file `path`. Raises `DataError` if it cannot be opened, or is damaged where it is read."""
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            yield file
    except FactoryError:
        raise
    except Exception as error:  # Arrow raises what the damage leads it to
        reason = one_line(error) or type(error).__name__
        raise DataError(f"{path}: is not a readable Parquet file ({reason}); write it again") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reader:
    """Decodes rows of shards. See `supernet.data.types.Reader`.

    Row groups without a requested row are skipped; all others are read completely. That costs nothing for rows in
    order, but random rows, as in a training epoch, cost a row group each.

    Attributes:
        shards: Path and number of rows of each shard, in order.
        column: Name of the column of images.
        depth: Number of bits that images of 16 bits use; None if it is not known.
    """

    shards: tuple[tuple[Path, int], ...]
    column: str
    depth: int | None = None

    def __call__(self, rows: Rows, form: ImageForm, progress: Progress) -> Images:
        images = allocate(len(rows), form)
        done = 0
        for chunk in self.stream(rows, form):
            images[done : done + len(chunk)] = chunk
            done += len(chunk)
            progress(done, len(rows), "images")
        return images

    def stream(self, rows: Rows, form: ImageForm) -> Iterator[Images]:
        """The images of `rows` in order, in chunks of some MiB."""
        first = 0
        for path, count in self.shards:
            start, stop = np.searchsorted(rows, (first, first + count))
            if start < stop:
                length = min(_BATCH, chunk_length(form))
                for names, encoded in self._batches(path, rows[start:stop] - first, length):
                    yield _decode_batch(names, encoded, form, self.depth)
            first += count

    def largest_samples(self) -> Iterator[int]:
        """See `SourceSplit.largest_samples`."""
        for path, count in self.shards:
            for _, encoded in self._batches(path, np.arange(count, dtype=np.int64), _SCAN):
                yield _largest_in(encoded)

    def _batches(self, path: Path, wanted: Rows, length: int) -> Iterator[tuple[list[str], list[bytes | None]]]:
        """Names and encoded bytes of the `wanted` rows of one shard, in order, at most `length` at a time."""
        with _opened(path) as file:
            groups, numbers = _groups_with(file.metadata, wanted)
            done = 0
            for batch in file.iter_batches(batch_size=length, row_groups=groups, columns=[self.column]):
                here = numbers[done : done + batch.num_rows]
                done += batch.num_rows
                start, stop = np.searchsorted(wanted, (here[0], here[-1] + 1))
                rows = wanted[start:stop]
                if not len(rows):
                    continue
                column = batch.column(0)
                column = column.field("bytes") if hasattr(column, "field") else column
                names = [f"{path}, row {row}" for row in rows]
                yield names, column.take(np.searchsorted(here, rows)).to_pylist()


def _groups_with(metadata: Any, wanted: Rows) -> tuple[list[int], Rows]:
    """The row groups that hold a `wanted` row, and the numbers of all their rows."""
    edges = np.cumsum([0, *(metadata.row_group(group).num_rows for group in range(metadata.num_row_groups))])
    groups = np.unique(np.searchsorted(edges, wanted, side="right") - 1)
    numbers = [np.arange(edges[group], edges[group + 1], dtype=np.int64) for group in groups]
    return groups.tolist(), np.concatenate(numbers)


def _largest_in(encoded: list[bytes | None]) -> int:
    return largest_of(range(len(encoded)), lambda index: largest_sample(encoded[index] or b""))


def _decode_batch(names: list[str], encoded: list[bytes | None], form: ImageForm, depth: int | None) -> Images:
    def one(index: int) -> Images:
        data = encoded[index]
        if data is None:
            raise DataError(f"{names[index]}: the image has no bytes; write the data set with embedded images")
        return decode(data, form, names[index], depth)

    return decode_many(len(names), one, form, silent)
