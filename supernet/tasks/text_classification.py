"""Text classification: classification whose networks take tokens."""

from __future__ import annotations

from supernet.tasks.classification import Classification


def text_classification(names: tuple[str, ...]) -> Classification:
    """One of several classes, with these names, for each text."""
    return Classification(names=names, name="text_classification", inputs="tokens")
