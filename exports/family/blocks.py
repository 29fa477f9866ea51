"""The digests of the blocks of a model file, with which an app repairs a download by fetching only what is damaged."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from exports.family.records import Blocks
from factory_base.files import sha256_bytes

SMALLEST_BLOCK: Final = 1 << 16
"""64 KiB: fetching less at once takes as long, since the round trip of a request dominates."""
MOST_BLOCKS: Final = 16
"""With up to 16 blocks, a damaged one costs a sixteenth of the file again, and the digests take about 1 KiB a model."""


def block_bytes(size: int) -> int:
    """The size of the blocks of a file of `size` bytes: the smallest power of two that gives at most `MOST_BLOCKS`."""
    block = SMALLEST_BLOCK
    while block * MOST_BLOCKS < size:
        block *= 2
    return block


def file_blocks(path: Path) -> Blocks | None:
    """The digests of the blocks of a file; None if it has only one.

    Raises:
        OSError: The file cannot be read.
    """
    size = path.stat().st_size
    if size <= SMALLEST_BLOCK:
        return None
    block = block_bytes(size)
    with path.open("rb") as stream:
        digests = tuple(sha256_bytes(part) for part in iter(lambda: stream.read(block), b""))
    return Blocks(bytes=block, sha256=digests)
