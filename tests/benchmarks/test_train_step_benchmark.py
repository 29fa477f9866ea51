"""`benchmarks/train_step.py` with a small batch."""

from __future__ import annotations


def test_the_quick_form_compares_float32_steps_only(quick):
    result = quick("train_step", "--batch", 2, "--resolution", 32, "--repeats", 1)
    assert result["ratio"] == result["ratio_float32"] > 0
    assert result["images_per_second"].keys() == {"elastic", "float32"}
    assert "causes" not in result
