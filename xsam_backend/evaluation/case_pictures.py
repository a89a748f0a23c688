"""Draws a case: the truth and the answer side by side, at one size, each label in one colour on both."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from xsam_backend.evaluation.results import Case
from xsam_backend.geometry.masks import mask_to_box_xyxy
from xsam_backend.instances import Instances
from xsam_backend.overlay import Writing, draw_overlay
from xsam_backend.prompts import Box, MaskRegion, Point, Region

LONGEST_PX = 400
JPEG_QUALITY = 80
MOST_WRITTEN = 12
"""Of more instances than these, labels would hide the masks."""

SURROUNDINGS = 1.5
"""Of a single small object so much is shown on each side, in its own size."""
LEAST_SHOWN_PX = 48
SMALL_SHARE = 0.6
"""A picture is cut only if no more than this share of its width and height is left."""


def drawn_case(
    image: NDArray[np.uint8],
    true: Instances,
    found: Instances,
    *,
    title: str,
    measure: str,
    score: float,
    regions: Sequence[Region] = (),
    is_close: bool = False,
    is_outlined: bool = False,
) -> Case:
    """A case whose kind isn't known yet.

    Args:
        image: uint8 (H, W, 3) RGB.
        true: what is there; its scores mean nothing.
        found: what was answered.
        title: the picture and what was asked.
        measure: what ``score`` is.
        score: 0..1.
        regions: what the prompt pointed at; drawn on both.
        is_close: whether to show only the surroundings of what is there, where that is small.
        is_outlined: whether masks have white outlines, which can be seen on objects of any colour.
    """
    if is_close:
        rows, columns = _surroundings(true, image.shape[:2])
        image = np.ascontiguousarray(image[rows, columns])
        true, found = (_cut(instances, rows, columns) for instances in (true, found))
        regions = [_moved(region, rows, columns) for region in regions]
    scale = LONGEST_PX / max(image.shape[:2])
    width, height = (max(1, round(side * scale)) for side in (image.shape[1], image.shape[0]))
    small = np.asarray(
        cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC), np.uint8
    )
    labels = list(dict.fromkeys(label for label in (*true.labels, *found.labels) if label is not None))
    pictures = []
    for instances, writing in ((true, "label"), (found, "label and score")):
        shown: Writing = "nothing" if len(instances) > MOST_WRITTEN else writing  # type: ignore[assignment]
        drawn = draw_overlay(small, _scaled(instances, (height, width)), writing=shown, first_labels=labels)
        outlined = [MaskRegion(mask) for mask in instances.masks] if is_outlined else []
        for region in (*regions, *outlined):
            _draw_region(drawn, region, scale)
        pictures.append(_jpeg(drawn))
    return Case("random", title, measure, score, in_words(true), in_words(found), pictures[0], pictures[1])


def in_words(instances: Instances) -> str:
    """ "dog × 2, cat", the most frequent first; "nothing" for none."""
    counts = Counter(label or "object" for label in instances.labels)
    words = [label if count == 1 else f"{label} × {count}" for label, count in counts.most_common()]
    return ", ".join(words) or "nothing"


def _surroundings(true: Instances, size_hw: tuple[int, ...]) -> tuple[slice, slice]:
    """Rows and columns around all that is there; the whole picture where that is much of it, or nothing."""
    whole = slice(0, size_hw[0]), slice(0, size_hw[1])
    box = mask_to_box_xyxy(np.any(true.masks, axis=0)) if len(true) else None
    if box is None:
        return whole
    x0, y0, x1, y1 = box
    margin = max(SURROUNDINGS * max(x1 - x0, y1 - y0), LEAST_SHOWN_PX)
    rows = slice(max(0, int(y0 - margin)), min(size_hw[0], int(y1 + margin)))
    columns = slice(max(0, int(x0 - margin)), min(size_hw[1], int(x1 + margin)))
    is_small = rows.stop - rows.start <= SMALL_SHARE * size_hw[0]
    is_narrow = columns.stop - columns.start <= SMALL_SHARE * size_hw[1]
    return (rows, columns) if is_small and is_narrow else whole


def _cut(instances: Instances, rows: slice, columns: slice) -> Instances:
    return Instances.of(instances.masks[:, rows, columns], instances.scores, instances.labels)


def _moved(region: Region, rows: slice, columns: slice) -> Region:
    """The region in a part of the picture."""
    if isinstance(region, MaskRegion):
        return replace(region, mask=region.mask[rows, columns])
    return replace(region, x_px=region.x_px - columns.start, y_px=region.y_px - rows.start)


def _scaled(instances: Instances, size_hw: tuple[int, int]) -> Instances:
    masks = [
        cv2.resize(mask.astype(np.uint8), size_hw[::-1], interpolation=cv2.INTER_AREA) for mask in instances.masks
    ]
    stacked = np.array(masks, np.bool_) if masks else np.zeros((0, *size_hw), np.bool_)
    return Instances.of(stacked, instances.scores, instances.labels)


def _draw_region(drawn: NDArray[np.uint8], region: Region, scale: float) -> None:
    """A white cross for a click, a white line around anything else, both with a dark rim."""
    if isinstance(region, Point):
        at = (int(region.x_px * scale), int(region.y_px * scale))
        for colour, size, thick in (((20, 20, 20), 15, 5), ((255, 255, 255), 13, 2)):
            cv2.drawMarker(drawn, at, colour, cv2.MARKER_CROSS, size, thick)
        return
    if isinstance(region, Box):
        outlines = [(region.corners * scale).round().astype(np.int32)[:, None]]
    else:
        size_hw = (drawn.shape[0], drawn.shape[1])
        small = cv2.resize(region.mask.astype(np.uint8), size_hw[::-1], interpolation=cv2.INTER_NEAREST)
        rings, _ = cv2.findContours(small, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
        outlines = [np.asarray(ring, np.int32) for ring in rings]
    for colour, thick in (((20, 20, 20), 3), ((255, 255, 255), 1)):
        cv2.polylines(drawn, outlines, True, colour, thick, cv2.LINE_AA)


def _jpeg(pixels: NDArray[np.uint8]) -> bytes:
    written = io.BytesIO()
    Image.fromarray(pixels).save(written, "JPEG", quality=JPEG_QUALITY)
    return written.getvalue()
