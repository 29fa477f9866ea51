"""Decides on lengths, vocabulary, model space and recipe for texts."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from factory_base.documents import load_yaml
from factory_base.wording import counted
from model_factory.config import shipped_configs
from model_factory.jobs.scaffolding.chosen import (
    EPOCHS_NOTE,
    SPACE_NOTE,
    Chosen,
    batch_for,
    data_section,
    imbalance,
    missing,
)
from model_factory.jobs.scaffolding.found import Found, TextSample
from model_factory.jobs.scaffolding.writing import Noted, Tree

_TOKENS_PER_WORD = 1.3
"""Of a tokenizer of some thousand pieces on English text."""
_SHORTEST, _LONGEST, _STEP = 16, 128, 8
"""Tokens of an input; the costs of a transformer grow with the square of the length."""
_MOST_TOKENS, _FEWEST_TOKENS = 8000, 200
_SEEN, _FEWEST_EPOCHS, _MOST_EPOCHS = 20_000, 2, 20
"""Texts that the training sees in all passes: as many as that of `configs/sst2.yaml`; more overfit."""
_EXTRA: Final = ("text", "tokenizers")
"""The extra that installs the tokenizer, and its package."""


def choose_for_texts(found: Found, sample: TextSample, folder: Path) -> Chosen:
    """Decide on the sections of a config in `folder` for texts."""
    lengths, vocabulary = _lengths(sample), vocabulary_of(sample)
    epochs = max(_FEWEST_EPOCHS, min(_MOST_EPOCHS, round(_SEEN / found.train)))
    shipped = load_yaml(shipped_configs() / "sst2.yaml")
    augment = Noted(shipped["training"]["augment"], "share of the words that the training hides, against overfitting")
    return Chosen(
        data=data_section(found, folder, {}),
        model=_model(shipped["model"], lengths, vocabulary),
        training={
            **shipped["training"],
            "epochs": Noted(epochs, EPOCHS_NOTE),
            "batch_size": batch_for(found, shipped["training"]["batch_size"]),
            "augment": augment,
            **imbalance(found),
        },
        search={"shared_subnets": 40, "trials_per_target": 4},
        lines=(
            f"length: {lengths[-1]} tokens, because 95 % of the texts have at most {counted(sample.long, 'word')}",
            f"model space: text_encoder trained from scratch with {vocabulary:,} tokens; {counted(epochs, 'epoch')}",
        ),
        todo=missing(*_EXTRA),
    )


def vocabulary_of(sample: TextSample) -> int:
    """Number of tokens: no more than the sampled texts have words, so that a tokenizer can be trained on the data."""
    return max(_FEWEST_TOKENS, min(_MOST_TOKENS, sample.distinct // 100 * 100))


def _lengths(sample: TextSample) -> list[int]:
    """About a half, three quarters and all of the length that most texts need."""
    longest = min(_LONGEST, max(_SHORTEST, -(-round(sample.long * _TOKENS_PER_WORD) // _STEP) * _STEP))
    return sorted({max(_STEP, round(longest * share / _STEP) * _STEP) for share in (0.5, 0.75, 1)})


def _model(section: dict[str, Any], lengths: list[int], vocabulary: int) -> Tree:
    return section | {
        "space": Noted("text_encoder", SPACE_NOTE),
        "vocabulary": Noted(vocabulary, "tokens; the tokenizer is trained on the training texts"),
        "lengths": Noted(lengths, "tokens that subnets may take; longer texts are truncated"),
        "widths": Noted(section["widths"], "wider and deeper ones learn more and cost more"),
    }
