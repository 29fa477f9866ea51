"""A small data set of texts for tests, also as a module beside a config."""

from __future__ import annotations

from pathlib import Path
from typing import Final

_FILE = Path(__file__).parent / "sentences.tsv"
_TRAIN = 140
TEXTS_MODULE: Final = "own_texts:sentences"
_MODULE = f"""
from pathlib import Path

def sentences(more="", texts=()):
    rows = [line.rpartition("\\t") for line in Path({str(_FILE)!r}).read_text(encoding="utf-8").splitlines()]
    given, labels = [text + more for text, _, _ in rows], [int(label) for _, _, label in rows]
    given[-len(texts) or len(given):] = texts
    return given[:{_TRAIN}], labels[:{_TRAIN}], given[{_TRAIN}:], labels[{_TRAIN}:], ("negative", "positive")
"""


def sentences() -> tuple[list[str], list[int]]:
    """All sentences and labels."""
    rows = [line.rpartition("\t") for line in _FILE.read_text(encoding="utf-8").splitlines()]
    return [text for text, _, _ in rows], [int(label) for _, _, label in rows]


def own_texts(folder: Path) -> None:
    """Write the module to which `TEXTS_MODULE` refers: 140 training and 60 test texts of two classes."""
    (folder / "own_texts.py").write_text(_MODULE, encoding="utf-8")
