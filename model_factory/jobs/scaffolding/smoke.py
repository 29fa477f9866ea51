"""The config of a trial: the whole loop on the user's data in about two minutes on two CPU cores."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from model_factory.jobs.scaffolding.chosen import shown_path
from model_factory.jobs.scaffolding.found import Found, ImageSample
from model_factory.jobs.scaffolding.writing import Noted, Tree, plain

_IMAGES = 600
"""Training images that are used; decoding as many photos takes seconds."""
_SEEN = 900
"""Images that the training sees in all passes, so that it takes less than a minute."""
_TESTS, _SMALLEST_SHARE, _LARGEST_SHARE = 300, 0.0001, 0.2
"""Test examples, and bounds on the share of the training data that they are drawn from."""
_SIZE = 64
"""The largest image size of a trial."""
_TOKENS = 200
"""Tokens of a tokenizer for texts; as few that some hundred texts give as many."""
_SEARCH: Final = {
    "shared_subnets": 6, "trials_per_target": 1, "rounds": 1, "score_images": 200, "finalists": 2,
    "calibration_images": 200, "calibration_tolerance": 0,
}  # fmt: skip


def smoke(tree: Tree, found: Found, folder: Path) -> Tree:
    """`tree`, a config in `folder`, with few examples, steps and subnets, and no targets yet."""
    data, model, training = (dict(tree[section]) for section in ("data", "model", "training"))
    limit = _limit(found)
    if limit is not None:
        data["limit"] = Noted(limit, "training examples, drawn at random")
    data |= _few_tests(found, data, folder)
    if isinstance(found.sample, ImageSample):
        size = min(_SIZE, plain(data["image_size"]))
        data["image_size"] = size
        model["resolutions"] = [size]
    else:
        model["lengths"] = plain(model["lengths"])[:1]
        model["vocabulary"] = min(_TOKENS, plain(model["vocabulary"]))
    training["epochs"] = round(max(1.0, _SEEN / (limit or found.train)), 1)
    return {
        "name": f"{plain(tree['name'])[:58]}-smoke",
        "seed": tree["seed"],
        "threads": plain(tree["threads"]),
        "task": plain(tree["task"]),
        "data": data,
        "model": plain(model),
        "training": plain(training),
        "search": dict(_SEARCH),
    }


def _few_tests(found: Found, data: Tree, folder: Path) -> Tree:
    """The keys that make the test split small: it is drawn from the training data, even if there are test data."""
    share = max(_SMALLEST_SHARE, round(_TESTS / found.train, 4))
    if found.test is None:
        return {"test_fraction": min(share, plain(data["test_fraction"]))}
    if found.test <= _TESTS or found.train_path is None:
        return {}
    data.pop("test_path", None)
    path = Noted(shown_path(found.train_path, folder), "training data alone; some of them are set aside for the test")
    return {"path": path, "test_fraction": min(share, _LARGEST_SHARE)}


def _limit(found: Found) -> int | None:
    """Images to use; None for all. As many that the rarest class is not lost by the draw, if that is possible."""
    counts = [count for count in found.counts.values() if count is not None]
    rarest = min(counts, default=found.train)
    # A class needs 2 images after the draw; with 12 expected, fewer than 2 are left once in ten thousand draws.
    needed = max(_IMAGES, round(12 * found.train / max(1, rarest)))
    return needed if needed < found.train else None
