"""The same subnet in the same precision gives the same bytes, whatever the process exported before."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from device_profiles.engine import Precision
from exports.engines import get_engine
from factory_base.files import sha256_bytes

SHAPE = (3, 12, 12)
PRECISIONS: tuple[Precision, ...] = ("fp32", "fp16", "int8", "int8_weights")


def export_all(folder: Path) -> dict[str, str]:
    """Export a fixed network in every precision; the digests of the files by precision."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    layers = nn.Conv2d(3, 40, 3, bias=False), nn.BatchNorm2d(40), nn.Hardswish(), nn.Conv2d(40, 40, 1), nn.ReLU6()
    net = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(40, 5)).eval()
    inputs = np.random.default_rng(0).normal(size=(8, *SHAPE)).astype(np.float32)
    digests = {}
    for precision in PRECISIONS:
        path = folder / f"{precision}.onnx"
        given = inputs if precision == "int8" else None
        get_engine("onnxruntime").convert(net, SHAPE, path, precision=precision, calibration=given)
        digests[precision] = sha256_bytes(path.read_bytes())
    return digests


@pytest.fixture(scope="module")
def digests(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return export_all(tmp_path_factory.mktemp("files"))


def test_another_process_writes_the_same_files(digests: dict[str, str], tmp_path: Path) -> None:
    program = (
        f"from pathlib import Path; import {Path(__file__).stem} as t; print(t.export_all(Path({str(tmp_path)!r})))"
    )
    environment = os.environ | {"PYTHONHASHSEED": "7", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", program, tmp_path],
        cwd=Path(__file__).parent,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.stdout.strip() == str(digests), done.stderr


def test_a_later_export_of_the_same_process_writes_the_same_files(digests: dict[str, str], tmp_path: Path) -> None:
    assert export_all(tmp_path) == digests


def test_the_files_of_different_precisions_differ(digests: dict[str, str]) -> None:
    assert len(set(digests.values())) == len(PRECISIONS)
