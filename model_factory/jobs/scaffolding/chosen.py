"""What is decided for data, and the section `data`, which is alike for images and texts."""

from __future__ import annotations

import importlib.util
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from model_factory.jobs.scaffolding.found import Found
from model_factory.jobs.scaffolding.writing import Noted, Tree

_MANY = 20_000
"""Examples from which a tenth is enough for the held-out and the test examples."""
_SHARE, _SHARE_OF_MANY = 0.15, 0.1
_BATCHES = 2
"""Batches in a pass over all examples: one is left when held-out and test data have been set aside."""
EPOCHS_NOTE: Final = "passes over the training examples; `factory train --max-hours 2` fits them to your time"
SPACE_NOTE: Final = "the networks to choose from"


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """The sections of a config but the targets.

    Attributes:
        data: The section `data`.
        model: The section `model`.
        training: The section `training`.
        search: The section `search`.
        lines: What was decided and why, a line each.
        todo: What the user has to do before the first build, a line each.
    """

    data: Tree
    model: Tree
    training: Tree
    search: Tree
    lines: tuple[str, ...]
    todo: tuple[str, ...] = ()


def batch_for(found: Found, most: int) -> int:
    """`most`, halved until the training examples of small data fill a batch, which a training needs."""
    batch = most
    while batch > 1 and found.train < _BATCHES * batch:
        batch //= 2
    return batch


def data_section(found: Found, folder: Path, own: Tree) -> Tree:
    """The section `data` of a config in `folder`.

    Args:
        found: What the data are.
        folder: The folder of the config.
        own: The keys that only images or only texts have.
    """
    share = _SHARE_OF_MANY if found.train >= _MANY else _SHARE
    tree: Tree = {
        "source": Noted(found.source, "how the data are read"),
        "path": Noted(shown_path(found.path, folder), "the data; relative paths start at this file"),
        **({} if found.test_path is None else {"test_path": shown_path(found.test_path, folder)}),
        **found.keys,
        **own,
        "heldout_fraction": Noted(share, "of the training examples; guides the search"),
    }
    if found.test is None:
        tree["test_fraction"] = Noted(share, "set aside for the final accuracies, as there are no test data")
    return tree


def imbalance(found: Found) -> Tree:
    """The keys of the section `training` for classes with very different numbers of examples."""
    note = "rare classes count more, in a way that the plan of the training names; or none"
    return {"imbalance": Noted("auto", note)} if found.is_uneven else {}


def missing(extra: str, package: str) -> tuple[str, ...]:
    """The line that asks for an extra of this distribution, if `package`, which it installs, is not there."""
    if importlib.util.find_spec(package) is not None:
        return ()
    return (f"first: `pip install -e '.[{extra}]'` in the folder of the factory, for the package {package}",)


def shown_path(path: Path, folder: Path) -> str:
    """`path` as a config in `folder` names it: relative if it is in the folder or beside it."""
    relative = os.path.relpath(path.resolve(), folder.resolve())
    return str(path.resolve()) if relative.startswith(f"..{os.sep}..") else relative
