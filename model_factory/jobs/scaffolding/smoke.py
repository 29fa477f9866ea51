"""The config of a trial: the whole loop on the user's data in about two minutes on two CPU cores."""

from __future__ import annotations

from typing import Any

from model_factory.jobs.scaffolding.found import Found
from model_factory.jobs.scaffolding.writing import Noted, Tree, plain

_IMAGES = 600
"""Training images that are used; decoding as many photos takes seconds."""
_SEEN = 900
"""Images that the training sees in all passes, so that it takes less than a minute."""
_SIZE = 64
"""The largest image size of a trial."""


def smoke(tree: Tree, found: Found) -> Tree:
    """`tree` with few images, few steps, few subnets and two of its targets."""
    data, model, training = (dict(tree[section]) for section in ("data", "model", "training"))
    limit = _limit(found)
    if limit is not None:
        data["limit"] = Noted(limit, "training images, drawn at random")
    size = min(_SIZE, plain(data["image_size"]))
    data["image_size"] = size
    model["resolutions"] = [size]
    training["epochs"] = round(max(1.0, _SEEN / (limit or found.train)), 1)
    targets = plain(tree["targets"])
    return {
        "name": f"{plain(tree['name'])[:58]}-smoke",
        "seed": tree["seed"],
        "threads": plain(tree["threads"]),
        "data": data,
        "model": _without_notes(model),
        "training": _without_notes(training),
        "search": {"shared_subnets": 6, "trials_per_target": 1, "rounds": 1, "score_images": 200, "finalists": 2,
                   "calibration_images": 200, "calibration_tolerance": 0},
        "targets": [targets[0], targets[2]],
    }  # fmt: skip


def _limit(found: Found) -> int | None:
    """Images to use; None for all. As many that the rarest class is not lost by the draw, if that is possible."""
    counts = [count for count in found.counts.values() if count is not None]
    rarest = min(counts, default=found.train)
    # A class needs 2 images after the draw; with 12 expected, fewer than 2 are left once in ten thousand draws.
    needed = max(_IMAGES, round(12 * found.train / max(1, rarest)))
    return needed if needed < found.train else None


def _without_notes(section: Tree) -> dict[str, Any]:
    found: dict[str, Any] = plain(section)
    return found
