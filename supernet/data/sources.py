"""The sources of image data by name, and the one function that loads, splits and measures them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from factory_base.files import digest_of
from factory_base.progress import Progress, silent
from supernet.data.callables import load_callable_source
from supernet.data.config import DataConfig
from supernet.data.digits import load_digits_source
from supernet.data.folder import load_folder_source
from supernet.data.keeping import ChannelCounts, Channels, Selection, keep
from supernet.data.npz import load_npz_source
from supernet.data.parquet import load_parquet_source
from supernet.data.parts import Source
from supernet.data.shelf import Shelf
from supernet.data.splitting import plan_splits
from supernet.data.types import Images, Splits, chunks_of

Loader = Callable[[DataConfig, Path], Source]
"""`(config, folder of the config) -> Source`; raises `ConfigError` and `DataError`."""

SOURCES: Final[dict[str, Loader]] = {
    "digits": load_digits_source,
    "folder": load_folder_source,
    "npz": load_npz_source,
    "parquet": load_parquet_source,
}
"""Every source but callables, by the name that a config gives: those of `config.SOURCE_NAMES`."""


def load_splits(
    config: DataConfig, folder: Path, seed: int, progress: Progress = silent, shelf: Shelf | None = None
) -> Splits:
    """Load the images that `config` names, decode only those in use, and split them.

    Args:
        config: the `data` section.
        folder: of the config file; relative paths start there.
        seed: 0 or above; draws `limit` and the held-out part. Test data does not depend on it.
        progress: told of decoded images.
        shelf: where decoded images and their statistics may be kept for the next command; None keeps nothing.

    Raises:
        ConfigError: a path that does not exist, or a module that cannot be imported.
        DataError: data that is damaged or unfit; names the file, the row or the class.
        DiskError: the shelf cannot be written.
    """
    source = (load_callable_source if config.is_callable else SOURCES[config.source])(config, folder)
    plan = plan_splits(source, config, seed)
    selections = {
        "train": Selection(part=source.train, rows=plan.train),
        "heldout": Selection(part=source.train, rows=plan.heldout),
        "test": Selection(part=source.train if source.test is None else source.test, rows=plan.test),
    }
    parts, facts = keep(selections, config, shelf, progress)
    names = source.class_names
    return Splits(
        train=parts["train"],
        heldout=parts["heldout"],
        test=parts["test"],
        class_names=names,
        mean=facts.mean,
        std=facts.std,
        digest=digest_of({**facts.digests, "class_names": names}),
        test_digest=digest_of({"test": facts.digests["test"], "class_names": names}),
    )


def channel_statistics(images: Images) -> tuple[Channels, Channels]:
    """Mean and standard deviation of each channel; see `ChannelCounts.mean_and_std`. Raises `DataError`."""
    counts = ChannelCounts()
    for chunk in chunks_of(images):
        counts.add(chunk)
    return counts.mean_and_std()
