"""The texts of a data set: read some at a time, and turned into tokens by one tokenizer for all splits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from factory_base.errors import ConfigError
from factory_base.files import write_bytes
from factory_base.progress import Progress
from supernet.data.config import DataConfig
from supernet.data.source_splits import located
from supernet.data.splitting import SplitPlan
from supernet.data.text_source import TextSource, TextSplit
from supernet.data.tokenizer import PADDING, Tokenizer, load_tokenizer, trained_tokenizer
from supernet.data.types import ContentDigest, LabelledTexts, Labels, Rows, Weights

_UNKNOWN_SHARE = 0.01
"""Of the tokens that are unknown, from which on it is said: fewer hardly matter."""
_CHUNK = 8192
"""Texts in memory at a time: enough for all threads of a tokenizer, and some MiB of sentences."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenNeeds:
    """What the networks need of a tokenizer.

    Attributes:
        vocabulary: Number of tokens.
        padding: The token after the end of a text; None if the networks know none.
        length: Tokens of a text, the most that a network takes.
        kept: Where a trained tokenizer is kept for later commands, a file name that is as unique as the training texts;
            None for nowhere.
    """

    vocabulary: int
    padding: int | None
    length: int
    kept: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TextFacts:
    """What was found while texts were turned into tokens.

    Attributes:
        tokenizer: The tokenizer.
        digests: Name of each split -> SHA-256 of its texts and labels.
        notes: Lines for people.
    """

    tokenizer: Tokenizer
    digests: dict[str, str]
    notes: tuple[str, ...]


def tokenize_splits(
    source: TextSource, plan: SplitPlan, config: DataConfig, folder: Path, needs: TokenNeeds, progress: Progress
) -> tuple[dict[str, LabelledTexts], TextFacts]:
    """The texts of all splits as tokens.

    Args:
        source: The texts.
        plan: The rows of each split; on those of `train` the tokenizer is trained, if the config names none.
        config: The `data` section.
        folder: Folder of the config file, from which the path of a tokenizer starts.
        needs: What the networks need.
        progress: Called with the number of texts that were read.

    Raises:
        ConfigError: The tokenizer has another number of tokens than the networks.
        DataError: A text or the tokenizer cannot be read, or the texts give too few tokens.
        DiskError: The trained tokenizer cannot be kept.
    """
    test = source.train if source.test is None else source.test
    parts = {"train": (source.train, plan.train), "heldout": (source.train, plan.heldout), "test": (test, plan.test)}
    selections = {name: _Selection(split=split, rows=rows) for name, (split, rows) in parts.items()}
    tokenizer = _tokenizer(selections["train"], config, folder, needs)
    total = sum(len(selection.rows) for selection in selections.values())
    splits, digests, counts, done = {}, {}, {}, 0
    for name, selection in selections.items():
        digest, found = ContentDigest((len(selection.rows),)), []
        for texts in selection.chunks():
            digest.add(_as_bytes(texts))
            found.append(tokenizer.encode_counted(texts, needs.length))
            done += len(texts)
            progress(done, total, "texts")
        labels, weights = selection.labels, selection.weights
        splits[name] = LabelledTexts(
            tokens=np.concatenate([tokens for tokens, _ in found]),
            labels=labels,
            padding=tokenizer.padding,
            unknown=tokenizer.unknown,
            weights=weights,
        )
        digests[name] = digest.finish(labels, weights)
        counts[name] = np.concatenate([count for _, count in found])
    notes = _notes(tokenizer, config, splits, counts["train"], needs.length)
    return splits, TextFacts(tokenizer=tokenizer, digests=digests, notes=notes)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Selection:
    """The texts of one split of the data set: `rows` of a `split` of the source."""

    split: TextSplit
    rows: Rows

    @property
    def labels(self) -> Labels:
        return self.split.labels[self.rows]

    @property
    def weights(self) -> Weights | None:
        return None if self.split.weights is None else self.split.weights[self.rows]

    def chunks(self) -> Iterator[list[str]]:
        """The texts, some at a time."""
        for start in range(0, len(self.rows), _CHUNK):
            yield [self.split.texts[row] for row in self.rows[start : start + _CHUNK].tolist()]


def _as_bytes(texts: Sequence[str]) -> NDArray[np.uint8]:
    """The texts in UTF-8, each after its length, so that no two lists of texts give the same bytes."""
    encoded = [text.encode("utf-8", "surrogatepass") for text in texts]
    return np.frombuffer(b"".join(len(one).to_bytes(8, "little") + one for one in encoded), dtype=np.uint8)


def _tokenizer(train: _Selection, config: DataConfig, folder: Path, needs: TokenNeeds) -> Tokenizer:
    if config.tokenizer is not None:
        path = located(config.tokenizer, folder)
        found = load_tokenizer(path)
        if found.vocabulary != needs.vocabulary:
            raise ConfigError(
                f"{path}: has {found.vocabulary:,} tokens, but the model has {needs.vocabulary:,}; "
                "set the model's vocabulary to that of the tokenizer, or name another tokenizer"
            )
        if needs.padding not in (None, found.padding):
            raise ConfigError(
                f"{path}: its padding is token {found.padding}, but the model's is token {needs.padding}; "
                "set model.settings.pad_token_id (for transformers), or name another tokenizer"
            )
        return found
    if needs.padding not in (None, PADDING):
        raise ConfigError(
            f"the model's padding is token {needs.padding}, but a trained tokenizer's is token {PADDING}; name the "
            "model's own tokenizer in data.tokenizer"
        )
    if needs.kept is not None and needs.kept.is_file():
        return load_tokenizer(needs.kept)
    made = trained_tokenizer(train.chunks, needs.vocabulary)
    if needs.kept is not None:
        write_bytes(needs.kept, made.content)
    return made


def _notes(
    tokenizer: Tokenizer,
    config: DataConfig,
    splits: Mapping[str, LabelledTexts],
    counts: NDArray[np.int64],
    length: int,
) -> tuple[str, ...]:
    origin = "trained on the training texts" if config.tokenizer is None else "as given"
    cut = float((counts > length).mean())
    notes = [
        f"data: {tokenizer.vocabulary:,} tokens, {origin}; {cut:.1%} of the training texts have more than {length} "
        "tokens and are truncated"
    ]
    if tokenizer.unknown is not None:
        tokens = splits["heldout"].tokens
        unknown = float((tokens == tokenizer.unknown).sum() / max(1, (tokens != tokenizer.padding).sum()))
        if unknown >= _UNKNOWN_SHARE:
            notes.append(
                f"data: {unknown:.1%} of the tokens of held-out texts are unknown: their characters are rare in the "
                "training texts; a larger vocabulary keeps more of them"
            )
    for name, split in splits.items():
        empty = int((split.tokens == tokenizer.padding).all(axis=1).sum())
        if empty:
            notes.append(f"data: {empty:,} {name} texts are empty")
    return tuple(notes)
