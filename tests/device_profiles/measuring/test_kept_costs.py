"""Costs that stay in a profile when its machine is measured in another precision."""

from __future__ import annotations

from pathlib import Path

import pytest

from device_profiles.measuring.kept_costs import kept_costs
from device_profiles.profile import find_profile
from device_profiles.profile_writer import write_profile
from factory_base.errors import ConfigError

MACHINE = "one processor, onnxruntime 1.0, 1 thread"


@pytest.fixture
def lab(tmp_path: Path) -> Path:
    """A profile whose costs in float32 are of a machine, and those in int8 are modelled."""
    profile = find_profile("midrange", tmp_path).profile
    costs = profile.costs.model_copy(update={"machine": MACHINE})
    write_profile(profile.stating({**profile.all_costs, "fp32": costs}), tmp_path / "lab.yaml")
    return tmp_path / "lab.yaml"


def test_measured_costs_in_other_precisions_are_kept(lab: Path) -> None:
    kept = kept_costs(lab, ["int8"])
    assert list(kept.costs) == ["fp32"]
    kept.check_machine({"fp32": MACHINE}, space="any")


def test_nothing_is_kept_of_what_is_measured_again_or_was_never_measured(lab: Path) -> None:
    assert kept_costs(lab, ["fp32"]) is None
    assert kept_costs(lab, ["fp32", "int8"]) is None
    assert kept_costs(lab.with_name("absent.yaml"), ["fp32"]) is None


def test_costs_of_another_machine_are_neither_mixed_nor_dropped_silently(lab: Path) -> None:
    now = MACHINE.replace("1.0", "2.0")
    with pytest.raises(
        ConfigError, match=r"lab.yaml: holds costs in fp32 of one processor, onnxruntime 1.0, .*2.0"
    ) as e:
        kept_costs(lab, ["int8"]).check_machine({"fp32": now}, space="any")
    assert "measure all precisions in one run" in str(e.value)
    assert "drop the costs in fp32 with --force" in str(e.value)
