"""A predictor without a model: deterministic answers that follow the prompt, for tests of everything around it.

- clicks: a disc around each positive one, minus discs around the negative ones
- boxes and strokes: the region itself
- examples: themselves, negative clicks heeded as the model's door does it
- categories, and labels of exemplars: the n-th gets the n-th quarter of the picture; of panoptic segments one
  further, of semantic areas two
- phrases: the left half, scored by the mean of the picture, so that a swapped picture shows
- questions about the picture: "A disc and a block."
- captions: "I see the disc on the left.", the left half being "the disc"

``answer`` refuses a state of another picture size, so that swapped states show too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from xsam_backend.instances import Answer, Instances
from xsam_backend.model.unwanted_finds import without_unwanted
from xsam_backend.prompts import Box, Exemplar, Form, MaskRegion, Point, Prompt, Region, Task


@dataclass(frozen=True)
class FakeOutputs:
    mean: float
    nbytes: int = 100


@dataclass(frozen=True)
class FakePrefix:
    mean: float
    nbytes: int = 10_000


@dataclass(frozen=True)
class FakeState:
    size_hw: tuple[int, int]
    mean: float
    nbytes: int = 1000

    def with_prefix(self, prefix: FakePrefix) -> FakeState:
        assert prefix.mean == self.mean, "the prefix of another picture"
        return self

    @property
    def vector(self) -> NDArray[np.float32]:
        """Of length 1; the darker and the brighter, the farther apart."""
        angle = self.mean / 255 * np.pi / 2
        return np.array([np.cos(angle), np.sin(angle)], np.float32)


class FakePredictor:
    """Implements the predictor's interface. ``before`` runs at the start of each stage and may wait or raise."""

    def __init__(
        self,
        version: str = "fake-1",
        before: Callable[[str], None] = lambda _stage: None,
        encoder_version: str = "fake-1 float32",
    ) -> None:
        self.model_version = version
        self.encoder_version = encoder_version
        self._before = before

    def encode(self, image: NDArray[np.uint8]) -> FakeState:
        state = self.state(image, self.look(image))
        return state.with_prefix(self.prefix(state))

    def look(self, image: NDArray[np.uint8]) -> FakeOutputs:
        assert image.ndim == 3
        assert image.shape[2] == 3
        assert image.dtype == np.uint8
        self._before("look")
        return FakeOutputs(float(image.mean()))

    def state(self, image: NDArray[np.uint8], outputs: FakeOutputs) -> FakeState:
        self._before("state")
        assert outputs.mean == image.mean(), "the outputs of another picture"
        return FakeState((image.shape[0], image.shape[1]), outputs.mean)

    def prefix(self, state: FakeState) -> FakePrefix:
        self._before("prefix")
        return FakePrefix(state.mean)

    def exemplar(self, state: FakeState, region: Region, label: str) -> Exemplar:
        share = np.array([draw(region, state.size_hw).mean()], np.float32)
        return Exemplar(label, share, share)

    def answers(self, state: FakeState, prompts: Sequence[Prompt]) -> list[Answer]:
        return [self.answer(state, prompt) for prompt in prompts]

    def answer(self, state: FakeState, prompt: Prompt) -> Answer:
        self._before("answer")
        score = 0.5 + state.mean / 512
        if prompt.task is Task.CONVERSATION:
            return Answer(Instances.empty(state.size_hw), text="A disc and a block.")
        if prompt.task is Task.INTERACTIVE:
            mask = np.zeros(state.size_hw, bool)
            for region in prompt.regions:
                drawn = draw(region, state.size_hw)
                mask = mask & ~drawn if isinstance(region, Point) and not region.positive else mask | drawn
            found, labels = [mask], [prompt.label]
        elif prompt.task in (Task.GENERIC, Task.OPEN_VOCABULARY):
            first = list(Form).index(prompt.form)
            found = [quarter(first + number, state.size_hw) for number in range(len(prompt.categories))]
            labels = [category.label for category in prompt.categories]
        elif prompt.task is Task.VGD and prompt.exemplars:
            labels = list(dict.fromkeys(exemplar.label for exemplar in prompt.exemplars))
            found = [quarter(number, state.size_hw) for number in range(len(labels))]
        elif prompt.task is Task.VGD:
            found = [draw(region, state.size_hw) for region in prompt.shown]
            labels = [prompt.categories[0].label if prompt.categories else prompt.label] * len(found)
        else:
            left = np.zeros(state.size_hw, bool)
            left[:, : state.size_hw[1] // 2] = True
            found, labels = [left], [prompt.label]
        scores = np.clip(score - 0.05 * np.arange(len(found)), 0, 1).astype(np.float32)
        if prompt.task is Task.GCG:
            found_there = Instances.of(np.stack(found), scores, ("the disc",))
            return Answer(found_there, text="I see the disc on the left.", phrase_spans=((6, 14),))
        if prompt.task is Task.VGD:
            return without_unwanted(Instances.of(np.stack(found), scores, tuple(labels)), prompt.regions)
        instances = Instances.of(np.stack(found), scores, tuple(labels))
        if prompt.task in (Task.GENERIC, Task.OPEN_VOCABULARY):
            instances = replace(instances, typed=tuple(category.typed for category in prompt.categories))
        return Answer(instances)


def draw(region: Region, size_hw: tuple[int, int]) -> NDArray[np.bool_]:
    """bool (H, W): a disc for a click (a tenth of the shorter side), else the region itself."""
    if isinstance(region, MaskRegion):
        return region.mask
    canvas = np.zeros(size_hw, np.uint8)
    if isinstance(region, Box):
        cv2.fillPoly(canvas, [np.round(region.corners).astype(np.int32)], 1)
    else:
        cv2.circle(canvas, (int(region.x_px), int(region.y_px)), max(2, min(size_hw) // 10), 1, -1)
    return canvas.astype(bool)


def quarter(number: int, size_hw: tuple[int, int]) -> NDArray[np.bool_]:
    """bool (H, W): quarter ``number`` (modulo 4) in reading order."""
    height, width = size_hw
    rows = slice(0, height // 2) if number % 4 < 2 else slice(height // 2, height)
    columns = slice(0, width // 2) if number % 2 == 0 else slice(width // 2, width)
    mask = np.zeros(size_hw, bool)
    mask[rows, columns] = True
    return mask
