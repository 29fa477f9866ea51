"""Parquet files of encoded images, as the `datasets` library writes them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from factory_base.documents import nearest
from factory_base.errors import ConfigError, DataError
from factory_base.progress import Progress, silent
from supernet.data.config import DataConfig
from supernet.data.images import allocate, decode, decode_many
from supernet.data.source_splits import Source, SourceSplit, check_distinct, checked_labels, located, numbered_names
from supernet.data.types import Images, Labels, Rows, chunk_length

_BATCH = 4096  # most encoded images in memory at a time; for images above 52 pixels, `chunk_length` is lower


def load_parquet_source(config: DataConfig, folder: Path) -> Source:
    """The images in the Parquet files that `config` names. A path is a file, a folder of `*.parquet` shards, or a glob.

    Shards in a folder that are named `train...` and `test...` (`train-00000-of-00002.parquet`) form the two splits;
    without such names all shards form one split. The image column holds bytes, or a struct with a field `bytes`. The
    label column holds integers, with the class names in the schema metadata (`huggingface`,
    `info.features.<label>.names`).

    Args:
        config: The `data` section, with source `parquet`.
        folder: Folder of the config file.

    Raises:
        ConfigError: A file does not exist, or it is unclear which shards are the test data.
        DataError: A file is not a Parquet file, lacks a column or has one of the wrong type, a label is out of range,
            or training and test classes differ.
    """
    train_paths, test_paths = _paths(config, folder)
    check_distinct(train_paths, test_paths)
    names = _class_names(train_paths, config)
    train = _source_split(train_paths, config, names)
    if not test_paths:
        return Source(train=train, test=None, class_names=names or numbered_names(train.labels))
    test_names = _class_names(test_paths, config)
    if test_names != names:
        raise DataError(
            f"{test_paths[0]}: classes {_class_list(test_names)} differ from the training data's {_class_list(names)}"
        )
    names = names or numbered_names(train.labels)
    return Source(train=train, test=_source_split(test_paths, config, names), class_names=names)


def _paths(config: DataConfig, folder: Path) -> tuple[list[Path], list[Path]]:
    by_split = _shards_by_split(located(config.path or "", folder), "path")
    test = _test_paths(config, folder)
    if "" in by_split:
        return by_split[""], test
    if "train" not in by_split:
        raise ConfigError(
            f"{config.path}: has shards of {', '.join(by_split)} but none of 'train'; name them in 'path'"
        )
    others = [name for name in by_split if name not in ("train", "test")]
    if others and not test and "test" not in by_split:
        raise ConfigError(
            f"{config.path}: has shards of 'train' and {others[0]!r} but none of 'test'; state which is the test data: "
            f"path: {config.path}/train*.parquet and test_path: {config.path}/{others[0]}*.parquet"
        )
    return by_split["train"], test or by_split.get("test", [])


def _test_paths(config: DataConfig, folder: Path) -> list[Path]:
    if config.test_path is None:
        return []
    by_split = _shards_by_split(located(config.test_path, folder), "test_path")
    found = by_split.get("test") or by_split.get("")
    if not found:
        raise ConfigError(f"{config.test_path}: has shards of {', '.join(by_split)} but none of 'test'; name the files")
    return found


def _shards_by_split(path: Path, key: str) -> dict[str, list[Path]]:
    """The shards of each split named in file names; all under "" for a file, a glob, or names without a split."""
    if not path.is_dir():
        return {"": _files(path, key)}
    files = _files(path / "*.parquet", key)
    by_split: dict[str, list[Path]] = {}
    for file in files:
        by_split.setdefault(file.stem.split("-")[0], []).append(file)
    return by_split if set(by_split) & {"train", "test"} else {"": files}


def _files(path: Path, key: str) -> list[Path]:
    wild = next((i for i, part in enumerate(path.parts) if any(c in part for c in "*?[")), None)
    if wild is None:
        found = [path] if path.is_file() else []
    else:
        found = [p for p in Path(*path.parts[:wild]).glob("/".join(path.parts[wild:])) if p.is_file()]
    if not found:
        raise ConfigError(f"{path}: no such file; set '{key}' to a .parquet file, a folder of them, or a glob")
    return sorted(found)


def _class_names(paths: list[Path], config: DataConfig) -> tuple[str, ...] | None:
    """The class names in the metadata of the first shard; None if there are none."""
    with _opened(paths[0]) as file:
        written = (file.schema_arrow.metadata or {}).get(b"huggingface")
    try:
        names = json.loads(written)["info"]["features"][config.label_column]["names"] if written else None
    except (ValueError, KeyError, TypeError):
        return None
    return tuple(str(name) for name in names) if isinstance(names, list) else None


def _class_list(names: tuple[str, ...] | None) -> str:
    return "without names" if names is None else f"[{', '.join(names)}]"


def _source_split(paths: list[Path], config: DataConfig, names: tuple[str, ...] | None) -> SourceSplit:
    count = None if names is None else len(names)
    labels = [_read_labels(path, config, count) for path in paths]
    where = str(paths[0]) if len(paths) == 1 else f"{paths[0].parent} ({len(paths)} shards)"
    shards = tuple((path, len(found)) for path, found in zip(paths, labels, strict=True))
    together = checked_labels(np.concatenate(labels), count, where)
    reader = _Reader(shards=shards, column=config.image_column)
    return SourceSplit(labels=together, read=reader, stream=reader.stream)


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
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            yield file
    except (pa.ArrowException, OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]  # messages of Arrow fill a page; the first line or two says it
        raise DataError(f"{path}: is not a readable Parquet file ({reason}); write it again") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reader:
    """Decodes rows of shards. See `supernet.data.types.Reader`.

    Row groups without a requested row are skipped; all others are read completely. That costs nothing for rows in
    order, but random rows, as in a training epoch, cost a row group each.

    Attributes:
        shards: Path and number of rows of each shard, in order.
        column: Name of the column of images.
    """

    shards: tuple[tuple[Path, int], ...]
    column: str

    def __call__(self, rows: Rows, size: int, progress: Progress) -> Images:
        images = allocate(len(rows), size)
        done = 0
        for chunk in self.stream(rows, size):
            images[done : done + len(chunk)] = chunk
            done += len(chunk)
            progress(done, len(rows), "images")
        return images

    def stream(self, rows: Rows, size: int) -> Iterator[Images]:
        """The images of `rows` in order, in chunks of some MiB."""
        first = 0
        for path, count in self.shards:
            start, stop = np.searchsorted(rows, (first, first + count))
            if start < stop:
                for names, encoded in self._batches(path, rows[start:stop] - first, min(_BATCH, chunk_length(size))):
                    yield _decode_batch(names, encoded, size)
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


def _decode_batch(names: list[str], encoded: list[bytes | None], size: int) -> Images:
    def one(index: int) -> Images:
        data = encoded[index]
        if data is None:
            raise DataError(f"{names[index]}: the image has no bytes; write the data set with embedded images")
        return decode(data, size, names[index])

    return decode_many(len(names), one, size, silent)
