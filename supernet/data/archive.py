"""Reads single arrays of a NumPy archive (.npz): only those asked for, and none that its header makes up."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from factory_base.errors import DataError, FactoryError, ForeignError
from factory_base.foreign import open_regular, printable
from factory_base.machine_memory import usable_memory

_SUFFIX = ".npy"
_MOST_MEMBERS = 10_000
_LARGEST_RATIO = 1100  # of deflate, which shortens zeros 1032 times
_HEADER_READERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}


@dataclass(frozen=True, slots=True)
class Archive:
    """A NumPy archive, whose arrays are read when they are asked for. Pickled objects are never loaded.

    Attributes:
        path: The file.
        names: The names of the arrays in the order of the file.
    """

    path: Path
    names: tuple[str, ...]

    @staticmethod
    def open(path: Path) -> Archive:
        """The archive in a file.

        Raises:
            DataError: The file is not a regular file or not an archive, or it holds an array twice.
        """
        with _opened(path) as found:
            members = found.namelist()
        names = tuple(printable(member.removesuffix(_SUFFIX)) for member in members[:_MOST_MEMBERS])
        twice = next((name for name in names if names.count(name) > 1), None) if len(set(names)) < len(names) else None
        if twice is not None or len(members) > _MOST_MEMBERS:
            what = f"array {twice!r} twice" if twice is not None else f"more than {_MOST_MEMBERS:,} arrays"
            raise DataError(f"{_shown(path)}: holds {what}; write it with numpy.savez")
        return Archive(path, names)

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of the array `name` by its header. Raises `DataError` if it is not one of plain numbers."""
        with _opened(self.path) as archive, archive.open(name + _SUFFIX) as stream:
            reader = _HEADER_READERS.get(npy.read_magic(stream))
            if reader is None:
                raise DataError(f"{_shown(self.path)}: array {name!r} holds no plain numbers; save plain arrays")
            shape, _, _ = reader(stream)
        return tuple(shape)

    def read(self, name: str) -> NDArray[np.generic]:
        """The array `name`, one of `names`.

        Raises:
            DataError: The array is damaged, holds pickled objects, or does not fit in memory.
        """
        with _opened(self.path) as archive:
            member = archive.getinfo(name + _SUFFIX)
            if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise DataError(f"{_shown(self.path)}: array {name!r} is packed in a way that NumPy does not write")
            with archive.open(member) as stream:
                self._check(name, stream, member)
            with archive.open(member) as stream:
                found: NDArray[np.generic] = npy.read_array(stream, allow_pickle=False)
        return found

    def _check(self, name: str, stream: IO[bytes], member: zipfile.ZipInfo) -> None:
        """Check that the file really holds the array that the header announces, before memory is taken for it."""
        where = f"{_shown(self.path)}: array {name!r}"
        version = npy.read_magic(stream)
        if version not in _HEADER_READERS:
            raise DataError(f"{where} has format {version}, which holds no plain numbers; save plain arrays")
        shape, _, dtype = _HEADER_READERS[version](stream)
        if dtype.hasobject:
            raise DataError(f"{where} holds pickled objects, which are never loaded; save plain arrays")
        needed = math.prod((dtype.itemsize, *shape))
        stored = min(member.compress_size, self.path.stat().st_size)
        if needed != member.file_size - stream.tell() or member.file_size > _LARGEST_RATIO * (stored + 1):
            raise DataError(f"{where} of shape {shape} is announced but not in the file; write it with numpy.savez")
        if needed > usable_memory():
            raise DataError(
                f"{where} needs {needed / 2**30:.1f} GiB, more memory than there is; store the images as files "
                "or as Parquet, which are read in parts"
            )


@contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    try:
        with open_regular(path) as stream, zipfile.ZipFile(stream) as archive:
            yield archive
    except ForeignError as error:
        raise DataError(str(error)) from error
    except FactoryError:
        raise
    except Exception as error:  # a damaged archive fails in a dozen ways, some undocumented
        raise DataError(f"{_shown(path)}: is not a readable NumPy archive; write it with numpy.savez") from error


def _shown(path: Path) -> str:
    return printable(str(path))
