"""What can be asked about a picture, in pixels of that picture, x to the right and y down.

Continuous coordinates: pixel (column 0, row 0) covers 0 <= x < 1, 0 <= y < 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from xsam_backend.errors import PromptError
from xsam_backend.geometry.boxes import rotated_corners


class Task(str, Enum):
    """X-SAM's tasks, by the names that its prompt strings and recordings use (paper section 3)."""

    GENERIC = "genseg"
    OPEN_VOCABULARY = "ovseg"
    REFERRING = "refseg"
    REASONING = "reaseg"
    GCG = "gcgseg"
    VGD = "vgdseg"
    INTERACTIVE = "intseg"
    CONVERSATION = "imgconv"

    def __str__(self) -> str:
        return self.value


class Form(str, Enum):
    """How the answer to a list of categories is cut (paper section 3.1: instance, panoptic, semantic).

    OBJECTS: each thing once, stuff as areas; masks may overlap. PANOPTIC: no pixel belongs to two. SEMANTIC: one area
    for each label, things of one label together.
    """

    OBJECTS = "instance"
    PANOPTIC = "panoptic"
    SEMANTIC = "semantic"

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True)
class Point:
    """A click. Negative ones say "not this"; X-SAM has no such prompt, the predictor corrects its answer by them."""

    x_px: float
    y_px: float
    positive: bool = True


@dataclass(frozen=True)
class Box:
    """A rectangle by its corner (x, y), its sides, and a rotation in degrees clockwise about that corner."""

    x_px: float
    y_px: float
    width_px: float
    height_px: float
    rotation_deg: float = 0.0

    @classmethod
    def from_xyxy(cls, x0: float, y0: float, x1: float, y1: float) -> Box:
        """An axis-parallel box from two opposite corners, in any order."""
        return cls(min(x0, x1), min(y0, y1), abs(x1 - x0), abs(y1 - y0))

    @property
    def corners(self) -> NDArray[np.float64]:
        """(4, 2) xy, starting at (x, y), clockwise on the screen."""
        return rotated_corners([self.x_px, self.y_px, self.width_px, self.height_px], self.rotation_deg)


@dataclass(frozen=True, eq=False)
class MaskRegion:
    """A region given pixel by pixel: bool (H, W) in the picture's size.

    ``is_outline`` where it was drawn around the whole object (polygon, ellipse); a brush stroke may cover any part.
    """

    mask: NDArray[np.bool_]
    is_outline: bool = False


Region = Point | Box | MaskRegion


def is_negative(region: Region) -> bool:
    """Whether it is a click that says "not this"."""
    return isinstance(region, Point) and not region.positive


@dataclass(frozen=True)
class Category:
    """One thing to look for.

    Attributes:
        phrase: the words the model reads.
        label: what its instances get.
        score_threshold: its own, before the prompt's; None: none of its own.
        typed: what an annotator wrote to ask for it, who is told if nothing is found; one text may ask for several
            categories. Empty where nobody wrote anything.
    """

    phrase: str
    label: str
    is_thing: bool = True
    score_threshold: float | None = None
    typed: str = ""


@dataclass(frozen=True, eq=False)
class Exemplar:
    """An object of a label, as one model sees it: what is like it can be looked for in any other picture.

    Attributes:
        label: what is like it gets.
        in_picture: float32 (W,), its embedding as the whole picture shows it.
        enlarged: float32 (W,), as a closer look shows it; the same where it needs none.
    """

    label: str
    in_picture: NDArray[np.float32]
    enlarged: NDArray[np.float32]


@dataclass(frozen=True)
class Prompt:
    """One question about one picture.

    Attributes:
        task: which of the eight tasks.
        regions: INTERACTIVE: the hints for ONE object (points, boxes, strokes together).
            VGD: one exemplar each, in this picture; what is found under a negative click is taken away.
        categories: GENERIC and OPEN_VOCABULARY: what to look for. VGD: the label of each exemplar, if known.
        phrase: REFERRING and REASONING: the sentence. CONVERSATION: the question.
        label: INTERACTIVE: the label that the annotator has chosen; it rides along to the result.
        score_threshold: instances below it are left out; None for the task's default. SEMANTIC: pixels.
        form: GENERIC and OPEN_VOCABULARY: how the answer is cut.
        exemplars: VGD: instead of regions, exemplars of other pictures, any number for a label.
        rest: PANOPTIC and SEMANTIC: the label of the pixels that nothing else is found on, where something is found.
    """

    task: Task
    regions: tuple[Region, ...] = ()
    categories: tuple[Category, ...] = ()
    phrase: str = ""
    label: str | None = None
    score_threshold: float | None = None
    form: Form = Form.OBJECTS
    exemplars: tuple[Exemplar, ...] = ()
    rest: str | None = None

    def __post_init__(self) -> None:
        if self.task in (Task.GENERIC, Task.OPEN_VOCABULARY) and not self.categories:
            raise PromptError(f"{self.task} needs at least one category, got none: name what to look for")
        if self.task in (Task.REFERRING, Task.REASONING, Task.CONVERSATION) and not self.phrase.strip():
            raise PromptError(f"{self.task} needs a phrase, got an empty one: write what to look for")
        if self.task is Task.INTERACTIVE and not self.shown:
            raise PromptError("intseg needs a positive click, a box or a stroke, got none: click on the object first")
        if self.task is Task.VGD and bool(self.shown) is bool(self.exemplars):
            raise PromptError(
                "vgdseg needs exemplar regions, or exemplars of other pictures, "
                f"got {'both: ask twice' if self.shown else 'none: click or box one'}"
            )

    @property
    def shown(self) -> tuple[Region, ...]:
        """The regions that say "this": all but negative clicks."""
        return tuple(region for region in self.regions if not is_negative(region))
