"""`benchmarks/quality_metrics.py` with known predictions, and which networks `quality_cifar10.py` names."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

LABELS = np.arange(100) % 10


@pytest.fixture
def script(load) -> ModuleType:
    return load("quality_metrics")


def predictions(*right: int) -> np.ndarray:
    """(networks, images): Classes of which the first `right` images of each network are right, and the others wrong."""
    wrong = (LABELS + 1) % 10
    return np.stack([np.where(np.arange(100) < count, LABELS, wrong) for count in right]).astype(np.int8)


@pytest.fixture
def result(tmp_path: Path) -> dict[str, Any]:
    """Two tiers, one further network, one pick. Fine-tuning made the second tier worse."""

    def written(name: str, *right: int) -> dict[str, Any]:
        (tmp_path / f"{name}.npy").write_bytes(predictions(*right).tobytes())
        accuracy = [count / 100 for count in right]
        return {"file": str(tmp_path / f"{name}.json"), "subnets": len(right), "accuracy": accuracy}

    family = written("family", 70, 60, 65, 75, 74, 50)  # tiers, other, pick, the tiers after fine-tuning
    family |= {"heldout": [0.7, 0.6, 0.6], "heldout_finetuned": [0.75, 0.5], "pick_macs": [400]}
    alone = [
        {**written(f"alone-{i}", count), "accuracy": count / 100, "heldout": (100 - count) / 100}
        for i, count in enumerate((72, 61, 64))
    ]
    return {
        "tiers": 2,
        "macs": [400, 100, 105],
        "bands": [1],
        "family": {**family, "core_seconds": {"total": 30.0}},
        "alone": alone,
        "widths": [{"macs": 100, "accuracy": 0.4}, {"macs": 400, "accuracy": 0.5}],
        "largest_alone_core_seconds": [10.0, 15.0, 40.0],
    }


def test_a_tier_has_its_own_weights_if_they_are_better_on_held_out_images(script, result) -> None:
    found = script.summary([result], LABELS)
    assert found["gaps"] == pytest.approx([0.74 - 0.72, 0.60 - 0.61])
    assert found["gaps_of_shared_weights"] == pytest.approx([0.70 - 0.72, 0.60 - 0.61])
    assert found["mean_gap"] == pytest.approx(0.005)
    assert found["worst_gap"] == pytest.approx(-0.01)
    low, high = found["worst_gap_interval"]
    assert low < -0.01 < high
    assert found["cost_ratio"] == 2


def test_rankings_and_hypervolume_use_the_shared_weights(script, result) -> None:
    found = script.summary([result], LABELS)
    assert found["kendall_tau"] == 1
    assert found["kendall_tau_band"] == 1
    assert found["hypervolume_gain"] == pytest.approx(
        -1
    )  # the pick is as large as the largest width, so it has no area
    result["family"]["pick_macs"] = [100]
    assert script.summary([result], LABELS)["hypervolume_gain"] == pytest.approx(
        (0.75 - 0.1) / (0.4 - 0.1) - 1, abs=1e-4
    )


def test_rankings_come_with_the_agreement_of_training_alone_with_itself(script, result) -> None:
    found = script.summary([result], LABELS)
    assert found["kendall_tau_judged_twice"] == found["kendall_tau_band_judged_twice"] == -1
    assert "kendall_tau_trained_twice" not in found  # one seed
    swapped = [result["alone"][i] | {"accuracy": a} for i, a in enumerate((0.72, 0.68, 0.60))]
    found = script.summary([result, result | {"alone": swapped}], LABELS)
    assert found["kendall_tau"] == pytest.approx((1 + 1 / 3) / 2, abs=1e-3)
    assert found["kendall_tau_band_trained_twice"] == -1
    assert found["kendall_tau_band_of_means"] == -1  # 0.645 and 0.62 alone, 0.60 and 0.65 shared
    assert found["kendall_tau_band_pooled"] == -1  # 1.035 and 0.98 alone, 1.20 and 1.25 shared


def test_without_fine_tuning_the_family_has_the_shared_weights(script, result) -> None:
    result["family"]["heldout_finetuned"] = []
    found = script.summary([result], LABELS)
    assert found["gaps"] == found["gaps_of_shared_weights"]


def test_a_metric_that_is_not_defined_is_none(script, result):
    result["widths"] = [{"macs": 100, "accuracy": 0.1}, {"macs": 400, "accuracy": 0.1}]
    assert script.summary([result], LABELS)["hypervolume_gain"] is None


def test_the_quick_form_names_tiers_and_a_band_of_the_same_space(load):
    networks = load("quality_networks")
    space, extent = networks.make_space(networks.MODEL), networks.QUICK_EXTENT
    tiers, others = networks.named_networks(space, extent)
    largest, smaller = (networks.macs(space, tier) for tier in tiers)
    assert tiers[0] == space.space.largest
    assert smaller / largest == pytest.approx(0.34, rel=networks.TIER_TOLERANCE)
    assert [networks.macs(space, other) for other in others] == pytest.approx(
        [smaller] * 2, rel=networks.BAND_TOLERANCE
    )


def test_only_the_quick_form_works_without_a_folder_to_keep_training_runs_in(load, capsys):
    parse = load("quality_cifar10").parse
    assert parse(["--quick", "--data", "x"]).work is None
    with pytest.raises(SystemExit, match="2"):
        parse(["--data", "x"])
    assert "name a folder with --work" in capsys.readouterr().err
