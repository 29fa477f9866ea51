"""Tar shards as a source: labels, splits, groups and weights as from a table, images by their places in the shards."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from factory_base.documents import nearest
from factory_base.errors import ConfigError, DataError
from factory_base.foreign import printable
from supernet.data.config import DataConfig
from supernet.data.shards import find_shards
from supernet.data.source_splits import Source, SourceSplit, check_distinct
from supernet.data.split_names import listed
from supernet.data.table.cells import Texts
from supernet.data.table.examined import Examined, columns_in_use, examine
from supernet.data.table.json_lines import typed_arrays
from supernet.data.table.rows import Table, joined
from supernet.data.types import LabelKind, Rows
from supernet.data.webdataset.reader import TarReader, split_of_shards
from supernet.data.webdataset.shard import CLASS, TEXT, Sample, samples_in

_BATCH = 2**13  # samples whose cells are packed at a time


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _SampleFile:
    """A shard as a file of a table; see `supernet.data.table.rows.RowFile`.

    Attributes:
        path: The archive.
        keys: The key of each of its samples.
    """

    path: Path
    keys: Texts

    def places(self, rows: Sequence[int]) -> list[str]:
        """The names of `rows` for messages: their keys."""
        return [_name(self.path, self.keys[row]) for row in rows]


def load_webdataset_source(config: DataConfig, folder: Path, kind: LabelKind) -> Source:
    """The samples of the tar shards that `config` names; see `supernet.data.webdataset.shard` for what a sample is.

    Columns are the keys of the samples' JSON objects. The label is that under `label_column` if the first sample has
    such a key, else the content of its `.cls` file, else that of its `.txt` file.

    Args:
        config: The `data` section, with source `webdataset`.
        folder: Folder of the config file.
        kind: The kind of labels that the task learns.

    Raises:
        ConfigError: A shard or a column does not exist, or it is unclear which shards are the test data.
        DataError: A shard is damaged or truncated, or a sample has no image or no label; the message names it.
    """
    shards = find_shards(config, folder, (".tar",))
    check_distinct(shards.train, shards.test)
    index = _Index.of((*shards.train, *shards.test), config)
    examined = examine(index.table, index.config, kind, shards, None)
    return Source(
        train=_split(index, examined, examined.train),
        test=_split(index, examined, examined.test) if len(examined.test) else None,
        class_names=examined.labels.names,
        heldout=examined.heldout,
        group_names=examined.together.names,
        notes=examined.notes("images"),
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Index:
    """All samples of all shards.

    Attributes:
        table: The columns in use.
        config: The `data` section, with the column that holds the labels.
        shards: The archives.
        keys: The key of each sample.
        places: Where each image starts in its shard, and its size in bytes, `(count, 2)`.
    """

    table: Table
    config: DataConfig
    shards: tuple[Path, ...]
    keys: Texts
    places: NDArray[np.int64]

    @staticmethod
    def of(paths: Sequence[Path], config: DataConfig) -> _Index:
        """Read the names, labels and properties in all shards. Raises `ConfigError`, `DataError`."""
        first = next((sample for path in paths for sample in samples_in(path)), None)
        if first is None:
            raise DataError(f"{listed([printable(str(path)) for path in paths])}: holds no samples")
        config = config.model_copy(update={"label_column": _label_column(first, config, paths[0])})
        kinds: dict[str, type | None] = dict.fromkeys(columns_in_use(config))
        shards = [_Shard.of(path, config, kinds) for path in paths]
        columns = {name: joined(paths, name, [array for s in shards for array in s.columns[name]]) for name in kinds}
        table = Table(
            files=tuple(_SampleFile(path=shard.path, keys=shard.keys) for shard in shards),
            counts=tuple(len(shard.keys) for shard in shards),
            columns=columns,
        )
        return _Index(
            table=table,
            config=config,
            shards=tuple(paths),
            keys=Texts.joined([shard.keys for shard in shards]),
            places=np.concatenate([shard.places for shard in shards]),
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Shard:
    """The samples of one shard; the attributes are those of `_Index`, `columns` in parts."""

    path: Path
    keys: Texts
    places: NDArray[np.int64]
    columns: dict[str, list[Any]]

    @staticmethod
    def of(path: Path, config: DataConfig, kinds: dict[str, type | None]) -> _Shard:
        """Read one shard; updates `kinds`, the type of each column so far."""
        keys: list[str] = []
        places: list[tuple[int, int]] = []
        columns: dict[str, list[Any]] = {name: [] for name in kinds}
        for samples in _batches(path):
            keys += [sample.key for sample in samples]
            places += [_image(sample, path, config) for sample in samples]
            cells = [sample.cells for sample in samples]
            for name, array in typed_arrays(cells, kinds, _namer(path, samples)).items():
                columns[name].append(array)
        return _Shard(
            path=path, keys=Texts.of(keys), places=np.array(places, dtype=np.int64).reshape(-1, 2), columns=columns
        )


def _namer(path: Path, samples: Sequence[Sample]) -> Callable[[int], str]:
    return lambda index: _name(path, samples[index].key)


def _name(path: Path, key: str) -> str:
    return f"{printable(str(path))}, sample {printable(key)!r}"


def _batches(path: Path) -> Iterator[list[Sample]]:
    batch: list[Sample] = []
    for sample in samples_in(path):
        batch.append(sample)
        if len(batch) == _BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _label_column(first: Sample, config: DataConfig, path: Path) -> str:
    """The column that holds the labels, judged by the first sample."""
    columns = columns_in_use(config)
    known = [*first.cells]
    if not config.label_columns and "label_column" not in config.model_fields_set:
        usual = [name for name in (config.label_column, CLASS, TEXT) if name in known]
        if not usual:
            raise DataError(
                f"{_name(path, first.key)}: has no label; add a .cls, .txt or .json file to "
                "every sample, or name its key of the JSON object in 'label_column'"
            )
        columns = {**{name: key for name, key in columns.items() if name != config.label_column}, usual[0]: ""}
        config = config.model_copy(update={"label_column": usual[0]})
    for name, key in columns.items():
        if name not in known:
            shown = [printable(other, 80) for other in known]
            raise ConfigError(f"{_name(path, first.key)}: has no {name!r}; {nearest(name, shown)}; set '{key}'")
    return config.label_column


def _image(sample: Sample, path: Path, config: DataConfig) -> tuple[int, int]:
    """Where the image of a sample starts, and its size. Raises `DataError` unless there is exactly one."""
    wanted = config.image_column.lower() if "image_column" in config.model_fields_set else None
    found = [place for name, place in sample.images.items() if wanted in (None, name)]
    if len(found) == 1:
        return found[0]
    held = listed([printable(name) for name in (*sample.images, *sample.cells, *sample.others)]) or "nothing"
    problem = "several images" if found else "no image" if wanted is None else f"no image {wanted!r}"
    raise DataError(
        f"{_name(path, sample.key)}: has {problem}, but {held}; files of a sample follow each "
        "other, and one of them is the image, whose extension 'image_column' may name"
    )


def _split(index: _Index, examined: Examined, rows: Rows) -> SourceSplit:
    shard_of = np.repeat(np.arange(len(index.shards), dtype=np.int32), index.table.counts)
    reader = TarReader(
        shards=index.shards, shard_of=shard_of[rows], places=index.places[rows], keys=index.keys.at(rows)
    )
    return split_of_shards(reader, *examined.at(rows))
