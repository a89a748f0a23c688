"""Other views of one labelled picture: cut out, mirrored, in other light. Words stay true or are dropped."""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np
from numpy.typing import NDArray

from xsam_backend.geometry.masks import mask_to_box_xyxy
from xsam_backend.ground_truth import GroundTruth

LEAST_CROP_SHARE = 0.35
"""The smallest cut-out, as share of each side."""

CLOSE_UP_MARGIN = (0.1, 1.2)
"""What a close-up shows around its segment, on each side, as share of the segment's longer side."""

LEAST_CLOSE_UP_PX = 200
"""Segments with fewer pixels are too coarse to be shown as large as a close-up shows them."""

SMALL_SHARE = 0.1
"""Segments whose longer side is below this share of the picture's longer side are small."""

AMONG_OTHERS = (0.12, 0.4)
"""Of a window onto many small segments, the share of each side that one of them has."""


def augment(truth: GroundTruth, rng: np.random.Generator, side: int) -> GroundTruth:
    """A random view, at most ``side`` pixels on the longer side.

    Phrases, questions and grounded captions speak of places and of all that is there, so a picture that has some is
    only recoloured; class names survive everything. Segments that leave the view are dropped.
    """
    if truth.referring or truth.questions or any(caption.spans for caption in truth.captions):
        return dataclasses.replace(truth, image=_other_light(truth.image, rng))
    rows, columns = _window(truth, rng)
    crop_h, crop_w = rows.stop - rows.start, columns.stop - columns.start
    scale = side / max(crop_h, crop_w)
    size = (max(round(crop_w * scale), 1), max(round(crop_h * scale), 1))
    image = cv2.resize(
        truth.image[rows, columns], size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    )
    mirrored = rng.random() < 0.5
    if mirrored:
        image = image[:, ::-1]
    masks = []
    for mask in truth.masks:
        resized = cv2.resize(mask[rows, columns].view(np.uint8), size, interpolation=cv2.INTER_NEAREST)
        masks.append(resized[:, ::-1] if mirrored else resized)
    stacked = np.stack(masks).astype(bool) if masks else np.zeros((0, size[1], size[0]), bool)
    kept = np.flatnonzero(stacked.any((1, 2)))
    return GroundTruth(
        image=_other_light(np.ascontiguousarray(image), rng),
        masks=stacked[kept],
        names=tuple(truth.names[i] for i in kept),
        is_thing=truth.is_thing[kept],
        is_crowd=truth.is_crowd[kept],
        complete_for=truth.complete_for,
        looks=tuple(truth.looks[i] for i in kept) if truth.looks else (),
        emphasis=None if truth.emphasis is None else truth.emphasis[kept],
        source=truth.source,
    )


def _window(truth: GroundTruth, rng: np.random.Generator) -> tuple[slice, slice]:
    """Rows and columns to keep: all, any cut-out, a window onto small segments, or the surroundings of one segment.

    The last two are what a model sees that looks again, enlarged, at many small objects or at one.
    """
    height, width = truth.size_hw
    kind = rng.random()
    if kind < 0.25:
        return slice(0, height), slice(0, width)
    small = _small(truth) if kind >= 0.75 else []
    if small:
        return _among_others(small[rng.integers(len(small))], truth.size_hw, rng)
    areas = truth.masks.sum((1, 2))
    large = np.flatnonzero((areas >= LEAST_CLOSE_UP_PX) & ~truth.is_crowd)
    if kind < 0.5 or not len(large):
        share, aspect = rng.uniform(LEAST_CROP_SHARE, 1.0), np.exp(rng.uniform(-0.2, 0.2))
        crop_h, crop_w = (
            int(np.clip(n, 32, limit))
            for n, limit in ((height * share * aspect, height), (width * share / aspect, width))
        )
        top, left = int(rng.integers(height - crop_h + 1)), int(rng.integers(width - crop_w + 1))
        return slice(top, top + crop_h), slice(left, left + crop_w)
    weight = np.sqrt(areas[large].astype(float))
    box = mask_to_box_xyxy(truth.masks[rng.choice(large, p=weight / weight.sum())])
    assert box is not None
    x0, y0, x1, y1 = box
    around = max(x1 - x0, y1 - y0) * rng.uniform(*CLOSE_UP_MARGIN, 4)
    top, bottom = max(int(y0 - around[0]), 0), min(int(y1 + around[1]) + 1, height)
    left, right = max(int(x0 - around[2]), 0), min(int(x1 + around[3]) + 1, width)
    return slice(top, bottom), slice(left, right)


Box = tuple[float, float, float, float]


def _small(truth: GroundTruth) -> list[Box]:
    """x0, y0, x1, y1 of the small segments."""
    boxes = [mask_to_box_xyxy(mask) for mask in truth.masks[~truth.is_crowd]]
    limit = SMALL_SHARE * max(truth.size_hw)
    return [box for box in boxes if box is not None and max(box[2] - box[0], box[3] - box[1]) < limit]


def _among_others(box: Box, size_hw: tuple[int, int], rng: np.random.Generator) -> tuple[slice, slice]:
    """A window around a small segment, in which it is as large as when small objects are looked at again."""
    x0, y0, x1, y1 = box
    share = max(x1 - x0, y1 - y0) / rng.uniform(*AMONG_OTHERS) / max(size_hw)
    rows, columns = (
        _around(low, high, round(share * limit), limit, rng)
        for low, high, limit in ((y0, y1, size_hw[0]), (x0, x1, size_hw[1]))
    )
    return rows, columns


def _around(low: float, high: float, length: int, limit: int, rng: np.random.Generator) -> slice:
    """``length`` pixels within 0..limit, at random, that hold ``low`` to ``high`` where they can."""
    length = min(max(length, 1), limit)
    first, last = max(int(np.ceil(high)) - length, 0), min(int(low), limit - length)
    start = int(rng.integers(min(first, last), max(first, last) + 1))
    return slice(start, start + length)


def _other_light(image: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Brightness, contrast and a slight tint; three in ten stay as they are."""
    if rng.random() < 0.3:
        return image
    gain = rng.uniform(0.75, 1.3) * rng.uniform(0.95, 1.05, 3)
    offset = rng.uniform(-25, 25)
    table = np.clip(np.arange(256)[:, None] * gain + offset, 0, 255).astype(np.uint8)
    return np.asarray(cv2.LUT(image, table[None]), np.uint8)
