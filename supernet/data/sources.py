"""The sources of image data by name, and the one function that loads, splits and measures them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np

from model_factory.base.errors import DataError
from model_factory.base.files import digest_of
from model_factory.base.progress import Progress, silent
from supernet.data.callables import load_callable_source
from supernet.data.config import DataConfig
from supernet.data.digits import load_digits_source
from supernet.data.folder import load_folder_source
from supernet.data.npz import load_npz_source
from supernet.data.parquet import load_parquet_source
from supernet.data.parts import Part, Rows, Source
from supernet.data.splitting import SplitPlan, plan_splits
from supernet.data.types import Images, LabelledImages, Splits

Loader = Callable[[DataConfig, Path], Source]
"""`(config, folder of the config) -> Source`; raises `ConfigError` and `DataError`."""

SOURCES: Final[dict[str, Loader]] = {
    "digits": load_digits_source,
    "folder": load_folder_source,
    "npz": load_npz_source,
    "parquet": load_parquet_source,
}
"""Every source but callables, by the name that a config gives."""

_CHUNK = 4096


def load_splits(config: DataConfig, folder: Path, seed: int, progress: Progress = silent) -> Splits:
    """Load the images that `config` names, decode only those in use, and split them.

    Args:
        config: the `data` section.
        folder: of the config file; relative paths start there.
        seed: 0 or above; draws `limit` and the held-out part. Test data does not depend on it.
        progress: told of decoded images.

    Raises:
        ConfigError: a path that does not exist, or a module that cannot be imported.
        DataError: data that is damaged or unfit; names the file, the row or the class.
    """
    source = (load_callable_source if config.is_callable else SOURCES[config.source])(config, folder)
    plan = plan_splits(source, config, seed)
    train, heldout, test = _read(source, plan, config.image_size, progress)
    mean, std = channel_statistics(train.images)
    names = source.class_names
    digests = {"heldout": heldout.digest(), "test": test.digest(), "train": train.digest()}
    return Splits(
        train=train,
        heldout=heldout,
        test=test,
        class_names=names,
        mean=mean,
        std=std,
        digest=digest_of({**digests, "class_names": names}),
        test_digest=digest_of({"test": digests["test"], "class_names": names}),
    )


def channel_statistics(images: Images) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Mean and population standard deviation of each channel, as fractions of 255, 6 decimals.

    Counted in integers, so that the figures are the same on every machine. A constant channel has the deviation of one
    grey level, so it can be divided by.

    Raises:
        DataError: all pixels of all images are equal.
    """
    counts = np.zeros((3, 256), dtype=np.int64)
    for start in range(0, len(images), _CHUNK):
        for channel in range(3):
            counts[channel] += np.bincount(images[start : start + _CHUNK, channel].ravel(), minlength=256)
    levels = np.arange(256)
    total = int(counts[0].sum())
    means, deviations = [], []
    for row in counts:
        first, second = int(row @ levels), int(row @ levels**2)
        means.append(round(first / total / 255, 6))
        deviations.append(((second * total - first**2) ** 0.5) / total / 255)
    if not any(deviations):
        raise DataError("all training images are one and the same colour; check the images that the source gives")
    floored = [round(max(deviation, 1 / 255), 6) for deviation in deviations]
    return (means[0], means[1], means[2]), (floored[0], floored[1], floored[2])


def _read(
    source: Source, plan: SplitPlan, size: int, progress: Progress
) -> tuple[LabelledImages, LabelledImages, LabelledImages]:
    test_part = source.train if source.test is None else source.test
    wanted = ((source.train, plan.train), (source.train, plan.heldout), (test_part, plan.test))
    total, done = sum(len(rows) for _, rows in wanted), 0
    parts = []
    for part, rows in wanted:
        parts.append(_decoded(part, rows, size, _shifted(progress, done, total)))
        done += len(rows)
    return parts[0], parts[1], parts[2]


def _decoded(part: Part, rows: Rows, size: int, progress: Progress) -> LabelledImages:
    return LabelledImages(images=part.read(rows, size, progress), labels=part.labels[rows])


def _shifted(progress: Progress, before: int, whole: int) -> Progress:
    def shifted(done: int, total: int, detail: str = "") -> None:  # noqa: ARG001 - the total is that of all parts
        progress(before + done, whole, detail)

    return shifted
