"""`benchmarks/imbalance.py`: the images that are kept, the figures and their intervals, and a run on few images."""

from __future__ import annotations

import io
import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from PIL import Image

LABELS = np.repeat(np.arange(10), 20)
NATURAL = np.array([0.18] * 5 + [0.02] * 5)


@pytest.fixture
def script(load) -> ModuleType:
    return load("imbalance")


def predictions(right: int, rare: int) -> np.ndarray:
    """Of each frequent class so many images are right, and of each rare one so many; the others get the next class."""
    place = np.arange(len(LABELS)) % 20
    return np.where(place < np.where(LABELS < 5, right, rare), LABELS, (LABELS + 1) % 10)


def test_as_many_images_of_each_class_are_kept_as_asked_for_and_the_seed_says_which(script):
    labels = np.arange(1000) % 10
    rows = script.thinned(labels, 60, 5, seed=1)
    assert np.bincount(labels[rows]).tolist() == [60] * 5 + [5] * 5
    assert len(set(rows.tolist())) == len(rows)
    assert rows.tolist() == script.thinned(labels, 60, 5, seed=1).tolist()
    assert rows.tolist() != script.thinned(labels, 60, 5, seed=2).tolist()


def test_the_figures_are_those_of_the_recalls(script):
    found = script.compared([(predictions(16, 2), predictions(15, 8))], LABELS, NATURAL)
    gains = {
        name: found[name]["gain"] for name in ("worst_class_recall", "accuracy", "natural_accuracy", "rare_recall")
    }
    assert gains == {
        "worst_class_recall": 0.3,
        "accuracy": pytest.approx((5 * -0.05 + 5 * 0.3) / 10),
        "natural_accuracy": pytest.approx(0.9 * -0.05 + 0.1 * 0.3),
        "rare_recall": 0.3,
    }
    assert found["recalls"] == {"none": [0.8] * 5 + [0.1] * 5, "with": [0.75] * 5 + [0.4] * 5}


def test_intervals_are_paired_so_equal_predictions_have_none(script):
    found = script.compared([(predictions(16, 2), predictions(16, 2))], LABELS, NATURAL)
    assert found["accuracy"]["interval"] == [0.0, 0.0]
    other = script.compared([(predictions(16, 2), predictions(16, 8))], LABELS, NATURAL)["accuracy"]
    assert other["interval"][0] < other["gain"] < other["interval"][1]


def test_the_gain_is_the_mean_over_the_seeds_which_are_stated(script):
    pairs = [(predictions(16, 2), predictions(16, 4)), (predictions(16, 2), predictions(16, 8))]
    found = script.compared(pairs, LABELS, NATURAL)["rare_recall"]
    assert (found["gain"], found["seeds"]) == (0.2, [0.1, 0.3])


@pytest.fixture
def cifar(tmp_path, script) -> Path:
    """Noise in the form of CIFAR-10."""
    generator = np.random.default_rng(0)
    features = {
        "image": {"_type": "Image"},
        "label": {"_type": "ClassLabel", "names": [*script.FREQUENT, *script.RARE]},
    }
    for name, count in (("train", 400), ("test", 60)):
        rows = []
        for _ in range(count):
            buffer = io.BytesIO()
            Image.fromarray(generator.integers(0, 256, (32, 32, 3), np.uint8)).save(buffer, "png")
            rows.append({"bytes": buffer.getvalue(), "path": None})
        table = pyarrow.table({"image": rows, "label": np.arange(count) % 10})
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
        pyarrow.parquet.write_table(table, tmp_path / f"{name}.parquet")
    return tmp_path


def test_the_quick_form_trains_both_sides_and_keeps_what_it_trained(cifar, quick, tmp_path):
    options = ("--data", cifar, "--work", tmp_path / "work", "--processes", 1, "--epochs", 1)
    sizes = ("--frequent", 24, "--rare", 3, "--test", 50)
    result = quick("imbalance", *options, *sizes)
    (largest, smallest) = result["comparisons"]["auto"]
    assert (largest["tier"], smallest["tier"]) == ("largest", "smallest")
    assert result["test_images"] == [5] * 10
    kept = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "work").glob("*.npy")}
    assert sorted(name.split("-")[0] for name in kept) == ["auto", "none"]
    quick("imbalance", *options, *sizes)
    assert {path.name: path.stat().st_mtime_ns for path in (tmp_path / "work").glob("*.npy")} == kept
