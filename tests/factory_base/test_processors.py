"""The processors that a process may use: affinity, and quotas of both versions of cgroups."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from exports.client.python import facts
from factory_base.processors import usable_cores

GROUPS = {
    "no cgroups": ({}, 16),
    "version 2": ({"proc/self/cgroup": "0::/", "sys/fs/cgroup/cpu.max": "200000 100000\n"}, 2),
    "no quota": ({"proc/self/cgroup": "0::/", "sys/fs/cgroup/cpu.max": "max 100000\n"}, 16),
    "half a processor": ({"proc/self/cgroup": "0::/", "sys/fs/cgroup/cpu.max": "50000 100000"}, 1),
    "two and a half": ({"proc/self/cgroup": "0::/a", "sys/fs/cgroup/a/cpu.max": "250000 100000"}, 2),
    "a group around it": (
        {
            "proc/self/cgroup": "0::/pod/box",
            "sys/fs/cgroup/pod/box/cpu.max": "max 100000",
            "sys/fs/cgroup/pod/cpu.max": "300000 100000",
        },
        3,
    ),
    "version 1": (
        {
            "proc/self/cgroup": "5:memory:/box\n4:cpu,cpuacct:/box",
            "sys/fs/cgroup/cpu,cpuacct/box/cpu.cfs_quota_us": "400000",
            "sys/fs/cgroup/cpu,cpuacct/box/cpu.cfs_period_us": "100000",
        },
        4,
    ),
    "version 1 in a container": (
        {
            "proc/self/cgroup": "4:cpu,cpuacct:/docker/0123",
            "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
            "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
        },
        16,
    ),
    "a number too long for Python": ({"proc/self/cgroup": "0::/", "sys/fs/cgroup/cpu.max": "9" * 5000 + " 1"}, 16),
    "a period of zero": ({"proc/self/cgroup": "0::/", "sys/fs/cgroup/cpu.max": "50000 0"}, 16),
    "nonsense": ({"proc/self/cgroup": "0::/", "sys/fs/cgroup/cpu.max": "many ²\n"}, 16),
}


@pytest.mark.parametrize("count", [usable_cores, facts.usable_cores], ids=["packages", "client"])
@pytest.mark.parametrize("case", GROUPS)
def test_the_quota_of_a_cgroup_limits_the_processors(case, count, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)), raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    files, expected = GROUPS[case]
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    assert count(tmp_path) == expected


def test_the_affinity_counts_and_not_the_machine(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {5, 7, 9}, raising=False)
    assert usable_cores(tmp_path) == facts.usable_cores(tmp_path) == 3
