"""Reads and decodes images at known places in tar shards."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from factory_base.errors import DataError, ForeignError
from factory_base.foreign import open_regular, printable
from factory_base.progress import Progress
from supernet.data.decoding import decode, largest_sample
from supernet.data.image_form import ImageForm
from supernet.data.images import decode_many, largest_of
from supernet.data.source_splits import SourceSplit
from supernet.data.table.cells import Texts
from supernet.data.types import Groups, Images, Labels, Rows, Weights

_SCAN = 1024  # images whose largest sample is computed at a time: enough to keep all threads busy


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TarReader:
    """Decodes images in tar archives, in any order. See `supernet.data.types.Reader`.

    Rows in order are read from beginning to end; a process that prepares batches reads the rows of its batches only.

    Attributes:
        shards: The archives.
        shard_of: For each row, the index of its archive, `(count,)`.
        places: For each row, where its image starts in the archive, and its size in bytes, `(count, 2)`.
        keys: For each row, the key of its sample.
        depth: Number of bits that images of 16 bits use; None if it is not known.
    """

    shards: tuple[Path, ...]
    shard_of: NDArray[np.int32]
    places: NDArray[np.int64]
    keys: Texts
    depth: int | None = None

    def __call__(self, rows: Rows, form: ImageForm, progress: Progress) -> Images:
        """The images at `rows`. Raises `DataError`."""

        def one(index: int) -> Images:
            row = int(rows[index])
            return decode(self._encoded(row), form, self._name(row), self.depth)

        return decode_many(len(rows), one, form, progress)

    def largest_samples(self) -> Iterator[int]:
        """See `SourceSplit.largest_samples`."""

        def one(row: int) -> int:
            return largest_sample(self._encoded(row))

        for start in range(0, len(self.keys), _SCAN):
            yield largest_of(range(start, min(start + _SCAN, len(self.keys))), one)

    def _name(self, row: int) -> str:
        return f"{printable(str(self.shards[self.shard_of[row]]))}, sample {printable(self.keys[row])!r}"

    def _encoded(self, row: int) -> bytes:
        start, length = self.places[row].tolist()
        try:
            with open_regular(self.shards[self.shard_of[row]]) as stream:
                stream.seek(start)
                content = stream.read(length)
        except ForeignError as error:
            raise DataError(str(error)) from error
        except OSError as error:
            raise DataError(f"{self._name(row)}: cannot be read ({error.strerror})") from error
        if len(content) < length:
            raise DataError(f"{self._name(row)}: the archive ends in this image; write or copy it again")
        return content


def split_of_shards(
    reader: TarReader, labels: Labels, weights: Weights | None = None, groups: Groups | None = None
) -> SourceSplit:
    """The images that `reader` reads, with their labels; see `SourceSplit`."""
    return SourceSplit(
        labels=labels,
        read=reader,
        weights=weights,
        groups=groups,
        largest_samples=reader.largest_samples,
        at_depth=lambda depth: split_of_shards(replace(reader, depth=depth), labels, weights, groups),
    )
