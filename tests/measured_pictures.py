"""Small labelled pictures whose truth is known by hand, and data sets of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from xsam_backend.errors import DatasetError
from xsam_backend.evaluation.datasets.records import Dataset, Labelling, categories_of
from xsam_backend.ground_truth import Caption, Expression, GroundTruth
from xsam_backend.prompts import Region, Task

SIZE_HW = (40, 60)
NAMES = ("dog", "cat", "car", "sky")
EVERYTHING = (Task.GENERIC, Task.REFERRING, Task.REASONING, Task.GCG, Task.VGD, Task.INTERACTIVE)


def block(rows: slice, columns: slice) -> np.ndarray:
    mask = np.zeros(SIZE_HW, np.bool_)
    mask[rows, columns] = True
    return mask


DOG, SMALL_DOG = block(slice(10, 30), slice(5, 25)), block(slice(32, 36), slice(40, 50))
CAT = block(slice(12, 28), slice(30, 55))
SKY = ~(DOG | SMALL_DOG | CAT)


def labelled(number: int, **changes: Any) -> GroundTruth:
    """Two dogs, a cat and the sky; no car. Pictures of different numbers have different pixels."""
    rng = np.random.default_rng(number)
    truth = GroundTruth(
        image=rng.integers(0, 256, (*SIZE_HW, 3), dtype=np.uint8),
        masks=np.stack([DOG, SMALL_DOG, CAT, SKY]),
        names=("dog", "dog", "cat", "sky"),
        is_thing=np.array([True, True, True, False]),
        is_crowd=np.zeros(4, np.bool_),
        complete_for=frozenset(NAMES),
        referring=(
            Expression("the large dog", (0,)),
            Expression("both dogs", (0, 1)),
            Expression("a green car", ()),
        ),
        questions=(Expression(f"What could bark in picture {number}?", (0, 1)),),
        captions=(
            Caption(f"A dog and a cat under picture {number}'s sky.", ((0, 5, (0,)), (10, 15, (2,)))),
            Caption("Two animals."),
        ),
        source=f"picture {number}.jpg",
    )
    return dataclasses.replace(truth, **changes)


@dataclass(frozen=True, eq=False)
class Given:
    """A record in memory; ``error`` is what reading it raises."""

    truth: GroundTruth
    prompts: tuple[Region, ...] = ()
    error: str = ""
    split: str = field(default="val")

    @property
    def source(self) -> str:
        return self.truth.source

    def load(self) -> GroundTruth:
        if self.error:
            raise DatasetError(self.error)
        # Anew each time, as a reader does.
        return dataclasses.replace(self.truth, image=self.truth.image.copy(), masks=self.truth.masks.copy())

    def regions(self) -> tuple[Region, ...]:
        return self.prompts


def dataset_of(
    records: Sequence[Given],
    labelling: Labelling = "panoptic",
    tasks: tuple[Task, ...] = EVERYTHING,
    names: tuple[str, ...] = NAMES,
) -> Dataset:
    return Dataset(
        name="by hand",
        format="coco",
        split="val",
        categories=categories_of(names, frozenset({"sky"})),
        tasks=tasks,
        labelling=labelling,
        records=tuple(records),
        notes=("made for a test",),
    )
