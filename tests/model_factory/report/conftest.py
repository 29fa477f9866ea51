"""A small report for all tests of this folder."""

from __future__ import annotations

import pytest

from model_factory.report.data import DeviceFront, FrontPoint, ReportData, TierRow, TrainingCurve


def tier(name: str, rank: int, platform: str = "android") -> TierRow:
    return TierRow(
        tier=name, platform=platform, rank=rank, model_id=f"model-{rank}", subnet_summary="depth 2",
        precision="fp32", accuracy=0.9,
        accuracy_low=0.88, accuracy_high=0.92, latency_us=900.0, latency_basis="modelled", latency_budget_us=1000.0,
        peak_memory_bytes=2**20, peak_memory_budget_bytes=None, file_bytes=2**19, file_budget_bytes=2**20,
        macs=rank * 1_500_000, parity_max_abs=1e-6,
    )  # fmt: skip


@pytest.fixture
def front() -> DeviceFront:
    points = tuple(
        FrontPoint(
            latency_us=100.0 * i, accuracy=0.5 + 0.04 * i, on_front=True, picked=i == 5, feasible=i < 6, label=str(i)
        )
        for i in range(1, 9)
    )
    return DeviceFront(device="midrange", latency_basis="modelled", points=points, latency_budget_us=550.0)


@pytest.fixture
def report(front: DeviceFront) -> ReportData:
    curve = TrainingCurve(
        steps=tuple(range(1000)),
        loss=tuple(2.0 / (1 + step) for step in range(1000)),
        largest_accuracy=((0, 0.1), (900, 0.9)),
        smallest_accuracy=((0, 0.1), (900, 0.8)),
        phase_boundary=400,
    )
    return ReportData(
        family_id="digits", release=2, dataset_name="digits", train_count=1295, heldout_count=143, test_count=359,
        labels_count=10, curve=curve, fronts=(front,), tiers=(tier("midrange", 1), tier("flagship", 2)),
        measured=("parity",), modelled=("latency",), warnings=("both tiers are close",),
        versions={"torch": "2.13.0"}, stage_seconds={"train": 61.0}, supernet_digest="0" * 64,
    )  # fmt: skip
