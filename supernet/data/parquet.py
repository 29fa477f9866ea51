"""Images whose bytes are in a column of Parquet files, and class names, as the `datasets` library writes both."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from factory_base.errors import DataError, FactoryError
from factory_base.foreign import one_line, parse_json, printable
from factory_base.progress import Progress, silent
from supernet.data.class_names import checked_class_names, same_class_names
from supernet.data.decoding import decode, largest_sample
from supernet.data.image_form import ImageForm
from supernet.data.images import allocate, decode_many, largest_of
from supernet.data.source_splits import SourceSplit
from supernet.data.split_names import listed
from supernet.data.types import Groups, Images, Labels, Rows, Weights, chunk_length

_MOST_METADATA = 64 * 2**20  # bytes of schema metadata; names of a million classes take less
_SCAN = 256  # images whose largest sample is computed at a time
_BATCH = 4096  # most encoded images in memory at a time; for images above 52 pixels, `chunk_length` is lower


def class_names(paths: Sequence[Path], column: str) -> tuple[str, ...] | None:
    """The names of the classes of which whole numbers in a column of labels are indices; None if no file states them.

    The `datasets` library writes them into the metadata of the schema: `huggingface`, `info.features.<column>.names`,
    or one level deeper for a column of lists.

    Args:
        paths: The Parquet files.
        column: The column of labels.

    Raises:
        DataError: A file cannot be read, two classes have one name, or the files state different names.
    """
    first = _names_in(paths[0], column)
    for path in paths[1:]:
        names = _names_in(path, column)
        if (first is None) != (names is None) or not same_class_names(first or (), names or ()):
            raise DataError(
                f"{path}: classes {_class_list(names)} differ from the training data's {_class_list(first)}; write all "
                "files with the same class names"
            )
    return first


def _names_in(path: Path, column: str) -> tuple[str, ...] | None:
    with _opened(path) as file:
        written = (file.schema_arrow.metadata or {}).get(b"huggingface")
    if not written:
        return None
    feature = parse_json(written, f"{path}, metadata 'huggingface'", max_bytes=_MOST_METADATA)
    for key in ("info", "features", column):
        feature = feature.get(key) if isinstance(feature, dict) else None
    if isinstance(feature, list) and feature:  # how older versions of the library write a list of labels
        feature = feature[0]
    if isinstance(feature, dict) and isinstance(feature.get("feature"), dict):
        feature = feature["feature"]
    names = feature.get("names") if isinstance(feature, dict) else None
    if not isinstance(names, list):
        return None
    return checked_class_names([str(name) for name in names], printable(str(path)))


def _class_list(names: tuple[str, ...] | None) -> str:
    return "without names" if names is None else f"[{listed(names)}]"


def split_of_embedded(
    reader: EmbeddedReader, labels: Labels, weights: Weights | None = None, groups: Groups | None = None
) -> SourceSplit:
    """The images that `reader` reads, with their labels; see `SourceSplit`."""
    return SourceSplit(
        labels=labels,
        read=reader,
        weights=weights,
        groups=groups,
        stream=reader.stream,
        largest_samples=reader.largest_samples,
        at_depth=lambda depth: split_of_embedded(replace(reader, depth=depth), labels, weights, groups),
    )


def holds_images(path: Path, column: str) -> bool:
    """Whether a column of a Parquet file, if it has one of that name, holds bytes, or a struct with a field `bytes`."""
    import pyarrow.types as kinds

    with _opened(path) as file:
        if column not in file.schema_arrow.names:
            return False
        kind = file.schema_arrow.field(column).type
    if kinds.is_struct(kind) and kind.get_field_index("bytes") >= 0:
        kind = kind.field("bytes").type
    return bool(kinds.is_binary(kind) or kinds.is_large_binary(kind))


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
class EmbeddedReader:
    """Decodes rows of shards. See `supernet.data.types.Reader`.

    Row groups without a requested row are skipped; all others are read completely. That costs nothing for rows in
    order, but random rows, as in a training epoch, cost a row group each.

    Attributes:
        shards: Path and number of rows of each shard, in order.
        column: Name of the column of images.
        chosen: Rows of the shards, counted through, that are the rows of this reader; None for all.
        depth: Number of bits that images of 16 bits use; None if it is not known.
    """

    shards: tuple[tuple[Path, int], ...]
    column: str
    chosen: Rows | None = None
    depth: int | None = None

    def __call__(self, rows: Rows, form: ImageForm, progress: Progress) -> Images:
        """The images at `rows`. Raises `DataError`."""
        images = allocate(len(rows), form)
        done = 0
        for chunk in self.stream(rows, form):
            images[done : done + len(chunk)] = chunk
            done += len(chunk)
            progress(done, len(rows), "images")
        return images

    def stream(self, rows: Rows, form: ImageForm) -> Iterator[Images]:
        """The images of `rows` in order, in chunks of some MiB."""
        rows = rows if self.chosen is None else self.chosen[rows]
        for path, wanted in self._by_shard(rows):
            for names, encoded in self._batches(path, wanted, min(_BATCH, chunk_length(form))):
                yield _decode_batch(names, encoded, form, self.depth)

    def largest_samples(self) -> Iterator[int]:
        """See `SourceSplit.largest_samples`."""
        rows = np.arange(sum(count for _, count in self.shards), dtype=np.int64) if self.chosen is None else self.chosen
        for path, wanted in self._by_shard(rows):
            for _, encoded in self._batches(path, wanted, _SCAN):
                yield _largest_in(encoded)

    def _by_shard(self, rows: Rows) -> Iterator[tuple[Path, Rows]]:
        """The shards that hold some of `rows` of all shards, and the rows in each."""
        first = 0
        for path, count in self.shards:
            start, stop = np.searchsorted(rows, (first, first + count))
            if start < stop:
                yield path, rows[start:stop] - first
            first += count

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
