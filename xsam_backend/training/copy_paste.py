"""Segments of other photographs, pasted into one: more of what is rare, and in other surroundings.

Simple copy-paste (arXiv 2012.07177), with a name drawn first, each as often as another: of most names, a small data
set has a few pictures only.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from xsam_backend.evaluation.datasets.coco_folder import CocoRecord
from xsam_backend.geometry.masks import mask_to_box_xyxy
from xsam_backend.ground_truth import GroundTruth

LEAST_SEGMENT_PX = 900
"""Smaller segments are too coarse to be shown elsewhere."""

SIZES = (0.15, 0.75)
"""Longer side of a pasted segment, as share of the picture's longer side."""

MOST_ENLARGED = 2.0

SOFT_EDGE_PX = 0.8
"""Standard deviation of the blur along the edge: a hard one would tell what is pasted."""

LEAST_LEFT_SHARE = 0.1
"""Segments of which less is left uncovered are dropped: a sliver tells nothing of what it belongs to."""


@dataclasses.dataclass(frozen=True)
class Cutout:
    """A segment alone: ``pixels`` uint8 (h, w, 3) RGB and ``mask`` bool (h, w), cropped to its box."""

    pixels: NDArray[np.uint8]
    mask: NDArray[np.bool_]
    name: str


class Cutouts:
    """The segments of some photographs, by name.

    Attributes:
        names: what may be drawn, in alphabetical order.
    """

    def __init__(self, records: Sequence[CocoRecord]) -> None:
        by_name: dict[str, list[CocoRecord]] = defaultdict(list)
        for record in records:
            for name in sorted(set(record.names)):
                by_name[name].append(record)
        self.names = sorted(by_name)
        self._records = [by_name[name] for name in self.names]

    def draw(self, rng: np.random.Generator) -> Cutout | None:
        """Any name, any picture of it, any of its segments there; None if that has none that is large enough."""
        if not self.names:
            return None
        number = int(rng.integers(len(self.names)))
        records = self._records[number]
        truth = records[int(rng.integers(len(records)))].load()
        areas = truth.masks.sum((1, 2))
        usable = [
            i
            for i, name in enumerate(truth.names)
            if name == self.names[number]
            and truth.is_thing[i]
            and not truth.is_crowd[i]
            and areas[i] >= LEAST_SEGMENT_PX
        ]
        if not usable:
            return None
        mask = truth.masks[usable[int(rng.integers(len(usable)))]]
        box = mask_to_box_xyxy(mask)
        assert box is not None
        x0, y0, x1, y1 = box
        return Cutout(truth.image[y0:y1, x0:x1], mask[y0:y1, x0:x1], self.names[number])


def paste(truth: GroundTruth, cutout: Cutout, rng: np.random.Generator) -> GroundTruth:
    """The picture with the segment somewhere in it, before all else, at another size, maybe mirrored.

    What it covers is taken from the other masks; segments of which hardly anything is left are dropped. Its name
    counts as complete afterwards unless there may be more of its kind: others in the picture, or in a caption. (Some
    that neither tells are left in sparsely labelled pictures: few, against what is gained.)
    """
    height, width = truth.size_hw
    longer = max(cutout.mask.shape)
    scale = min(np.exp(rng.uniform(*np.log(SIZES))) * max(height, width) / longer, MOST_ENLARGED)
    scale = min(scale, height / cutout.mask.shape[0], width / cutout.mask.shape[1])
    size = tuple(max(int(side * scale), 1) for side in reversed(cutout.mask.shape))
    smoothly = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    pixels = cv2.resize(cutout.pixels, size, interpolation=smoothly)
    cover = cv2.resize(cutout.mask.astype(np.float32), size, interpolation=smoothly)
    if rng.random() < 0.5:
        pixels, cover = pixels[:, ::-1], np.ascontiguousarray(cover[:, ::-1])
    top, left = int(rng.integers(height - size[1] + 1)), int(rng.integers(width - size[0] + 1))
    where = slice(top, top + size[1]), slice(left, left + size[0])
    # Also where the segment ends at its box: beyond it there is nothing.
    soft = cv2.GaussianBlur(cover, (0, 0), SOFT_EDGE_PX, borderType=cv2.BORDER_CONSTANT)
    alpha = (soft * (cover > 0))[..., None]
    image = truth.image.copy()
    image[where] = np.rint(pixels * alpha + image[where] * (1 - alpha)).astype(np.uint8)
    pasted = np.zeros((height, width), np.bool_)
    pasted[where] = cover > 0.5
    if not pasted.any():
        return truth
    masks = truth.masks & ~pasted
    left_px, before_px = masks.sum((1, 2)), truth.masks.sum((1, 2))
    kept = np.flatnonzero((left_px > 0) & (left_px >= LEAST_LEFT_SHARE * before_px))
    said = " ".join(caption.text.lower() for caption in truth.captions)
    more = cutout.name not in truth.complete_for and (cutout.name in truth.names or cutout.name in said)
    return dataclasses.replace(
        truth,
        image=image,
        masks=np.concatenate([masks[kept], pasted[None]]),
        names=(*(truth.names[i] for i in kept), cutout.name),
        is_thing=np.append(truth.is_thing[kept], True),
        is_crowd=np.append(truth.is_crowd[kept], False),
        complete_for=truth.complete_for if more else truth.complete_for | {cutout.name},
        referring=(),
        questions=(),
        captions=tuple(dataclasses.replace(caption, spans=()) for caption in truth.captions),
        ignored=None if truth.ignored is None else truth.ignored & ~pasted,
        looks=(*(truth.looks[i] for i in kept), "") if truth.looks else (),
        emphasis=None if truth.emphasis is None else np.append(truth.emphasis[kept], 1.0),
    )
