"""A predictor that knows the truth: it recognises pictures by their pixels and answers with what is true about them.

``change`` makes something else of every mask: nothing, or the truth moved. Pictures that it doesn't know (those of
controls, brought to another size) get no answer.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xsam_backend.errors import PromptError
from xsam_backend.evaluation.simulated_prompts import exact_box
from xsam_backend.ground_truth import Expression, GroundTruth
from xsam_backend.instances import Answer, Instances
from xsam_backend.prompts import Box, MaskRegion, Point, Prompt, Region, Task
from xsam_backend.region_masks import region_mask

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class KnownState:
    size_hw: tuple[int, int]
    truth: GroundTruth | None


@dataclass(frozen=True)
class KnownCandidates:
    """All forms are the same true instances; ``flat`` are their areas per label."""

    found: Instances
    flat: Instances

    def answered(self, threshold: float) -> Instances:
        return self.found.select(np.flatnonzero(self.found.scores >= threshold))

    def instances(self) -> Instances:
        return self.found

    def segments(self) -> Instances:
        return self.found

    def semantic(self) -> Instances:
        return self.flat

    def closest(self) -> Instances:
        return self.found


class KnowingPredictor:
    model_version = "knowing-1"
    queries = 7

    def __init__(self, truths: Sequence[GroundTruth], change: Callable[[Mask], Mask] = lambda mask: mask) -> None:
        self._known = {_key(truth.image): truth for truth in truths}
        self._change = change
        self.encoded: list[str] = []
        """The sources of the pictures that were encoded, in order; "?" for unknown ones."""
        self.asked: list[Prompt] = []

    def threshold(self, task: Task) -> float:
        return 0.3

    def encode(self, image: NDArray[np.uint8], *, keeps_looks: bool = False) -> KnownState:
        truth = self._known.get(_key(image))
        self.encoded.append(truth.source if truth else "?")
        return KnownState((image.shape[0], image.shape[1]), truth)

    def candidates(self, state: KnownState, prompt: Prompt) -> KnownCandidates:
        self.asked.append(prompt)
        if state.truth is None:
            empty = Instances.empty(state.size_hw)
            return KnownCandidates(empty, empty)
        truth = state.truth
        if prompt.task is Task.INTERACTIVE:
            found = self._named(truth, [_pointed_at(truth, prompt.regions)])
            return KnownCandidates(found, found)
        labels = {category.label for category in prompt.categories}
        wanted = [i for i, name in enumerate(truth.names) if name in labels and not truth.is_crowd[i]]
        if prompt.task is Task.VGD:
            wanted = [i for i in wanted if truth.is_thing[i]]
        names = [name for name in dict.fromkeys(truth.names) if name in labels]
        areas = [self._change(truth.union([i for i, own in enumerate(truth.names) if own == name])) for name in names]
        return KnownCandidates(self._named(truth, wanted), _instances(areas, names, truth.size_hw))

    def answer(self, state: KnownState, prompt: Prompt) -> Answer:
        truth, size_hw = state.truth, state.size_hw
        if prompt.task in (Task.GENERIC, Task.OPEN_VOCABULARY, Task.VGD, Task.INTERACTIVE):
            return Answer(self.candidates(state, prompt).found)
        self.asked.append(prompt)
        if truth is None:
            return Answer(Instances.empty(size_hw))
        if prompt.task is Task.GCG:
            caption = next(caption for caption in truth.captions if caption.spans)
            masks = [self._change(truth.union(segments)) for _, _, segments in caption.spans]
            spans = [(start, end) for start, end, _ in caption.spans]
            found = _instances(masks, [caption.text[start:end] for start, end in spans], size_hw)
            kept = [i for i, mask in enumerate(masks) if mask.any()]
            return Answer(found, caption.text, tuple(spans[i] for i in kept))
        segments = _meant(truth, prompt.phrase)
        return Answer(_instances([self._change(truth.union(segments))], [None], size_hw))

    def _named(self, truth: GroundTruth, segments: Sequence[int]) -> Instances:
        masks = [self._change(truth.masks[i]) for i in segments]
        return _instances(masks, [truth.names[i] for i in segments], truth.size_hw)


class RefusingPredictor(KnowingPredictor):
    """Cannot be asked one task."""

    def __init__(self, truths: Sequence[GroundTruth], refused: Task) -> None:
        super().__init__(truths)
        self._refused = refused

    def answer(self, state: KnownState, prompt: Prompt) -> Answer:
        if prompt.task is self._refused:
            raise PromptError("too many words")
        return super().answer(state, prompt)


def nothing(mask: Mask) -> Mask:
    return np.zeros_like(mask)


def moved(mask: Mask) -> Mask:
    """So far to the right that little is left of the overlap."""
    return np.roll(mask, mask.shape[1] // 3, axis=1)


def _key(image: NDArray[np.uint8]) -> str:
    return hashlib.sha256(image.tobytes()).hexdigest()


def _instances(masks: Sequence[Mask], labels: Sequence[str | None], size_hw: tuple[int, int]) -> Instances:
    kept = [(mask, label) for mask, label in zip(masks, labels, strict=True) if mask.any()]
    if not kept:
        return Instances.empty(size_hw)
    return Instances.of(
        np.stack([mask for mask, _ in kept]), np.ones(len(kept), np.float32), tuple(label for _, label in kept)
    )


def _meant(truth: GroundTruth, phrase: str) -> tuple[int, ...]:
    expressions = (*truth.referring, *truth.questions, *(_of_class(truth, name) for name in truth.names))
    return next((one.segments for one in expressions if one.text == phrase), ())


def _of_class(truth: GroundTruth, name: str) -> Expression:
    return Expression(name, tuple(i for i, own in enumerate(truth.names) if own == name))


def _pointed_at(truth: GroundTruth, regions: Sequence[Region]) -> int:
    """The thing that the first hint fits best."""
    first = regions[0]
    things = [i for i in range(len(truth.names)) if truth.is_thing[i]]

    def fit(segment: int) -> float:
        mask = truth.masks[segment]
        if isinstance(first, Point):
            return float(mask[int(first.y_px), int(first.x_px)]) / (1 + mask.sum())
        if isinstance(first, Box):
            return _iou(region_mask(first, truth.size_hw), region_mask(exact_box(mask), truth.size_hw))
        assert isinstance(first, MaskRegion)
        return _iou(first.mask, mask) if first.is_outline else float((first.mask & mask).sum())

    return max(things, key=fit)


def _iou(one: Mask, other: Mask) -> float:
    return float((one & other).sum() / max((one | other).sum(), 1))
