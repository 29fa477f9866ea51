"""Collects the facts about this computer by which the resolver chooses. A fact that it cannot determine is absent."""

from __future__ import annotations

import os
import platform
import re
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from .engine import Engine
from .records import DeviceFacts

QUOTA_FILES = ("cpu.max", "cpu.cfs_quota_us", "cpu.cfs_period_us")
"""Quota and period of a cgroup of Linux: version 2 has them in one file, version 1 in two."""


def device_facts(folder: Path, engine: Engine, changes: Mapping[str, Any] = MappingProxyType({})) -> DeviceFacts:
    """The facts of this computer.

    Args:
        folder: The folder of the store, which exists; free disk space is that of its file system.
        engine: The engine of the app.
        changes: Facts in JSON form that replace those found here; None makes one unknown.
    """
    found = {
        "platform": sys.platform,
        "ram_bytes": meminfo("MemTotal"),
        "available_memory_bytes": meminfo("MemAvailable"),
        "cores": usable_cores(),
        "os_version": os_version(),
        "free_disk_bytes": shutil.disk_usage(folder).free,
        "engine": engine.name,
        "engine_version": engine.version,
    }
    return DeviceFacts.from_json(found | dict(changes))


def os_version() -> str | None:
    """The leading dotted numbers of the version of macOS, or of the kernel elsewhere; None if it has none."""
    text = platform.mac_ver()[0] or platform.release()
    numbers = re.match(r"[0-9]+(\.[0-9]+)*", text)
    return numbers.group() if numbers else None


def usable_cores(root: Path = Path("/")) -> int:
    """Processors that this process may use, at least 1: its affinity, cut to the quotas of its cgroups (1 and 2)."""
    found = float(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    for line in words(root / "proc/self/cgroup"):
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        if controllers and "cpu" not in controllers.split(","):
            continue
        group = Path(path.lstrip("/"))
        mounts = [controllers, "cpu"] if controllers else ["", "unified"]
        for folder in [root / "sys/fs/cgroup" / mount / part for mount in mounts for part in (group, *group.parents)]:
            limit = [word for file in QUOTA_FILES for word in words(folder / file)]
            if len(limit) == 2 and all(re.fullmatch(r"0*[1-9][0-9]{0,18}", word) for word in limit):
                found = min(found, int(limit[0]) / int(limit[1]))
    return max(1, int(found))


def words(path: Path) -> list[str]:
    """The words of a file of the system; none if it cannot be read."""
    try:
        return path.read_text(encoding="utf-8").split()
    except (OSError, ValueError):
        return []


def meminfo(name: str) -> int | None:
    """The value of a line of Linux's /proc/meminfo, in bytes; None on other systems."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:")), None)
