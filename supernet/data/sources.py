"""The sources of data by name, and the function that loads a data set, splits it and computes its statistics."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from factory_base.errors import ConfigError, DataError
from factory_base.files import digest_of
from factory_base.foreign import printable
from factory_base.progress import Progress, silent
from supernet.data.caching import Facts, Selection, cache_images
from supernet.data.callables import load_callable_source, load_callable_texts
from supernet.data.class_names import similar_names_note
from supernet.data.config import DataConfig
from supernet.data.digits import load_digits_source
from supernet.data.folder import load_folder_source
from supernet.data.image_cache import ImageCache
from supernet.data.normalising import fixed_statistics
from supernet.data.npz import load_npz_source
from supernet.data.small_classes import settle_small_classes
from supernet.data.source_splits import Source
from supernet.data.splitting import SplitPlan, plan_splits
from supernet.data.table.source import load_table_source, load_table_texts
from supernet.data.text_source import TextSource
from supernet.data.texts import TokenNeeds, tokenize_splits
from supernet.data.types import LabelKind, Splits
from supernet.data.webdataset.source import load_webdataset_source

Loader = Callable[[DataConfig, Path, LabelKind], Source]
"""`(config, folder of the config file, kind of labels) -> Source`; raises `ConfigError` and `DataError`."""

SOURCES: Final[dict[str, Loader]] = {
    "digits": load_digits_source,
    "folder": load_folder_source,
    "npz": load_npz_source,
    "parquet": load_table_source,
    "table": load_table_source,
    "webdataset": load_webdataset_source,
}
"""Name in a config -> loader, for every source but callables; the names are those of `config.SOURCE_NAMES`."""

TEXT_SOURCES: Final[dict[str, Callable[[DataConfig, Path, LabelKind], TextSource]]] = {
    "parquet": load_table_texts,
    "table": load_table_texts,
}
"""The same for sources of texts."""


def load_splits(
    config: DataConfig,
    folder: Path,
    seed: int,
    progress: Progress = silent,
    image_cache: ImageCache | None = None,
    kind: LabelKind = "class",
    tokens: TokenNeeds | None = None,
) -> Splits:
    """Load the images or texts that `config` names and split them. Only those in use are decoded.

    Args:
        config: The `data` section.
        folder: Folder of the config file, from which relative paths start.
        seed: Seed, 0 or above, of the draws of `limit` and of the held-out images. The test split does not depend on
            it.
        progress: Called with the number of decoded images.
        image_cache: Where decoded images and their statistics may be written for later commands; None for nowhere.
        kind: The kind of labels that the task learns.
        tokens: What the networks need of a tokenizer; None if they take images.

    Raises:
        ConfigError: A path does not exist, or a module cannot be imported.
        DataError: Data is damaged or unsuitable; the message names the file, the row or the class.
        DiskError: The image cache cannot be written.
    """
    if tokens is not None:
        return _text_splits(config, folder, seed, progress, kind, tokens)
    source = settle_small_classes(load_source(config, folder, kind), config, kind)
    plan = plan_splits(source, config, seed)
    selections = {
        "train": Selection(split=source.train, rows=plan.train),
        "heldout": Selection(split=source.train, rows=plan.heldout),
        "test": Selection(split=source.train if source.test is None else source.test, rows=plan.test),
    }
    splits, facts = cache_images(selections, config, image_cache, progress)
    statistics = fixed_statistics(config.normalize) or facts
    names = source.class_names
    return Splits(
        train=splits["train"],
        heldout=splits["heldout"],
        test=splits["test"],
        class_names=names,
        mean=statistics.mean,
        std=statistics.std,
        digest=digest_of({**facts.digests, "class_names": names}),
        test_digest=digest_of({"test": facts.digests["test"], "class_names": names}),
        notes=_notes(source, plan, facts),
    )


def _text_splits(
    config: DataConfig, folder: Path, seed: int, progress: Progress, kind: LabelKind, needs: TokenNeeds
) -> Splits:
    """See `load_splits`. The test texts are the same with any tokenizer, so it is part of the whole digest alone."""
    source = settle_small_classes(load_text_source(config, folder, kind), config, kind)
    plan = plan_splits(source, config, seed)
    splits, facts = tokenize_splits(source, plan, config, folder, needs, progress)
    names = source.class_names
    notes = [*source.notes, *plan.notes, similar_names_note(names), *facts.notes]
    return Splits(
        train=splits["train"],
        heldout=splits["heldout"],
        test=splits["test"],
        class_names=names,
        mean=(),
        std=(),
        digest=digest_of({**facts.digests, "class_names": names, "tokenizer": facts.tokenizer.sha256}),
        test_digest=digest_of({"test": facts.digests["test"], "class_names": names}),
        notes=tuple(note for note in notes if note),
        tokenizer=facts.tokenizer,
    )


def load_text_source(config: DataConfig, folder: Path, kind: LabelKind) -> TextSource:
    """The texts and labels of the data that `config` names. Arguments and errors are those of `load_splits`."""
    if config.is_callable:
        return load_callable_texts(config, folder, kind)
    if config.source not in TEXT_SOURCES:
        raise ConfigError(
            f"data.source {config.source!r} has images, but the task needs texts; use source: table with text_column, "
            "or 'package.module:callable'"
        )
    try:
        return TEXT_SOURCES[config.source](config, folder, kind)
    except OSError as error:
        raise DataError(f"{printable(str(error.filename))}: cannot be read ({error.strerror})") from error


def load_source(config: DataConfig, folder: Path, kind: LabelKind) -> Source:
    """The labels of the data that `config` names, and how to read the images. Nothing is decoded or split.

    Arguments and errors are those of `load_splits`.
    """
    if config.is_callable:
        return load_callable_source(config, folder, kind)
    try:
        return SOURCES[config.source](config, folder, kind)
    except OSError as error:  # a folder that may not be listed, a name that is too long
        raise DataError(f"{printable(str(error.filename))}: cannot be read ({error.strerror})") from error


def _notes(source: Source, plan: SplitPlan, facts: Facts) -> tuple[str, ...]:
    notes = [*source.notes, *plan.notes, similar_names_note(source.class_names)]
    if facts.depth is not None:
        notes.append(
            f"data: images of 16 bits use {facts.depth} of them: 0 to {2**facts.depth - 1:,} is scaled to 0 to 255, in "
            "training, held-out and test images alike; the app must scale its images the same way"
        )
    return tuple(note for note in notes if note)
