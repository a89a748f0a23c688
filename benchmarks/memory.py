"""The "memory" suite: many clicks over many pictures, with caches too small for them; what the process holds.

Pictures come one after the other and again, a few clicks each, as annotators see them. Whether memory grows shows in
the resident size after each tenth of the clicks; whether budgets hold, in what each layer says it has.
"""

from __future__ import annotations

import gc
from collections.abc import Sequence

import numpy as np

from benchmarks.process_memory import resident_bytes
from benchmarks.report import Table
from benchmarks.sizes import predictor_of_size
from xsam_backend.inference.engine import Asker, Engine
from xsam_backend.inference.picture_memory import Budget, PictureMemory
from xsam_backend.inference.scheduling import Priority
from xsam_backend.prompts import Point, Prompt, Task
from xsam_backend.scenes.scene import draw_scene

CLICKS, PICTURES, OF_ONE = 10_000, 2_000, 5
DRAWN = 50
"""Scenes; pictures differ from them in a shade, which is enough for the caches and spares the time to draw."""

SIZE_HW = (480, 640)
BUDGET = Budget(outputs=100 * 2**20, states=200 * 2**20, prefixes=50 * 2**20)
TENTHS = 10


def suite(_sizes: Sequence[str], device: str) -> list[Table]:
    """Its table; of the shipped model only."""
    predictor = predictor_of_size("tiny", device)
    memory = PictureMemory(BUDGET)
    engine = Engine(predictor, memory, wait_limit_s=60)
    rng = np.random.default_rng(0)
    scenes = [draw_scene(number, SIZE_HW).image for number in range(DRAWN)]

    def click(number: int) -> None:
        shown = number // OF_ONE % PICTURES
        picture = scenes[shown % DRAWN] + np.uint8(shown // DRAWN)
        point = Point(float(rng.uniform(0, SIZE_HW[1])), float(rng.uniform(0, SIZE_HW[0])))
        engine.answer(picture, str(shown), [Prompt(Task.INTERACTIVE, (point,))], Asker(Priority.INTERACTIVE))

    rows = []
    for tenth in range(TENTHS):
        for number in range(tenth * CLICKS // TENTHS, (tenth + 1) * CLICKS // TENTHS):
            click(number)
        gc.collect()
        held = [stats.nbytes / 2**20 for stats in memory.stats.values()]
        rows.append(((tenth + 1) * CLICKS // TENTHS, resident_bytes() / 2**20, *held))
    allowed = [stats.capacity_bytes / 2**20 for stats in memory.stats.values()]
    budgets = ", ".join(f"{name} {mb:.0f}" for name, mb in zip(memory.stats, allowed, strict=True))
    return [
        Table(
            "Memory, MiB",
            ("clicks", "resident", *memory.stats),
            tuple(rows),
            f"{CLICKS} clicks in {PICTURES} pictures. Budgets: {budgets}.",
        ),
    ]
