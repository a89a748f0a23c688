"""What every reader yields: a data set of labelled pictures that cost nothing until they are loaded."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

from xsam_backend.errors import DatasetError
from xsam_backend.ground_truth import GroundTruth
from xsam_backend.prompts import Category, Region, Task

PromptKind = Literal["point", "scribble", "box", "mask"]
PROMPT_KINDS: tuple[PromptKind, ...] = ("point", "scribble", "box", "mask")
"""The four ways in which the paper's visual benchmarks point at an object."""


Labelling = Literal["instances", "panoptic", "semantic", "phrases"]
"""What the segments of a truth are: objects, which may overlap and leave much unsaid; objects and stuff that share
out every pixel that isn't ignored; one area per class, objects not apart; or only what phrases are about."""


class Record(Protocol):
    """One labelled picture, not yet read."""

    @property
    def source(self) -> str:
        """Where the picture comes from, for reports; different for each record of a data set."""

    @property
    def split(self) -> str:
        """Such as "train", "val" or "testA"; empty if the data say nothing."""

    def load(self) -> GroundTruth:
        """Reads the picture and fills its masks.

        Raises:
            DatasetError: something is missing or damaged, or doesn't fit together.
        """

    def regions(self) -> tuple[Region, ...]:
        """What the benchmark itself gives as prompt: one region for each segment of ``load()``, in that order.

        Empty where it gives none: prompts are then simulated.
        """


@dataclass(frozen=True)
class Wanted:
    """What a reader is asked for.

    Attributes:
        path: the file or folder.
        content: the JSON of ``path``, if that is a file.
        split: only this split; None for all.
        images: the folder of the pictures; None to look in the usual places.
        only: a part of the data, in words that the format understands; None for all.
        prompts: which of the benchmark's prompts; None where it has none.
    """

    path: Path
    content: Any = field(default=None, repr=False)
    split: str | None = None
    images: Path | None = None
    only: str | None = None
    prompts: PromptKind | None = None


@dataclass(frozen=True)
class Dataset:
    """Labelled pictures of one source and split.

    Attributes:
        name: for reports: "RefCOCO+ (unc)", "COCO panoptic".
        format: the reader's name, a key of ``opening.FORMATS``.
        split: the split that was asked for; empty for all there is.
        categories: the class names that may be asked for; none where only phrases or questions are.
        tasks: what its truth can be compared with.
        labelling: what its segments are.
        records: the pictures.
        notes: sentences that belong beside every number: which rule chose what, and what was left out.
    """

    name: str
    format: str
    split: str
    categories: tuple[Category, ...]
    tasks: tuple[Task, ...]
    labelling: Labelling
    records: Sequence[Record]
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.records)

    def limited(self, count: int | None) -> Dataset:
        """At most ``count`` records, evenly spaced: files are often sorted, so the first ones resemble each other.

        Raises:
            DatasetError: less than one.
        """
        if count is None or count >= len(self.records):
            return self
        if count < 1:
            raise DatasetError(f"expected to read at least one picture, got a limit of {count}")
        chosen = np.linspace(0, len(self.records), count, endpoint=False).astype(int)
        note = f"{count} of {len(self.records)} pictures, evenly spaced"
        return dataclasses.replace(self, records=tuple(self.records[i] for i in chosen), notes=(*self.notes, note))


def categories_of(names: Sequence[str], stuff: frozenset[str] = frozenset()) -> tuple[Category, ...]:
    """Classes by their names in the data, each once; the model cleans the words itself ("wall-other-merged")."""
    return tuple(Category(name, name, name not in stuff) for name in dict.fromkeys(names))


def of_split(records: Sequence[Record], split: str | None, where: str) -> tuple[Record, ...]:
    """The records of one split; all of them without one.

    Raises:
        DatasetError: there is none; it lists the splits that there are.
    """
    if split is None:
        return tuple(records)
    chosen = tuple(record for record in records if record.split == split)
    if not chosen:
        there = Counter(str(record.split) for record in records)
        listed = ", ".join(f"'{name}' ({count})" for name, count in there.items()) or "no pictures at all"
        raise DatasetError(f"{where}: expected pictures of split '{split}', there are {listed}")
    return chosen
