"""What a model could do before must not suffer: drawn scenes that neither training nor the evaluation ever sees."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

from xsam_backend.evaluation.datasets.drawn_scenes import SceneRecord, open_scenes
from xsam_backend.evaluation.datasets.records import Dataset

SCENES = 40
FIRST_SEED = 1_500_000
"""Far behind those that the evaluation begins with."""


@cache
def rehearsal(scenes: int = SCENES) -> Dataset:
    """The rehearsal's pictures; they ship with the code that draws them."""
    records = tuple(SceneRecord(FIRST_SEED + number) for number in range(scenes))
    notes = (f"seeds {FIRST_SEED} to {FIRST_SEED + scenes - 1}",)
    return replace(open_scenes(1), name="rehearsal scenes", records=records, notes=notes)
