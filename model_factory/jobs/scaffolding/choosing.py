"""Decides on a config for data: image size, model space and recipe, each with the comment that says what to change."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from factory_base.documents import load_yaml
from factory_base.foreign import printable
from factory_base.wording import counted
from model_factory.config import shipped_configs
from model_factory.jobs.scaffolding.found import Found, ImageSample
from model_factory.jobs.scaffolding.looking import FEW
from model_factory.jobs.scaffolding.writing import Noted, Tree

_PHOTO_SIDE = 64
"""Pixels from which images show what networks trained on photos have learnt."""
_SMALLEST_SIZE, _LARGEST_SIZE = 24, 128
"""Image sizes that are proposed: below, networks have no pixels to halve; above, training on a CPU takes hours."""
_TINY_SIDE = 28
"""Images below are like the digits of 8 to 28 pixels: nothing is gained by several resolutions."""
_IMAGES_TO_SEE = 400_000
"""Images that a training from scratch sees in all passes; `configs/cifar10.yaml` has as many."""
_MOST_EPOCHS, _FEWEST_EPOCHS = 60, 4
_MANY = 20_000
"""Examples from which a tenth is enough for the held-out and the test images."""
_SMALLEST_BATCH, _STEPS = 16, 20
"""The batch of a shipped recipe is halved, down to the first, until a pass has as many steps as the second; the
learning rate follows it (Goyal et al., 2017)."""
_SQUARE, _LONG = 1.25, 2.0
"""Ratios of the sides: up to the first, squeezing to a square is hardly seen; from the second on, a centre crop would
cut half of the picture away."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """The sections of a config but the targets.

    Attributes:
        data: The section `data`.
        model: The section `model`.
        training: The section `training`.
        search: The section `search`.
        lines: What was decided and why, a line each.
    """

    data: Tree
    model: Tree
    training: Tree
    search: Tree
    lines: tuple[str, ...]


def choose(found: Found, folder: Path) -> Chosen:
    """Decide on the sections of a config in `folder` for the data that were found."""
    sample = found.sample
    assert isinstance(sample, ImageSample)
    size = image_size(sample)
    template = "digits" if size < _TINY_SIDE else "cifar10" if size < _PHOTO_SIDE else "images"
    shipped = load_yaml(shipped_configs() / f"{template}.yaml")
    resolutions = _resolutions(size)
    epochs = _epochs(found.train)
    return Chosen(
        data=_data(found, sample, size, folder),
        model=_model(shipped["model"], resolutions),
        training=_training(shipped["training"], found, epochs),
        search=shipped["search"],
        lines=(
            f"image size: {size} pixels, because the median shorter side is {sample.side}"
            + (" and larger ones are slow to train without a GPU" if sample.side > _LARGEST_SIZE else ""),
            f"model space: mobilenet, trained from scratch, {counted(epochs, 'epoch')}",
        ),
    )


def image_size(sample: ImageSample) -> int:
    """The side of square images: close to what most images have, and bounded."""
    step = 8 if sample.side < _PHOTO_SIDE else 16
    return min(_LARGEST_SIZE, max(_SMALLEST_SIZE, sample.side // step * step))


def fitting(sample: ImageSample) -> str:
    """How pictures of another aspect ratio become square."""
    if sample.largest_ratio <= _SQUARE:
        return "squash"
    return "crop" if sample.largest_ratio < _LONG else "letterbox"


def shown_path(path: Path, folder: Path) -> str:
    """`path` as a config in `folder` names it: relative if it is in the folder or beside it."""
    relative = os.path.relpath(path.resolve(), folder.resolve())
    return str(path.resolve()) if relative.startswith(f"..{os.sep}..") else relative


def _data(found: Found, sample: ImageSample, size: int, folder: Path) -> Tree:
    share = 0.1 if found.train >= _MANY else 0.15
    tree: Tree = {
        "source": Noted(found.source, "how the data are read; docs/config.md lists all sources"),
        "path": Noted(shown_path(found.path, folder), "the data; relative paths start at this file"),
        **found.keys,
        "image_size": Noted(
            size, f"every image is resized to this; the median image has {sample.width} x {sample.height} pixels"
        ),
        "heldout_fraction": Noted(share, "of the training images; guides the search"),
    }
    if found.test is None:
        tree["test_fraction"] = Noted(share, "set aside for the final accuracies, as there are no test images")
    return tree


def _resolutions(size: int) -> list[int]:
    if size < _TINY_SIDE:
        return [size]
    step = 4 if size < _PHOTO_SIDE else 8
    return sorted({round(size * share / step) * step for share in (0.75, 0.875, 1)})


def _model(section: dict[str, Any], resolutions: list[int]) -> Tree:
    return section | {
        "space": Noted("mobilenet", "the networks to choose from; docs/config.md lists all model spaces"),
        "resolutions": Noted(resolutions, "sides of the input that subnets may take, at most image_size"),
        "stages": Noted(section["stages"], "wider and deeper ones learn more and cost more"),
    }


def _epochs(train: int) -> int:
    return max(_FEWEST_EPOCHS, min(_MOST_EPOCHS, round(_IMAGES_TO_SEE / train)))


def _training(section: dict[str, Any], found: Found, epochs: int) -> Tree:
    batch = section["batch_size"]
    while batch > _SMALLEST_BATCH and found.train < _STEPS * batch:
        batch //= 2
    tree: Tree = {
        **section,
        "epochs": Noted(epochs, "passes over the images; `factory train --max-hours 2` fits them to your time"),
        "batch_size": batch,
        "learning_rate": section["learning_rate"] * batch / section["batch_size"],
        "augment": Noted(section["augment"], "flip: false if left and right matter, as for text, digits and arrows"),
    }
    tree.pop("precision", None)
    return tree


def unusual(found: Found) -> list[str]:
    """The class counts and whatever is unusual, as comment lines."""
    known = {name: count for name, count in found.counts.items() if count is not None}
    shown = ", ".join(f"{printable(name, 40)} {count:,}" for name, count in list(known.items())[:12])
    more = f" and {len(known) - 12} more" if len(known) > 12 else ""
    few = sum(count < FEW for count in known.values())
    lines = [f"Training images per class: {shown}{more}."] if known else [f"Values: {', '.join(found.counts)}."]
    if few:
        lines.append(f"{counted(few, 'class has', 'classes have')} fewer than {FEW}.")
    return lines
