"""The "restart" suite: the first answer about a picture that was known before a restart, with and without disk tier.

Loading the model takes as long either way and isn't counted. The file is likely in the system's page cache: a disk
that is read adds its own time.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.interactive import CLICK, picture
from benchmarks.report import Table, medians
from benchmarks.sizes import predictor_of_size
from xsam_backend.inference.disk_tier import SUFFIX, DiskTier
from xsam_backend.inference.engine import Asker, Engine
from xsam_backend.inference.picture_memory import Budget, PictureMemory
from xsam_backend.inference.scheduling import Priority
from xsam_backend.model.packed_outputs import pack, unpack

ROUNDS = {"tiny": 15, "mid": 2}
BUDGET = Budget(*[2**31] * 3)


def first_answer(predictor: Any, folder: Path | None) -> None:
    """A click, asked of a memory in which nothing is yet."""
    disk = None
    if folder is not None:
        disk = DiskTier(folder, 2**31, pack, partial(unpack, dtype=predictor.model.dtype))
    engine = Engine(predictor, PictureMemory(BUDGET, disk), wait_limit_s=600)
    engine.answer(picture(), "known", [CLICK], Asker(Priority.INTERACTIVE))


def suite(sizes: Sequence[str], device: str) -> list[Table]:
    """Its table."""
    rows: list[tuple[str | float, ...]] = []
    for size in sizes:
        predictor = predictor_of_size(size, device)
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            took = medians(  # the round that isn't counted writes the file
                ROUNDS[size],
                {
                    "without": partial(first_answer, predictor, None),
                    "with": partial(first_answer, predictor, folder),
                },
            )
            (file,) = folder.glob(f"*{SUFFIX}")
            megabytes = file.stat().st_size / 2**20
        rows.append((size, took["without"] * 1000, took["with"] * 1000, took["without"] / took["with"], megabytes))
    rounds_said = ", ".join(f"{ROUNDS[size]} ({size})" for size in sizes)
    return [
        Table(
            "First answer about a known picture after a restart, ms",
            ("size", "nothing on disk", "with the disk tier", "ratio", "file, MiB"),
            tuple(rows),
            f"One click, 640 x 480; the model is loaded. Medians of {rounds_said} rounds, by turns.",
        )
    ]
