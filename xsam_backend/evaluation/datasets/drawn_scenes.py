"""Drawn scenes as records: those whose seeds no training ever sees."""

from __future__ import annotations

from dataclasses import dataclass

from xsam_backend.errors import DatasetError
from xsam_backend.evaluation.datasets.records import Dataset, categories_of
from xsam_backend.ground_truth import GroundTruth
from xsam_backend.prompts import Region, Task
from xsam_backend.scenes.scene import FIRST_HELD_OUT_SEED, draw_scene
from xsam_backend.scenes.vocabulary import STUFF_NAMES, THING_NAMES

USUAL_COUNT = 200
"""Scenes that are read where nobody says how many."""

HELD_OUT = "held-out"


@dataclass(frozen=True)
class SceneRecord:
    """One scene, not yet drawn."""

    seed: int
    split: str = HELD_OUT

    @property
    def source(self) -> str:
        """The scene by its seed, as its truth names it."""
        return f"scene {self.seed}"

    def regions(self) -> tuple[Region, ...]:
        """None: prompts are simulated."""
        return ()

    def load(self) -> GroundTruth:
        """Draws it."""
        return draw_scene(self.seed)


def open_scenes(count: int | None = None, split: str | None = None) -> Dataset:
    """The first held-out scenes. They hold every kind of truth: things, stuff, phrases, questions, captions.

    Raises:
        DatasetError: less than one, or another split: there is none that may be measured on.
    """
    if split not in (None, HELD_OUT):
        raise DatasetError(f"drawn scenes: expected split '{HELD_OUT}' or none, got '{split}': others are trained on")
    count = USUAL_COUNT if count is None else count
    if count < 1:
        raise DatasetError(f"expected to draw at least one scene, got {count}")
    return Dataset(
        name="drawn scenes",
        format="scenes",
        split=HELD_OUT,
        categories=categories_of(THING_NAMES + STUFF_NAMES, frozenset(STUFF_NAMES)),
        tasks=(Task.GENERIC, Task.REFERRING, Task.REASONING, Task.GCG, Task.VGD, Task.INTERACTIVE),
        labelling="panoptic",
        records=tuple(SceneRecord(FIRST_HELD_OUT_SEED + number) for number in range(count)),
        notes=(f"seeds {FIRST_HELD_OUT_SEED} to {FIRST_HELD_OUT_SEED + count - 1}",),
    )
