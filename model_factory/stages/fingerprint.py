"""What identifies data, model spaces and subnets in the keys of stages, without decoding or importing them."""

from __future__ import annotations

import importlib.util
import os
import stat
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from factory_base.documents import shaping_values
from factory_base.errors import CheckpointError, ConfigError, DataError, SpaceError
from factory_base.files import sha256_file, write_text
from factory_base.foreign import printable
from model_factory.stages.sealed import read_sealed, write_sealed
from supernet.data.callables import data_version, importable
from supernet.data.config import DataConfig
from supernet.data.ignoring import Ignoring, is_dropping
from supernet.data.source_splits import expanded, fixed_part, located, wildcards
from supernet.space import Option, SubnetConfig
from supernet.spaces.config import ImportedConfig, SpaceConfig
from supernet.spaces.hf_config import TransformersConfig
from supernet.spaces.hf_folder import CONFIG_FILE, model_folder

_MISSING_FILES = "missing_files.tsv"
_DEPTH = 3  # folders below a data set's: a split, a class, and one to spare


def subnet_values(subnet: SubnetConfig) -> list[list[str | Option]]:
    """A subnet as JSON for keys: pairs rather than an object, because their order matters."""
    return [[name, option] for name, option in subnet.values]


def data_fingerprint(config: DataConfig, folder: Path, memo_file: Path) -> dict[str, Any]:
    """A JSON value that changes if the `data` section changes, or the content or the name of a file below its paths.

    Args:
        config: The `data` section. The files that a callable source reads are not known, so only its code counts, and
            the version of its data if it states one.
        folder: The folder of the config.
        memo_file: Keeps the digests by size and time of change, so that an unchanged file is not read again. If files
            that a table names do not exist, they are listed in a file beside it.

    Raises:
        ConfigError: A table lacks a column.
        DataError: A file cannot be read, a table names files that do not exist, or a callable source cannot state its
            version.
    """
    memo = _Memo(memo_file)
    try:
        found = [*_files(config, folder), *_files_in_table(config, folder, memo_file.with_name(_MISSING_FILES))]
        digests = memo.digests([path for _, path in found])
    except OSError as error:
        raise DataError(f"{error.filename}: cannot be read ({error.strerror})") from error
    memo.save()
    section = shaping_values(config, exclude={"path", "test_path", "tokenizer"})  # the digests stand for the content
    files = [[name, digest] for (name, _), digest in zip(found, digests, strict=True)]
    version = data_version(config, folder)
    return {"config": section, "files": files if version is None else [*files, ["version()", version]]}


def unknown_changes_note(config: DataConfig, folder: Path) -> str:
    """A line for people if changes of the data cannot be noticed; empty if they are.

    Raises:
        DataError: A callable source cannot state its version.
    """
    if not config.is_callable or data_version(config, folder) is not None:
        return ""
    return (
        f"data: it is not known whether the data behind {config.source} changed, since only its code is compared; "
        "to have changes noticed, give it an attribute version, a function that returns a text or a number"
    )


def space_libraries(config: SpaceConfig) -> tuple[str, ...]:
    """Distributions other than PyTorch whose code builds the networks of a model space."""
    return ("transformers",) if isinstance(config, TransformersConfig) else ()


def model_code(config: SpaceConfig, folder: Path) -> dict[str, Any]:
    """What shapes a model space apart from the `model` section.

    That is the code of an imported space, or the config of a pretrained model; else it is empty.

    It is part of the keys of all stages that build networks.

    Raises:
        SpaceError: A file of the code cannot be read.
    """
    if isinstance(config, TransformersConfig) and config.names_weights:
        path = model_folder(config, folder) / CONFIG_FILE
        return {"model_config": sha256_file(path) if path.is_file() else None}
    if not isinstance(config, ImportedConfig):
        return {}
    try:
        return {"model_code": [[n, sha256_file(path)] for n, path in _code(config.space.partition(":")[0], folder)]}
    except OSError as error:
        raise SpaceError(f"{error.filename}: cannot be read ({error.strerror})") from error


def weights_fingerprint(weights: Path | None, checkpoint: Path) -> dict[str, Any]:
    """The digest of the weights from which training starts; empty if it starts from random weights.

    Args:
        weights: The file with the weights; None for random weights.
        checkpoint: The file that training writes.

    Raises:
        CheckpointError: The file cannot be read.
        ConfigError: The file is `checkpoint`.
    """
    if weights is None:
        return {}
    if weights.resolve() == checkpoint.resolve():
        raise ConfigError(f"{weights}: is the file that this run writes; start from a copy of it elsewhere")
    try:
        return {"initial_weights": sha256_file(weights)}
    except OSError as error:
        raise CheckpointError(f"{weights}: cannot be read ({error.strerror}); see training.initial_weights") from error


def _files(config: DataConfig, folder: Path) -> list[tuple[str, Path]]:
    if config.is_callable:
        return _code(config.source.partition(":")[0], folder)
    named = [located(path, folder) for path in (config.path, config.test_path) if path]
    ignoring = Ignoring([fixed_part(path) for path in named], config.ignore)
    files = [pair for path in named for pair in _below(path, ignoring)]
    tokenizer = [] if config.tokenizer is None else _below(located(config.tokenizer, folder), Ignoring([]))
    return [*files, *(("tokenizer", path) for _, path in tokenizer)]


def _files_in_table(config: DataConfig, folder: Path, missing_list: Path) -> list[tuple[str, Path]]:
    """The image files that the rows of a table name, in the order of the rows and with the paths that these state.

    Args:
        config: The `data` section.
        folder: The folder of the config.
        missing_list: Is written if files do not exist, a line each, and removed if all do.
    """
    if config.source != "table":  # `parquet` holds its images
        return []
    from supernet.data.table.images import MissingFilesError
    from supernet.data.table.source import table_image_files

    try:
        found = table_image_files(config, folder)
    except MissingFilesError as error:
        lines = ["row\tmissing file", *("\t".join(pair) for pair in error.missing)]
        write_text(missing_list, "\n".join(lines) + "\n")
        raise DataError(f"{error}; all of them are listed in {printable(str(missing_list))}") from error
    missing_list.unlink(missing_ok=True)
    return found


def _below(path: Path, ignoring: Ignoring) -> list[tuple[str, Path]]:
    """Every file below a folder or a glob, with its path relative to the fixed part; a single file has the path "".

    Of a path with braces, each file has its name.
    """
    listed = expanded(path)
    if listed is not None:
        return [(file.name, file) for file in listed if file.is_file() and not _is_foreign(file, ignoring)]
    wild = wildcards(path)
    if wild is not None:
        return _named(wild[0], (path for path in wild[0].glob(wild[1]) if not _is_foreign(path, ignoring)))
    return _walked(path, ignoring) if path.is_dir() else [("", path)] if path.is_file() else []


def _is_foreign(path: Path, ignoring: Ignoring) -> bool:
    """Whether a file or folder is not part of the data: a system left it behind, or the config ignores it.

    Other hidden files count, although sources skip them: they always did, and keys hold them.
    """
    return is_dropping(path.name) or ignoring.matches(path)


def _walked(root: Path, ignoring: Ignoring) -> list[tuple[str, Path]]:
    """Every file below `root`, also through links to folders, as deep as sources look; fast for a million files."""
    found = []
    for folder, folders, names in os.walk(root, followlinks=True):
        below = Path(folder).relative_to(root)
        kept = [name for name in folders if not _is_foreign(Path(folder, name), ignoring)]
        folders[:] = kept if len(below.parts) < _DEPTH else []
        files = (name for name in names if not _is_foreign(Path(folder, name), ignoring))
        there = (name for name in files if _is_readable(Path(folder, name)))
        found += [((below / name).as_posix(), Path(folder, name)) for name in there]
    return sorted(found)


def _is_readable(path: Path) -> bool:
    """Whether a file can be read without waiting: not a FIFO, a device or, as editors leave them, a hidden dead link.

    Loaders refuse such files by name, unless they are hidden.
    """
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except FileNotFoundError:
        return path.name[0] != "."


def _code(module: str, folder: Path) -> list[tuple[str, Path]]:
    """The file of a module, or every Python file of the package that holds it."""
    try:
        with importable(folder):
            spec = importlib.util.find_spec(module.partition(".")[0])
    except (ImportError, ValueError):
        return []
    if spec is None:
        return []
    packages = [Path(place) for place in spec.submodule_search_locations or ()]  # also one without __init__.py
    if packages or spec.origin is None:
        return [pair for package in packages for pair in _named(package, package.rglob("*.py"))]
    return _named(Path(spec.origin).parent, [Path(spec.origin)])


def _named(root: Path, paths: Iterable[Path]) -> list[tuple[str, Path]]:
    return sorted((path.relative_to(root).as_posix(), path) for path in paths if path.is_file())


class _Memo:
    """Digests of files in a JSON file, each with the size and the time of change that the file had.

    The file holds a digest of itself; if that is wrong, every file is read again.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._old = (read_sealed(path) or {}).get("files", {})
        self._new: dict[str, list[Any]] = {}

    def digests(self, paths: Sequence[Path]) -> list[str]:
        """The digest of each file. Changed files are read, several at a time, because hashing releases the GIL."""
        marks = [self._mark(path) for path in paths]
        known = [self._old.get(str(path)) for path in paths]
        found = [str(k[2]) if isinstance(k, list) and k[:2] == m else "" for k, m in zip(known, marks, strict=True)]
        with ThreadPoolExecutor() as pool:
            changed = iter(pool.map(sha256_file, [p for p, digest in zip(paths, found, strict=True) if not digest]))
            found = [digest or next(changed) for digest in found]
        for path, mark, digest in zip(paths, marks, found, strict=True):
            self._new[str(path)] = [*mark, digest]
        return found

    @staticmethod
    def _mark(path: Path) -> list[int]:
        found = path.stat()
        return [found.st_size, found.st_mtime_ns]

    def save(self) -> None:
        if self._new != self._old:
            write_sealed(self._path, {"files": self._new})
