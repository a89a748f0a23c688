"""Main memory that this process holds, as Linux with glibc tells it."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Callable
from pathlib import Path

PROCESS = Path("/proc/self")
RESET_PEAK = "5"
"""What the kernel wants to hear to count the most resident memory anew."""


def resident_bytes(counter: str = "VmRSS") -> int:
    """Now, or with "VmHWM" the most since the last reset."""
    lines = (PROCESS / "status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(counter))


def peak_growth_bytes(work: Callable[[], object]) -> int:
    """By how much more than before it the process holds at most while ``work`` runs.

    What was freed before is given back to the system first, or it would hide growth. Other threads should do nothing.
    """
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    (PROCESS / "clear_refs").write_text(RESET_PEAK)
    before = resident_bytes()
    work()
    return resident_bytes("VmHWM") - before
