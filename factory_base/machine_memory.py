"""How much memory this process may use: less than the machine has, in a container with a limit."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def usable_memory(root: Path = Path("/")) -> int:
    """Bytes of the machine's memory, or of the limit of this process's control group if that is less.

    Where Python cannot find out, it is a number that limits nothing.

    Args:
        root: The root of the file system.
    """
    if not hasattr(os, "sysconf"):
        return sys.maxsize
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        return min(total, int((root / "sys/fs/cgroup/memory.max").read_text(encoding="ascii")))
    except (OSError, ValueError):  # there are no control groups, or there is no limit ("max")
        return total
