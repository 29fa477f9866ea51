"""The sources of image data by name, and the function that loads a data set, splits it and computes its statistics."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from factory_base.files import digest_of
from factory_base.progress import Progress, silent
from supernet.data.caching import Selection, cache_images
from supernet.data.callables import load_callable_source
from supernet.data.config import DataConfig
from supernet.data.digits import load_digits_source
from supernet.data.folder import load_folder_source
from supernet.data.image_cache import ImageCache
from supernet.data.npz import load_npz_source
from supernet.data.parquet import load_parquet_source
from supernet.data.source_splits import Source
from supernet.data.splitting import plan_splits
from supernet.data.types import Splits

Loader = Callable[[DataConfig, Path], Source]
"""`(config, folder of the config file) -> Source`; raises `ConfigError` and `DataError`."""

SOURCES: Final[dict[str, Loader]] = {
    "digits": load_digits_source,
    "folder": load_folder_source,
    "npz": load_npz_source,
    "parquet": load_parquet_source,
}
"""Name in a config -> loader, for every source but callables; the names are those of `config.SOURCE_NAMES`."""


def load_splits(
    config: DataConfig, folder: Path, seed: int, progress: Progress = silent, image_cache: ImageCache | None = None
) -> Splits:
    """Load the images that `config` names and split them. Only the images in use are decoded.

    Args:
        config: The `data` section.
        folder: Folder of the config file, from which relative paths start.
        seed: Seed, 0 or above, of the draws of `limit` and of the held-out images. The test split does not depend on
            it.
        progress: Called with the number of decoded images.
        image_cache: Where decoded images and their statistics may be written for later commands; None for nowhere.

    Raises:
        ConfigError: A path does not exist, or a module cannot be imported.
        DataError: Data is damaged or unsuitable; the message names the file, the row or the class.
        DiskError: The image cache cannot be written.
    """
    source = (load_callable_source if config.is_callable else SOURCES[config.source])(config, folder)
    plan = plan_splits(source, config, seed)
    selections = {
        "train": Selection(split=source.train, rows=plan.train),
        "heldout": Selection(split=source.train, rows=plan.heldout),
        "test": Selection(split=source.train if source.test is None else source.test, rows=plan.test),
    }
    splits, facts = cache_images(selections, config, image_cache, progress)
    names = source.class_names
    return Splits(
        train=splits["train"],
        heldout=splits["heldout"],
        test=splits["test"],
        class_names=names,
        mean=facts.mean,
        std=facts.std,
        digest=digest_of({**facts.digests, "class_names": names}),
        test_digest=digest_of({"test": facts.digests["test"], "class_names": names}),
    )
