"""A closer look at a picture full of small objects: in which windows, and what is kept of what they show.

The decoder has a fixed number of queries and masks a quarter as fine as its picture. Where many small objects are
found, more of them are there; cut into overlapping windows and enlarged, each part of the picture has all queries and
all pixels for itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from xsam_backend.geometry.cropped_masks import CroppedMask
from xsam_backend.geometry.masks import mask_to_box_xyxy
from xsam_backend.instances import Instances

SMALL_SHARE = 0.1
"""Objects whose longer side is below this share of the picture's longer side are small."""

MANY = 6
"""So many small objects are worth a closer look."""

WANTED_SHARE = 0.25
"""Longer side that a small object should have of its window's: then its mask is fine enough."""

MOST_GUESSED = 6
"""Windows along each side, at most, where the objects' size in this picture is only guessed: more cost time, and show
little of what is larger than was guessed."""

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
    """Rows and columns of the windows to look at again for objects of that size; none where one window would do.

    Args:
        share: the objects' longer side, as share of the picture's longer side; above 0.
        size_hw: of the picture.
        most: along each side.
    """
    count = min(int(np.ceil(WANTED_SHARE / share)), most)
    if count < 2:
        return []
    return [(rows, columns) for rows in _shares(size_hw[0], count) for columns in _shares(size_hw[1], count)]


def longer_share(mask: NDArray[np.bool_]) -> float:
    """Longer side of a mask, as share of its picture's longer side.

    Args:
        mask: bool (H, W), not empty.
    """
    box = mask_to_box_xyxy(mask)
    assert box is not None
    return max(box[2] - box[0], box[3] - box[1]) / max(mask.shape)


def _shares(length: int, count: int) -> list[slice]:
    side = length / (count - (count - 1) * OVERLAP)
    starts = [number * (length - side) / (count - 1) for number in range(count)]
    return [slice(int(start), min(int(np.ceil(start + side)), length)) for start in starts]


def in_picture(found: Instances, window: Window, size_hw: tuple[int, int]) -> Instances:
    """What a window shows, at its place in the picture; without what its inner edges cut."""
    rows, columns = window
    moved = [mask.moved(columns.start, rows.start, size_hw) for mask in found.cropped]
    kept = [number for number, mask in enumerate(moved) if not _is_cut(mask, window)]
    return replace(found, cropped=tuple(moved), size_hw=size_hw).select(kept)


def _is_cut(mask: CroppedMask, window: Window) -> bool:
    """Whether it touches an edge of the window within the picture."""
    if mask.box_xyxy is None:
        return False
    x0, y0, x1, y1 = mask.box_xyxy
    rows, columns = window
    height, width = mask.size_hw
    edges = ((x0, columns.start, 0), (y0, rows.start, 0), (x1, columns.stop, width), (y1, rows.stop, height))
    return any(reached == edge != rim for reached, edge, rim in edges)


def joined(whole: Instances, closer: Sequence[Instances]) -> Instances:
    """Everything that was seen, each object once, best first.

    What windows saw is finer, so of the whole picture only objects remain that no window shows: those too large for
    one, and those at their edges.

    Args:
        whole, closer: of one picture's size.
    """
    parts = Instances.concatenate([*closer, whole], whole.size_hw)
    is_whole = np.arange(len(parts)) >= len(parts) - len(whole)
    areas = [mask.area_px for mask in parts.cropped]
    # Windows first, then by score: a coarse mask never takes a fine one's place.
    order = sorted(range(len(parts)), key=lambda index: (is_whole[index], -float(parts.scores[index])))
    kept: list[int] = []
    for index in order:
        if areas[index] and not any(
            parts.labels[index] == parts.labels[other]
            and parts.cropped[index].shared_px(parts.cropped[other]) > SAME * min(areas[index], areas[other])
            for other in kept
        ):
            kept.append(index)
    kept.sort(key=lambda index: -float(parts.scores[index]))
    return parts.select(kept)
