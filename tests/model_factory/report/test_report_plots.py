"""Plots, without the page that holds them."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from PIL import Image

from factory_base.errors import DiskError
from model_factory.report.data import DeviceFront, ReportData
from model_factory.report.plots import accuracy_limits, front_svg, loss_svg, plot_front


def test_a_front_becomes_a_picture(front: DeviceFront, tmp_path: Path) -> None:
    plot_front(front, tmp_path / "plots/front.png")
    with Image.open(tmp_path / "plots/front.png") as image:
        assert image.format == "PNG"
        assert np.asarray(image.convert("RGB")).std() > 10


def test_the_same_front_gives_the_same_bytes(front: DeviceFront, tmp_path: Path) -> None:
    plot_front(front, tmp_path / "a.png")
    plot_front(front, tmp_path / "b.png")
    plot_front(replace(front, points=front.points[:-1]), tmp_path / "c.png")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert (tmp_path / "a.png").read_bytes() != (tmp_path / "c.png").read_bytes()


def test_a_front_without_points_becomes_a_picture(front: DeviceFront, tmp_path: Path) -> None:
    plot_front(replace(front, points=()), tmp_path / "front.png")
    assert (tmp_path / "front.png").stat().st_size > 0


def test_a_path_that_cannot_be_written_is_named(front: DeviceFront, tmp_path: Path) -> None:
    (tmp_path / "front.png").mkdir()
    with pytest.raises(DiskError, match=r"front\.png: cannot be written"):
        plot_front(front, tmp_path / "front.png")


def test_plotting_leaves_no_global_state(front: DeviceFront) -> None:
    program = "import sys, model_factory.report.plots; print('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout.strip() == "False"
    before = dict(mpl.rcParams)
    front_svg(front, (0.0, 1.0), "a")
    assert dict(mpl.rcParams) == before


def test_a_users_own_matplotlib_settings_change_nothing(front: DeviceFront) -> None:
    plain = front_svg(front, (0.0, 1.0), "a")
    with mpl.rc_context({"lines.linewidth": 9, "axes.facecolor": "red", "svg.hashsalt": "mine"}):
        assert front_svg(front, (0.0, 1.0), "a") == plain


@pytest.mark.parametrize(("scale", "unit"), [(1.0, "us"), (20.0, "ms"), (5000.0, "s")])
def test_latency_is_in_a_unit_that_people_read(front: DeviceFront, scale: float, unit: str) -> None:
    points = tuple(replace(point, latency_us=point.latency_us * scale) for point in front.points)
    svg = front_svg(replace(front, points=points, latency_budget_us=None), (0.0, 1.0), "a")
    assert f"latency, modelled ({unit})" in svg


def test_a_missing_pick_or_budget_is_not_drawn(front: DeviceFront) -> None:
    every = front_svg(front, (0.0, 1.0), "a")
    unlimited = replace(front, latency_budget_us=None, points=tuple(replace(p, picked=False) for p in front.points))
    assert "var(--pick)" in every
    assert "var(--budget)" in every
    assert "var(--pick)" not in front_svg(unlimited, (0.0, 1.0), "a")
    assert "var(--budget)" not in front_svg(unlimited, (0.0, 1.0), "a")


def test_limits_include_every_point(front: DeviceFront) -> None:
    low, high = accuracy_limits([front])
    assert low < min(p.accuracy for p in front.points)
    assert high > max(p.accuracy for p in front.points)
    assert accuracy_limits([]) == pytest.approx((-0.05, 1.05))
    alike = replace(front, points=front.points[:1])
    assert accuracy_limits([alike])[0] < accuracy_limits([alike])[1]


def test_the_plot_of_a_long_training_run_stays_small(report: ReportData) -> None:
    assert report.curve is not None
    steps = tuple(range(100_000))
    long = replace(report.curve, steps=steps, loss=tuple(1.0 + step % 7 for step in steps))
    assert len(loss_svg(long, "loss")) < 40_000
