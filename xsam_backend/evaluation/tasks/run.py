"""What every task's run has in common: pictures go in one by one, a result comes out at any time."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from xsam_backend.evaluation.asking import AskedPicture
from xsam_backend.evaluation.average_precision import MAX_DETECTIONS
from xsam_backend.evaluation.datasets.records import PROMPT_KINDS, Dataset, PromptKind
from xsam_backend.evaluation.exemplars import ExemplarRule
from xsam_backend.evaluation.results import TaskResult


@dataclass(frozen=True)
class Options:
    """How things are asked and counted; all of it stands beside the numbers.

    Attributes:
        max_detections: per picture and label the surest this many count for average precision.
        threshold: instances with a lower score don't count where a decision is measured; None for the model's own.
        objects: at most so many objects of a picture are asked about one by one; None for each task's own number,
            0 for all.
        least_px: smaller objects aren't asked about one by one, nor classes by their name that have no larger one.
        prompts: ways to point at an object.
        exemplar: which object of a class shows the model what to look for.
        controls: whether the controls are asked, too: swapped phrases, other pictures.
        seed: of everything drawn by chance.
        rounds: draws of the bootstrap.
        cases: how many best, worst and random cases are drawn each.
    """

    max_detections: int = MAX_DETECTIONS
    threshold: float | None = None
    objects: int | None = None
    least_px: int = 0
    prompts: tuple[PromptKind, ...] = PROMPT_KINDS
    exemplar: ExemplarRule = "random"
    controls: bool = True
    seed: int = 0
    rounds: int = 1000
    cases: int = 0


@dataclass(frozen=True)
class Setting:
    """What a run is made from.

    Attributes:
        own_prompts: the kind of the prompts that the data set brings; None where prompts are simulated.
        queries: how many masks the model proposes at most per question.
    """

    dataset: Dataset
    options: Options
    queries: int
    own_prompts: PromptKind | None = None


class Run(Protocol):
    """One task over the pictures of one data set. Only counts are kept of a picture, and the gallery's few cases."""

    def ask(self, picture: AskedPicture) -> None:
        """Asks all there is to ask about one picture, and counts it as the last thing it does.

        So whatever goes wrong, or stops it, on the way leaves nothing half counted.
        """

    def result(self) -> TaskResult:
        """Of the pictures so far."""


def chance(seed: int, source: str, purpose: str) -> np.random.Generator:
    """The generator for one purpose in one picture: the same whatever else is asked, and of which pictures."""
    return np.random.default_rng([seed, zlib.crc32(source.encode()), zlib.crc32(purpose.encode())])


def chosen_objects(
    areas_px: Sequence[int], usable: Sequence[bool], least_px: int, most: int, rng: np.random.Generator
) -> tuple[int, ...]:
    """Indices of the objects that are asked about one by one: those large enough, at most ``most`` (0: all)."""
    large = [
        i for i, (area, may) in enumerate(zip(areas_px, usable, strict=True)) if may and area >= max(least_px, 1)
    ]
    if not most or len(large) <= most:
        return tuple(large)
    return tuple(sorted(int(i) for i in rng.choice(large, most, replace=False)))


def objects_in_words(most: int, least_px: int) -> str:
    """The rule of ``chosen_objects``, as it stands beside numbers."""
    which = f"at most {most}, drawn at random (seeded per picture)" if most else "all"
    return f"{which}, of at least {least_px} px" if least_px else which
