"""How much main memory could be had now."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

CONTAINER = Path("/sys/fs/cgroup")
"""Limits of the container that this process is in: Linux, cgroup version 2."""


def available_bytes(meminfo: Path = Path("/proc/meminfo"), container: Path = CONTAINER) -> int:
    """What the system could give, or what the container's limit leaves where that is less. Pages of files count as
    free for the system and as taken for the container, whose number is the cautious one."""
    found = _of_system(meminfo)
    with suppress(OSError, ValueError):  # no container, or one without a limit ("max")
        limit = int((container / "memory.max").read_text())
        found = min(found, limit - int((container / "memory.current").read_text()))
    return max(found, 0)


def _of_system(meminfo: Path) -> int:
    with suppress(OSError, StopIteration):
        lines = meminfo.read_text().splitlines()
        return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable:"))
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2  # not Linux: half of all there is
