"""Metrics of `quality_cifar10`: gaps, rankings, hypervolume and cost of a family. Not a benchmark itself."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

CHANCE = 0.1
"""Accuracy of guessing among ten classes."""

BOOTSTRAP = 2000
"""Resamples: the bounds of an interval then scatter by a few percent of its width."""

BAND_TOLERANCE = 0.1
"""Relative difference in MACs up to which a network belongs to a band; as in `quality_networks`."""

HELDOUT = ("heldout", "heldout_finetuned")


def predictions_of(result: dict[str, Any]) -> NDArray[np.int8]:
    """(subnets, images): Predicted classes that a job wrote beside its result."""
    flat = np.frombuffer(Path(result["file"]).with_suffix(".npy").read_bytes(), dtype=np.int8)
    return flat.reshape(result["subnets"], -1)


def summary(results: Sequence[dict[str, Any]], labels: NDArray[np.int64]) -> dict[str, Any]:
    """All metrics: means over seeds, with intervals from resampling the test images in pairs.

    A metric is None if it is not defined, for example a rank correlation of equal accuracies.

    Args:
        results: The results of each seed, from `quality_cifar10.one_seed`.
        labels: (images,); labels of the test images.
    """
    gaps = np.mean([gap_matrix(r, family_predictions(r), labels) for r in results], axis=0)  # (tiers, images)
    shared = np.mean([gap_matrix(r, predictions_of(r["family"]), labels) for r in results], axis=0)
    means = resampled(gaps)
    return {
        "mean_gap": round(float(gaps.mean()), 5),
        "mean_gap_interval": interval(means.mean(1)),
        "worst_gap": round(float(gaps.mean(1).min()), 5),
        "worst_gap_interval": interval(means.min(1)),
        "gaps": [round(float(g), 5) for g in gaps.mean(1)],
        "gaps_of_shared_weights": [round(float(g), 5) for g in shared.mean(1)],
        "hypervolume_gain": rounded(np.mean([hypervolume_gain(r) for r in results]), 4),
        "cost_ratio": round(float(np.mean([cost_ratio(r) for r in results])), 3),
        **rankings(results),
        "networks_ranked": len(results[0]["macs"]),
    }


def rounded(value: float | np.floating[Any], digits: int) -> float | None:
    """`value` with so many digits after the point; None if it is not finite."""
    return round(float(value), digits) if math.isfinite(value) else None


def family_predictions(result: dict[str, Any]) -> NDArray[np.int8]:
    """(tiers, images): Predicted classes of the networks that would be exported.

    A tier has its fine-tuned weights if they are better on held-out images, else the shared weights.
    """
    family, tiers = result["family"], result["tiers"]
    found = predictions_of(family)
    shared, own = found[:tiers], found[-tiers:]
    better = [after > before for before, after in zip(family["heldout"], family["heldout_finetuned"], strict=False)]
    return np.where(np.array(better)[:, None], own, shared) if better else shared


def gap_matrix(result: dict[str, Any], family: NDArray[np.int8], labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """(tiers, images): 1 where only the family's network is right, -1 where only the one trained alone is right."""
    shared = family[: result["tiers"]] == labels
    alone = np.stack([predictions_of(r)[0] for r in result["alone"][: result["tiers"]]]) == labels
    return shared.astype(np.float64) - alone


def resampled(gaps: NDArray[np.float64]) -> NDArray[np.float64]:
    """(resamples, tiers): Mean gaps over test images drawn with replacement."""
    rng = np.random.default_rng(0)
    count = gaps.shape[1]
    return np.stack([gaps[:, rng.integers(0, count, count)].mean(1) for _ in range(BOOTSTRAP)])


def interval(values: NDArray[np.float64]) -> list[float]:
    """The interval that contains 95 % of `values`."""
    return [round(float(v), 5) for v in np.percentile(values, (2.5, 97.5))]


def cost_ratio(result: dict[str, Any]) -> float:
    """Core-seconds of the family over those of training the largest network alone (median of its learning rates)."""
    return float(result["family"]["core_seconds"]["total"] / np.median(result["largest_alone_core_seconds"]))


def rankings(results: Sequence[dict[str, Any]]) -> dict[str, float | None]:
    """Kendall's tau between test accuracies with shared weights and of networks trained alone, and within the latter.

    `kendall_tau` and `kendall_tau_band` are means over seeds, over all networks and within the bands. `..._of_means`
    compares accuracies averaged over seeds, `..._pooled` accuracies averaged over held-out and test images as well. A
    supernet cannot be expected to agree with training alone better than training alone agrees with itself:
    `..._judged_twice` compares the networks trained alone on held-out and on test images, and `..._trained_twice`
    compares one seed with another on the test images.
    """
    count = len(results[0]["macs"])
    sizes = np.array(results[0]["macs"])
    bands = [np.abs(sizes / sizes[tier] - 1) <= BAND_TOLERANCE for tier in results[0]["bands"]]
    keys = ("accuracy", "heldout")
    shared, shared_heldout = (np.array([r["family"][key][:count] for r in results]) for key in keys)
    alone, heldout = (np.array([[a[key] for a in r["alone"]] for r in results]) for key in keys)
    compared = {
        "": list(zip(shared, alone, strict=True)),
        "_of_means": [(shared.mean(0), alone.mean(0))],
        "_pooled": [((shared + shared_heldout).mean(0), (alone + heldout).mean(0))],
        "_judged_twice": list(zip(heldout, alone, strict=True)),
        "_trained_twice": list(itertools.combinations(alone, 2)),
    }
    everything = [np.full(count, True)]
    return {
        f"kendall_tau{suffix}{kind}": rounded(np.mean([kendall_tau(a, b, rows) for a, b in pairs]), 3)
        for kind, pairs in compared.items()
        for suffix, rows in (("", everything), ("_band", bands))
        if pairs
    }


def kendall_tau(one: NDArray[np.float64], other: NDArray[np.float64], groups: Sequence[NDArray[np.bool_]]) -> float:
    """Kendall's tau of two rankings of the same networks, averaged over `groups` of the networks."""
    from scipy.stats import kendalltau

    return float(np.mean([kendalltau(one[rows], other[rows]).statistic for rows in groups]))


def hypervolume_gain(result: dict[str, Any]) -> float:
    """Relative gain of the area that the family's picks dominate over that of the scaled widths.

    The area is over the logarithm of MACs and above chance. NaN if the scaled widths dominate none.
    """
    count = len(result["macs"])
    picks = list(zip(result["family"]["pick_macs"], result["family"]["accuracy"][count:], strict=False))
    widths = [(r["macs"], r["accuracy"]) for r in result["widths"]]
    low = min(size for size, _ in (*picks, *widths))
    high = max(size for size, _ in (*picks, *widths))
    baseline = area(widths, low, high)
    return area(picks, low, high) / baseline - 1 if baseline else math.nan


def area(points: Sequence[tuple[int, float]], low: int, high: int) -> float:
    """Area above chance under the best accuracy up to each size, from log `low` to log `high`."""
    total, best, last = 0.0, CHANCE, math.log(low)
    for size, accuracy in (*sorted(points), (high, 0.0)):
        total += (best - CHANCE) * (math.log(size) - last)
        best, last = max(best, accuracy), math.log(size)
    return total


def print_markdown(result: dict[str, Any], results: Sequence[dict[str, Any]], labels: NDArray[np.int64]) -> None:
    """Print a table of the tiers, with means over seeds, and the main metrics."""
    family = np.mean([(family_predictions(r) == labels).mean(1) for r in results], axis=0)
    heldout = [np.mean([r["family"][key] for r in results], axis=0) for key in HELDOUT if results[0]["family"][key]]
    print("| MMACs | family | shared weights | alone | gap | learning rate alone | held-out: shared, own | alone |")
    print("|--:|--:|--:|--:|--:|--:|--:|--:|")
    for i in range(results[0]["tiers"]):
        alone = [r["alone"][i] for r in results]
        shared = np.mean([r["family"]["accuracy"][i] for r in results])
        print(
            f"| {results[0]['macs'][i] / 1e6:.2f} | {family[i]:.2%} | {shared:.2%} "
            f"| {np.mean([a['accuracy'] for a in alone]):.2%} | {result['gaps'][i]:+.2%} "
            f"| {', '.join(str(a['learning_rate']) for a in alone)} "
            f"| {', '.join(f'{values[i]:.2%}' for values in heldout)} | {np.mean([a['heldout'] for a in alone]):.2%} |"
        )
    print()
    headline = ("mean_gap", "worst_gap", "hypervolume_gain", "cost_ratio")
    for name in (*headline, *(key for key in result if key.startswith("kendall_tau"))):
        print(f"{name}: {result[name]}")
