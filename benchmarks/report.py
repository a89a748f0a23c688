"""What a suite found: tables for people, JSON for programs, and on what machine it ran."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import torch

PACKAGES = ("torch", "transformers", "numpy", "opencv-python-headless")


@dataclass(frozen=True)
class Table:
    """Rows of equal length; numbers are shown with three digits."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str | float, ...], ...]
    note: str = ""

    def as_markdown(self) -> str:
        """For ``RESULTS.md`` and the screen."""
        lines = [self.title, "", _line(self.columns), _line(["---"] * len(self.columns)), *map(_line, self.rows)]
        return "\n".join([*lines, *(["", self.note] if self.note else [])])


def environment() -> dict[str, Any]:
    """What numbers depend on."""
    named = [line.split(":")[1].strip() for line in _cpu_lines() if line.startswith("model name")]
    facts: dict[str, Any] = {
        "python": platform.python_version(),
        "processor": named[0] if named else platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "load": [round(value, 2) for value in os.getloadavg()],
    }
    return facts | {name: version(name) for name in PACKAGES}


def as_json(tables: Sequence[Table]) -> str:
    """The tables and the environment."""
    return json.dumps({"environment": environment(), "tables": [asdict(table) for table in tables]}, indent=1)


def seconds_of(work: Callable[[], Any]) -> float:
    """How long it takes, once; on a GPU, until it is done."""
    wait_for_gpu()
    started = perf_counter()
    work()
    wait_for_gpu()
    return perf_counter() - started


def medians(rounds: int, works: dict[str, Callable[[], Any]]) -> dict[str, float]:
    """Median seconds of each, all by turns: what else the machine does falls on all alike. One round before isn't
    counted."""
    taken: dict[str, list[float]] = {name: [] for name in works}
    for number in range(rounds + 1):
        for name, work in works.items():
            seconds = seconds_of(work)
            if number:
                taken[name].append(seconds)
    return {name: median(values) for name, values in taken.items()}


def wait_for_gpu() -> None:
    """Until it has done what it was given, where there is one."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def _cpu_lines() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text().splitlines() if path.is_file() else []


def _line(cells: Sequence[str | float]) -> str:
    return "| " + " | ".join(f"{cell:.3g}" if isinstance(cell, float) else str(cell) for cell in cells) + " |"
