"""How many processors this process may use: fewer than the machine has, in a container or under `taskset`."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

_QUOTA_FILES = ("cpu.max", "cpu.cfs_quota_us", "cpu.cfs_period_us")
"""Quota and period of a cgroup: version 2 has them in one file, version 1 in two."""


def usable_cores(root: Path = Path("/")) -> int:
    """Processors that this process may use, at least 1: its affinity, cut to whole processors of its cgroup's quota.

    More threads than that would be stopped for a part of every period of the quota.

    Args:
        root: The root of the file system.
    """
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, int(min([affinity, *_quotas(root)])))


def _quotas(root: Path) -> Iterator[float]:
    """The quota in processors of each cgroup that this process is in, and of the groups around them.

    A container may see its own group as the root of the hierarchy while `/proc` shows the path outside, so folders
    that do not exist are passed over.
    """
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers and "cpu" not in controllers.split(","):
            continue
        mounts = ("sys/fs/cgroup", "sys/fs/cgroup/unified")
        if controllers:
            mounts = (f"sys/fs/cgroup/{controllers}", "sys/fs/cgroup/cpu")
        group = Path(path.lstrip("/"))
        for folder in (group, *group.parents):
            for mount in mounts:
                yield from _quota(root / mount / folder)


def _quota(folder: Path) -> Iterator[float]:
    """The quota of one cgroup, if it has one: version 2 writes `max` for none, version 1 writes -1."""
    words = [word for file in _QUOTA_FILES for word in _text(folder / file).split()]
    if len(words) == 2 and all(re.fullmatch(r"0*[1-9][0-9]{0,18}", word) for word in words):
        yield int(words[0]) / int(words[1])


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return ""
