"""`benchmarks/transfer.py` on a few invented images, from invented weights in the place of the pretrained ones."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

sys.path.append(str(Path(__file__).parents[1] / "supernet" / "weights"))
from packaged_weights import write_package


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Twenty training images and four test images a class, in the form of CIFAR-10."""
    rng = np.random.default_rng(0)
    for name, count in (("train", 200), ("test", 40)):
        rows = []
        for _ in range(count):
            stream = io.BytesIO()
            Image.fromarray(rng.integers(0, 255, (32, 32, 3), dtype=np.uint8)).save(stream, "PNG")
            rows.append({"bytes": stream.getvalue(), "path": None})
        pq.write_table(pa.table({"image": rows, "label": np.arange(count) % 10}), tmp_path / f"{name}.parquet")
    return tmp_path


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(write_package(tmp_path / "site").parents[2])


@pytest.mark.engines
@pytest.mark.usefixtures("package")
def test_the_quick_form_compares_the_family_with_scratch_and_with_each_tier_alone(quick, data: Path, tmp_path: Path):
    result = quick("transfer", "--data", data, "--work", tmp_path / "work", "--threads", 1)
    largest, middle, smallest = result["macs"]
    assert largest > middle > smallest
    gaps = np.array(result["accuracy"]) - np.array(result["accuracy_alone"])
    assert result["mean_gap"] == pytest.approx(gaps.mean(), abs=1e-3)
    assert result["worst_gap"] == pytest.approx(gaps.min(), abs=1e-3)
    gains = np.array(result["accuracy"]) - np.array(result["accuracy_scratch"])
    assert result["over_scratch"] == pytest.approx(gains.mean(), abs=1e-3)
    finished = {path: path.stat().st_mtime_ns for path in (tmp_path / "work").glob("*.json")}
    assert len(finished) == 5
    again = quick("transfer", "--data", data, "--work", tmp_path / "work", "--threads", 1)
    assert again["accuracy"] == result["accuracy"]
    assert finished == {path: path.stat().st_mtime_ns for path in (tmp_path / "work").glob("*.json")}


def test_images_are_the_first_of_each_class_and_held_out_ones_come_after_them(load, data: Path):
    script = load("transfer")
    found = script.thinned(data / "train.parquet", {"train": 3, "heldout": 2}, 48)
    assert found["train_images"].shape == (30, 3, 48, 48)
    assert sorted(found["heldout_labels"]) == sorted(list(range(10)) * 2)
    seen = {image.tobytes() for image in found["train_images"]}
    assert not seen & {image.tobytes() for image in found["heldout_images"]}


def test_only_the_quick_form_works_without_a_folder(load, capsys):
    parse = load("transfer").parse
    assert parse(["--quick", "--data", "x"]).work is None
    with pytest.raises(SystemExit, match="2"):
        parse(["--data", "x"])
    assert "name a folder with --work" in capsys.readouterr().err
