"""A predictor without a model that reads painted pictures (``painted``): it answers with what is on them.

- clicks, boxes, strokes: the things under them, together; a negative click takes the part under it away, and a part
  is what has one colour altogether
- names: every thing of that name, whose score reaches the threshold; surfaces as one; of panoptic and semantic
  answers, the rest where one is wanted
- exemplars, here or elsewhere: every thing that is painted like them
- descriptions and questions: the one thing of that name that it is surest of
- captions: what of ``CAPTIONED`` is there, the surest of each
- what it is asked in conversation: "A disc and a block."
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from fake_predictor import FakeOutputs, FakePredictor, FakeState
from numpy.typing import NDArray
from painted import GROUND, Mask, name_colour

from xsam_backend.instances import Answer, Instances
from xsam_backend.prompts import Exemplar, Form, Point, Prompt, Region, Task, is_negative
from xsam_backend.region_masks import region_mask

CAPTIONED = ("disc", "block", "person", "animal", "cup", "house")
"""Names that captions have."""

DEFAULT_THRESHOLD = 0.3

Name = tuple[int, int]


@dataclass(frozen=True)
class SeenState(FakeState):
    pixels: NDArray[np.uint8] | None = None

    @property
    def painted(self) -> NDArray[np.uint8]:
        assert self.pixels is not None
        return self.pixels


@dataclass(frozen=True)
class Found:
    mask: Mask
    score: float
    label: str | None


class SeeingPredictor(FakePredictor):
    """Implements the predictor's interface."""

    def state(self, image: NDArray[np.uint8], outputs: FakeOutputs) -> SeenState:
        state = super().state(image, outputs)
        return SeenState(state.size_hw, state.mean, pixels=image)

    def exemplar(self, state: FakeState, region: Region, label: str) -> Exemplar:
        assert isinstance(state, SeenState)
        seen = np.array(_under(state.painted, region_mask(region, state.size_hw)), np.float32)
        return Exemplar(label, seen, seen)

    def answer(self, state: FakeState, prompt: Prompt) -> Answer:
        assert isinstance(state, SeenState)
        if prompt.task is Task.CONVERSATION:
            return super().answer(state, prompt)
        self._before("answer")
        pixels = state.painted
        if prompt.task is Task.GCG:
            return _captioned(pixels)
        if prompt.task is Task.INTERACTIVE:
            found = _pointed_at(pixels, prompt)
        elif prompt.task in (Task.REFERRING, Task.REASONING):
            named = _things(pixels, name_colour(prompt.phrase), prompt.label, prompt.score_threshold)
            found = sorted(named, key=lambda one: -one.score)[:1]
        elif prompt.task is Task.VGD:
            found = _alike(pixels, prompt)
        else:
            found = _named(pixels, prompt)
        return _answer(found, prompt, state.size_hw)


def _answer(found: Sequence[Found], prompt: Prompt, size_hw: tuple[int, int]) -> Answer:
    if not found:
        return Answer(Instances.empty(size_hw), reason="nothing here is sure enough")
    found = sorted(found, key=lambda one: -one.score)
    if prompt.rest is not None:
        rest = ~np.any([one.mask for one in found], axis=0)
        found = [*found, Found(rest, found[-1].score, prompt.rest)]
    return Answer(_instances(found))


def _instances(found: Sequence[Found]) -> Instances:
    scores = np.array([one.score for one in found], np.float32)
    return Instances.of(np.stack([one.mask for one in found]), scores, tuple(one.label for one in found))


def _of_name(pixels: NDArray[np.uint8], name: Name) -> Mask:
    mask: Mask = (pixels[..., :2] == name).all(2)
    return mask


def _parts(mask: Mask) -> list[Mask]:
    """What hangs together, each for itself."""
    count, numbered = cv2.connectedComponents(mask.astype(np.uint8), connectivity=4)
    return [numbered == number for number in range(1, count)]


def _score(pixels: NDArray[np.uint8], mask: Mask) -> float:
    return float(pixels[..., 2][mask].max()) / 255


def _things(pixels: NDArray[np.uint8], name: Name, label: str | None, threshold: float | None) -> list[Found]:
    least = DEFAULT_THRESHOLD if threshold is None else threshold
    things = [Found(mask, _score(pixels, mask), label) for mask in _parts(_of_name(pixels, name))]
    return [thing for thing in things if thing.score >= least]


def _under(pixels: NDArray[np.uint8], mask: Mask) -> Name:
    """The name of most of what is there, the ground's if that is all."""
    names, counts = np.unique(pixels[mask][:, :2], axis=0, return_counts=True)
    counts = np.where((names == GROUND[:2]).all(1), 0, counts)
    red, green = names[counts.argmax()]
    return int(red), int(green)


def _pointed_at(pixels: NDArray[np.uint8], prompt: Prompt) -> list[Found]:
    size_hw = (pixels.shape[0], pixels.shape[1])
    names = {(int(red), int(green)) for red, green in np.unique(pixels[..., :2].reshape(-1, 2), axis=0)}
    things = [part for name in names - {GROUND[:2]} for part in _parts(_of_name(pixels, name))]
    mask = np.zeros(size_hw, bool)
    for region in prompt.regions:
        if is_negative(region):
            assert isinstance(region, Point)
            same = (pixels == pixels[int(region.y_px), int(region.x_px)]).all(2)
            mask &= ~next(part for part in _parts(same) if part[int(region.y_px), int(region.x_px)])
        else:
            drawn = region_mask(region, size_hw, 0.0)
            touched = [(float((thing & drawn).sum() / (thing | drawn).sum()), i) for i, thing in enumerate(things)]
            fit, best = max(touched, default=(0.0, 0))
            if fit > 0:
                mask |= things[best]
    least = prompt.score_threshold or 0.0
    if not mask.any() or (score := _score(pixels, mask)) < least:
        return []
    return [Found(mask, score, prompt.label)]


def _alike(pixels: NDArray[np.uint8], prompt: Prompt) -> list[Found]:
    size_hw = (pixels.shape[0], pixels.shape[1])
    own = {one.label: one.score_threshold for one in prompt.categories}
    if prompt.exemplars:
        shown = [((int(one.in_picture[0]), int(one.in_picture[1])), one.label) for one in prompt.exemplars]
    else:
        labels = [one.label for one in prompt.categories] or [prompt.label] * len(prompt.regions)
        shown = [
            (_under(pixels, region_mask(region, size_hw)), label)
            for region, label in zip(prompt.regions, labels, strict=True)
        ]
    found: list[Found] = []
    for name, label in dict.fromkeys(shown):
        threshold = own.get(label) if label is not None else None
        if name != GROUND[:2]:
            found += _things(pixels, name, label, prompt.score_threshold if threshold is None else threshold)
    return found


def _named(pixels: NDArray[np.uint8], prompt: Prompt) -> list[Found]:
    found: list[Found] = []
    for category in prompt.categories:
        own = category.score_threshold
        threshold = prompt.score_threshold if own is None else own
        things = _things(pixels, name_colour(category.phrase), category.label, threshold)
        found += things if category.is_thing else _together(things)
    if prompt.form is Form.SEMANTIC:
        return [
            area
            for label in dict.fromkeys(one.label for one in found)
            for area in _together([one for one in found if one.label == label])
        ]
    return found


def _together(found: Sequence[Found]) -> list[Found]:
    if not found:
        return []
    return [Found(np.any([one.mask for one in found], axis=0), max(one.score for one in found), found[0].label)]


def _captioned(pixels: NDArray[np.uint8]) -> Answer:
    text, found, spans = "I see", [], []
    for name in CAPTIONED:
        things = sorted(_things(pixels, name_colour(name), f"the {name}", None), key=lambda one: -one.score)
        if things:
            text += f"{' and' if found else ''} the {name}"
            found.append(things[0])
            spans.append((len(text) - len(f"the {name}"), len(text)))
    if not found:
        return Answer(
            Instances.empty((pixels.shape[0], pixels.shape[1])), text="I see nothing.", reason="nothing named"
        )
    return Answer(_instances(found), text=f"{text}.", phrase_spans=tuple(spans))
