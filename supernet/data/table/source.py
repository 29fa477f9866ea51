"""A table as a source: rows of an image or a text, labels and, if there are such columns, splits, groups and weights.

`find_shards` names the files. `read_table` keeps the columns in use, packed. Splits, labels, weights and groups are
taken from them. The images stay where they are, in files of their own or in the table, until they are asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from factory_base.documents import nearest
from factory_base.errors import ConfigError
from factory_base.foreign import printable
from supernet.data.config import DataConfig
from supernet.data.folder import FileReader, split_of_files
from supernet.data.parquet import EmbeddedReader, class_names, holds_images, split_of_embedded
from supernet.data.shards import Shards, find_shards
from supernet.data.source_splits import Source, SourceSplit, check_distinct
from supernet.data.table.cells import Texts, check_texts
from supernet.data.table.examined import Examined, columns_in_use, examine
from supernet.data.table.images import check_exist, image_paths
from supernet.data.table.labels import label_columns
from supernet.data.table.reading import SUFFIXES, TableFile, TableFormat
from supernet.data.table.rows import Table, read_table
from supernet.data.text_source import TextSource, TextSplit
from supernet.data.types import LabelKind, Rows


def load_table_source(config: DataConfig, folder: Path, kind: LabelKind) -> Source:
    """The images that the rows of the files at `path` and `test_path` name or hold.

    Args:
        config: The `data` section, with source `table` or `parquet`.
        folder: Folder of the config file.
        kind: The kind of labels that the task learns.

    Raises:
        ConfigError: A file or a column does not exist, or it is unclear which files are the test data.
        MissingFilesError: Image files that rows name do not exist.
        DataError: A file is damaged, or a cell is missing or unsuitable; the message names the row and the value.
    """
    if config.text_column:
        raise ConfigError(
            "'text_column' is for task: text_classification; set that task, or name the images in 'image_column'"
        )
    shards, files = _files(config, folder)
    table, in_files = _with_images(config, shards, files)
    names = _class_names(config, files)
    examined = examine(table, config, kind, shards, config.image_column if in_files else None, names)
    if in_files:
        check_exist(table, config.image_column, shards.root)
    train, test = examined.train, examined.test
    return Source(
        train=_images_at(examined, config.image_column, train, in_files),
        test=_images_at(examined, config.image_column, test, in_files) if len(test) else None,
        class_names=examined.labels.names,
        heldout=examined.heldout,
        group_names=examined.together.names,
        notes=examined.notes("images"),
    )


def load_table_texts(config: DataConfig, folder: Path, kind: LabelKind) -> TextSource:
    """The texts in the rows of the files at `path` and `test_path`; arguments and errors as for `load_table_source`."""
    column = config.text_column
    if column is None:
        raise ConfigError("a table of texts needs 'text_column', the name of their column")
    shards, files = _files(config, folder)
    table = read_table(files, {column: "text_column", **columns_in_use(config)})
    check_texts(table, column)
    names = _class_names(config, files)
    examined = examine(table, config, kind, shards, column, names)
    return TextSource(
        train=_texts_at(examined, column, examined.train),
        test=_texts_at(examined, column, examined.test) if len(examined.test) else None,
        class_names=examined.labels.names,
        heldout=examined.heldout,
        group_names=examined.together.names,
        notes=examined.notes("texts"),
    )


def table_image_files(config: DataConfig, folder: Path) -> list[tuple[str, Path]]:
    """The image files that the rows of a table name, with these names; none if it holds the images itself, or texts.

    Raises:
        ConfigError, MissingFilesError, DataError: As for `load_table_source`.
    """
    shards, files = _files(config, folder)
    if config.text_column or _are_embedded(files, config.image_column):
        return []
    table, _ = _with_images(config, shards, files)
    check_exist(table, config.image_column, shards.root)
    return [(path, shards.root / path) for path in dict.fromkeys(Texts(table.columns[config.image_column]))]


def _files(config: DataConfig, folder: Path) -> tuple[Shards, tuple[TableFile, ...]]:
    known: dict[str, TableFormat] = {".parquet": "parquet"} if config.source == "parquet" else SUFFIXES
    shards = find_shards(config, folder, known)
    check_distinct(shards.train, shards.test)
    files = [_file(path, config, known) for path in (*shards.train, *shards.test)]
    other = next((file for file in files if file.format != files[0].format), None)
    if other is not None:
        raise ConfigError(
            f"{printable(str(other.path))}: is {other.format}, but {printable(files[0].path.name)} is "
            f"{files[0].format}; set 'path' to files of one format"
        )
    return shards, tuple(files)


def _file(path: Path, config: DataConfig, known: dict[str, TableFormat]) -> TableFile:
    format = "parquet" if config.source == "parquet" else known.get(path.suffix.lower())
    if format is None:
        raise ConfigError(
            f"{printable(str(path))}: {printable(path.suffix)!r} is not the extension of a table; "
            f"{nearest(path.suffix, known)}"
        )
    header = tuple(config.columns) if config.columns else None
    if header and format not in ("csv", "tsv"):
        raise ConfigError(f"{printable(str(path))}: names its columns itself; remove 'columns'")
    return TableFile(path=path, format=format, header=header)


def _class_names(config: DataConfig, files: Sequence[TableFile]) -> tuple[str, ...] | None:
    if files[0].format != "parquet":
        return None
    return class_names([file.path for file in files], label_columns(config)[0])


def _are_embedded(files: Sequence[TableFile], column: str) -> bool:
    """Whether the images are in the table, which only Parquet can do."""
    found = [file.format == "parquet" and holds_images(file.path, column) for file in files]
    if any(found) and not all(found):
        raise ConfigError(
            f"{printable(str(files[found.index(False)].path))}: column {printable(column)!r} holds no images, unlike "
            f"that of {printable(files[found.index(True)].path.name)}; set 'image_column'"
        )
    return found[0]


def _with_images(config: DataConfig, shards: Shards, files: Sequence[TableFile]) -> tuple[Table, bool]:
    """The table, and whether its images are in files of their own, whose paths then start at `shards.root`."""
    column = config.image_column
    if _are_embedded(files, column):
        return read_table(files, columns_in_use(config)), False
    table = read_table(files, {column: "image_column", **columns_in_use(config)})
    if config.source == "parquet":
        raise ConfigError(
            f"{table.place(0)}: column {printable(column)!r} holds {table.columns[column].type}, expected the bytes of "
            "images; set 'image_column', or source: table for a column of paths"
        )
    return table.with_column(column, image_paths(table, column, shards.root)), True


def _images_at(examined: Examined, column: str, rows: Rows, in_files: bool) -> SourceSplit:
    labels, weights, groups = examined.at(rows)
    table = examined.table
    if in_files:
        names = Texts(table.columns[column])
        names = names if len(rows) == len(table) else names.at(rows)
        return split_of_files(FileReader(root=examined.shards.root, names=names), labels, weights, groups)
    shards = tuple((file.path, count) for file, count in zip(table.files, table.counts, strict=True))
    chosen = None if len(rows) == len(table) else rows
    return split_of_embedded(EmbeddedReader(shards=shards, column=column, chosen=chosen), labels, weights, groups)


def _texts_at(examined: Examined, column: str, rows: Rows) -> TextSplit:
    labels, weights, groups = examined.at(rows)
    return TextSplit(
        texts=Texts(examined.table.columns[column]).at(rows), labels=labels, weights=weights, groups=groups
    )
