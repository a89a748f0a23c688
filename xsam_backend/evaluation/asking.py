"""One labelled picture before the model: encoded once, asked many times, by all tasks together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from xsam_backend.ground_truth import GroundTruth
from xsam_backend.instances import Answer, Instances
from xsam_backend.prompts import Prompt, Region, Task

Picture = NDArray[np.uint8]


class Candidates(Protocol):
    """The forms in which a question's proposals are wanted, as ``model.candidates`` has them."""

    def answered(self, threshold: float) -> Instances:
        """What annotators get."""

    def instances(self) -> Instances:
        """All proposals, best first."""

    def segments(self) -> Instances:
        """A panoptic result."""

    def semantic(self) -> Instances:
        """Each pixel's one class."""

    def closest(self) -> Instances:
        """The reference's choice of one object."""


class Predictor(Protocol):
    """The door of the model, as ``model.predictor`` offers it."""

    @property
    def model_version(self) -> str:
        """Names weights and adapter."""

    @property
    def queries(self) -> int:
        """How many masks the model proposes at most per question."""

    def threshold(self, task: Task, /) -> float:
        """The score below which a task's instances are left out."""

    def encode(self, image: Picture, /, *, keeps_looks: bool = False) -> Any:
        """uint8 (H, W, 3) RGB to a state; what closer looks encode may be kept with it."""

    def answer(self, state: Any, prompt: Prompt, /) -> Answer:
        """One question."""

    def candidates(self, state: Any, prompt: Prompt, /) -> Candidates:
        """All that is proposed for a list of categories, exemplars, or one object."""


class Stopped(Exception):
    """Raised instead of asking once the run is to stop: what was being counted is not counted."""


class AskedPicture:
    """One picture, its truth, and the model's answers about it.

    Args:
        predictor: the model.
        truth: the picture and what is true about it.
        regions: the data set's own prompts, one per segment; empty where there are none.
        another: gives the pixels of another picture of the data set, None if there is no other.
        is_stopping: whether the run is to stop.
    """

    def __init__(
        self,
        predictor: Predictor,
        truth: GroundTruth,
        regions: tuple[Region, ...] = (),
        another: Callable[[], Picture | None] = lambda: None,
        is_stopping: Callable[[], bool] = lambda: False,
    ) -> None:
        self.truth = truth
        self.regions = regions
        self._predictor = predictor
        self._another = another
        self._is_stopping = is_stopping
        self._state: Any = None
        self._foreign: Any = None

    def threshold(self, task: Task) -> float:
        """The model's own for a task."""
        return self._predictor.threshold(task)

    def answer(self, prompt: Prompt) -> Answer:
        """About this picture."""
        return self._predictor.answer(self._encoded(), prompt)

    def candidates(self, prompt: Prompt) -> Candidates:
        """About this picture."""
        return self._predictor.candidates(self._encoded(), prompt)

    def best_mask(self, prompt: Prompt) -> tuple[NDArray[np.bool_], float]:
        """The first mask of an answer, bool (H, W), and its score; an empty one and 0 where there is none."""
        return self._first(self.answer(prompt).instances)

    def elsewhere(self, prompt: Prompt) -> NDArray[np.bool_] | None:
        """The control: the first mask, bool (H, W), that the same prompt gets on the pixels of another picture.

        That picture is brought to this one's size. None if there is no other picture.
        """
        self._check()
        if self._foreign is None:
            pixels = self._another()
            if pixels is None:
                return None
            height, width = self.truth.size_hw
            self._foreign = self._predictor.encode(np.asarray(cv2.resize(pixels, (width, height)), np.uint8))
        return self._first(self._predictor.answer(self._foreign, prompt).instances)[0]

    def _check(self) -> None:
        if self._is_stopping():
            raise Stopped

    def _encoded(self) -> Any:
        self._check()
        if self._state is None:
            self._state = self._predictor.encode(self.truth.image, keeps_looks=True)
        return self._state

    def _first(self, found: Instances) -> tuple[NDArray[np.bool_], float]:
        if not len(found):
            return np.zeros(self.truth.size_hw, np.bool_), 0.0
        return found.cropped[0].whole(), float(found.scores[0])
