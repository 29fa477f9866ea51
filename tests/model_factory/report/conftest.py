"""A small report for all tests of this folder."""

from __future__ import annotations

import pytest

from model_factory.report.data import DeviceFront, FrontPoint, ProofRow, ReportData, TierRow, TrainingCurve


def tier(name: str, rank: int, platform: str = "android") -> TierRow:
    return TierRow(
        tier=name, platform=platform, rank=rank, model_id=f"model-{rank}", subnet_summary="depth 2",
        precision="fp32", accuracy=0.9,
        accuracy_low=0.88, accuracy_high=0.92, latency_us=900.0, latency_basis="modelled", latency_budget_us=1000.0,
        peak_memory_bytes=2**20, peak_memory_budget_bytes=None, file_bytes=2**19, file_budget_bytes=2**20,
        macs=rank * 1_500_000,
    )  # fmt: skip


def proof(model: str, precision: str) -> ProofRow:
    return ProofRow(
        model_id=model, precision=precision, conversion="mse ranges, equalised; best of 3 attempts",
        drop="-0.12 points (-0.31 to +0.07) on 5,000 images", max_share=0.0254, sqnr_db=32.0, disagreements=10,
        images=1000, latency_p50_us=181.0, latency_p95_us=203.0, runs=1000, load_us=2900.0, peak_memory_bytes=12 << 20,
        machine="a processor, 1 thread, onnxruntime 1.32.0", operators=("Conv", "QuantizeLinear"),
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
        family_id="digits", release=2, dataset_name="digits", train_count=1295, train_use="weights",
        heldout_count=143, test_count=359,
        labels_count=10, curve=curve, fronts=(front,), tiers=(tier("midrange", 1), tier("flagship", 2)),
        measured=("parity",), modelled=("latency",), warnings=("both tiers are close",),
        versions={"torch": "2.13.0"}, stage_seconds={"train": 61.0}, supernet_digest="0" * 64,
        proofs=(proof("model-1", "fp32"), proof("model-2", "int8")),
    )  # fmt: skip
