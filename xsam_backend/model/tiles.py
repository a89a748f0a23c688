"""A closer look at a picture full of small objects: in which windows, and what is kept of what they show.

The decoder has a fixed number of queries and masks a quarter as fine as its picture. Where many small objects are
found, more of them are there; cut into overlapping windows and enlarged, each part of the picture has all queries and
all pixels for itself.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from xsam_backend.instances import Instances

SMALL_SHARE = 0.1
"""Objects whose longer side is below this share of the picture's longer side are small."""

MANY = 6
"""So many small objects are worth a closer look."""

WANTED_SHARE = 0.25
"""Longer side that a small object should have of its window's: then its mask is fine enough."""

OVERLAP = 0.25
"""Of a window with its neighbour: small objects that one cuts are whole in the other."""

SAME = 0.5
"""Detections of one label that overlap so much of the smaller one are one object."""

Window = tuple[slice, slice]


def many_small(found: Instances) -> float | None:
    """The median size of the small objects among what a first look has found, if they are many.

    Returns:
        Longer side, as share of the picture's longer side.
    """
    boxes = found.boxes_xyxy
    longer = np.maximum(boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]) / max(found.size_hw)
    small = longer[(longer > 0) & (longer < SMALL_SHARE)]
    return float(np.median(small)) if len(small) >= MANY else None


def tile_windows(share: float, size_hw: tuple[int, int], most: int) -> list[Window]:
    """Rows and columns of the windows to look at again for objects of that size; none where they are large enough.

    Args:
        share: the objects' longer side, as share of the picture's longer side; above 0.
        size_hw: of the picture.
        most: along each side.
    """
    if most < 2 or share >= SMALL_SHARE:
        return []
    count = int(np.clip(np.ceil(WANTED_SHARE / share), 2, most))
    return [(rows, columns) for rows in _shares(size_hw[0], count) for columns in _shares(size_hw[1], count)]


def _shares(length: int, count: int) -> list[slice]:
    side = length / (count - (count - 1) * OVERLAP)
    starts = [number * (length - side) / (count - 1) for number in range(count)]
    return [slice(int(start), min(int(np.ceil(start + side)), length)) for start in starts]


def in_picture(found: Instances, window: Window, size_hw: tuple[int, int]) -> Instances:
    """What a window shows, at its place in the picture; without what its inner edges cut."""
    rows, columns = window
    cut = np.zeros(len(found), np.bool_)
    for is_inner, edge in (
        (rows.start > 0, found.masks[:, 0, :]),
        (rows.stop < size_hw[0], found.masks[:, -1, :]),
        (columns.start > 0, found.masks[:, :, 0]),
        (columns.stop < size_hw[1], found.masks[:, :, -1]),
    ):
        if is_inner:
            cut |= edge.any(1)
    kept = found.select(np.flatnonzero(~cut))
    masks = np.zeros((len(kept), *size_hw), np.bool_)
    masks[:, rows, columns] = kept.masks
    return Instances(masks, kept.scores, kept.labels)


def joined(whole: Instances, closer: Sequence[Instances]) -> Instances:
    """Everything that was seen, each object once, best first.

    What windows saw is finer, so of the whole picture only objects remain that no window shows: those too large for
    one, and those at their edges.

    Args:
        whole, closer: of one picture's size.
    """
    parts = Instances.concatenate([*closer, whole], whole.size_hw)
    is_whole = np.arange(len(parts)) >= len(parts) - len(whole)
    areas = parts.masks.sum((1, 2)).astype(np.float64)
    # Windows first, then by score: a coarse mask never takes a fine one's place.
    order = sorted(range(len(parts)), key=lambda index: (is_whole[index], -float(parts.scores[index])))
    boxes = parts.boxes_xyxy
    kept: list[int] = []
    for index in order:
        if areas[index] and not any(
            parts.labels[index] == parts.labels[other] and _overlap(parts.masks, boxes, areas, index, other) > SAME
            for other in kept
        ):
            kept.append(index)
    kept.sort(key=lambda index: -float(parts.scores[index]))
    return parts.select(kept)


def _overlap(
    masks: NDArray[np.bool_], boxes: NDArray[np.float32], areas: NDArray[np.float64], one: int, other: int
) -> float:
    """Shared pixels, over the smaller area; looked at only where the boxes meet."""
    x0, y0 = (int(value) for value in np.maximum(boxes[one, :2], boxes[other, :2]))
    x1, y1 = (int(value) for value in np.minimum(boxes[one, 2:], boxes[other, 2:]))
    if x0 >= x1 or y0 >= y1:
        return 0.0
    shared = (masks[one, y0:y1, x0:x1] & masks[other, y0:y1, x0:x1]).sum()
    return float(shared / min(areas[one], areas[other]))
