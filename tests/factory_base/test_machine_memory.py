"""The memory that a process may use."""

from __future__ import annotations

from pathlib import Path

import pytest

from factory_base.machine_memory import usable_memory


@pytest.mark.parametrize("limit", ["max", "no number", str(2**80), None])
def test_without_a_lower_limit_it_is_the_memory_of_the_machine(tmp_path: Path, limit: str | None) -> None:
    _write(tmp_path, limit)
    assert usable_memory(tmp_path) == usable_memory(tmp_path / "elsewhere") > 2**26


def test_the_limit_of_the_control_group_counts(tmp_path: Path) -> None:
    _write(tmp_path, f"{2**20}\n")
    assert usable_memory(tmp_path) == 2**20


def _write(root: Path, limit: str | None) -> None:
    if limit is not None:
        (root / "sys/fs/cgroup").mkdir(parents=True)
        (root / "sys/fs/cgroup/memory.max").write_text(limit, encoding="ascii")
