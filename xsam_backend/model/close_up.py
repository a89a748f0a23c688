"""A second, closer look at a small object: which window of the picture, and the prompt's regions in it."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from xsam_backend.geometry.masks import mask_to_box_xyxy
from xsam_backend.prompts import MaskRegion, Point, Region

MARGIN_SHARE = 0.4
"""What a close-up shows around the object on each side, as share of the object's longer side."""

LARGER = 1.5
"""Objects of a typical size may be so much larger than that, and clicks aren't at their middles."""

LEAST_SIDE_PX = 24
"""Windows are at least this high and wide: fewer pixels, enlarged, show nothing more."""


def close_up_window(extent: NDArray[np.bool_], share: float) -> tuple[slice, slice] | None:
    """Rows and columns around an object whose longer side is below ``share`` of the picture's; None if it isn't.

    Args:
        extent: bool (H, W), what is known of the object.
        share: 0 for never.
    """
    box = mask_to_box_xyxy(extent)
    if box is None:
        return None
    x0, y0, x1, y1 = box
    height, width = extent.shape
    longer = max(x1 - x0, y1 - y0)
    if longer >= share * max(height, width):
        return None
    margin = longer * MARGIN_SHARE
    return _widened(y0 - margin, y1 + margin, height), _widened(x0 - margin, x1 + margin, width)


def typical_window(hinted: NDArray[np.bool_], size: float) -> tuple[slice, slice]:
    """Rows and columns around hints that mean an object of a known size.

    Args:
        hinted: bool (H, W), with pixels: the hints' own.
        size: its longer side, as share of the picture's longer side.
    """
    box = mask_to_box_xyxy(hinted)
    assert box is not None
    x0, y0, x1, y1 = box
    height, width = hinted.shape
    side = max(x1 - x0, y1 - y0, LARGER * size * max(height, width)) * (1 + 2 * MARGIN_SHARE)
    middle_x, middle_y = (x0 + x1) / 2, (y0 + y1) / 2
    return _widened(middle_y - side / 2, middle_y + side / 2, height), _widened(
        middle_x - side / 2, middle_x + side / 2, width
    )


def reaches_beyond(mask: NDArray[np.bool_], window: tuple[slice, slice]) -> bool:
    """Whether a mask, bool (H, W), ends where the window ends: the object is larger than what was looked at."""
    rows, columns = window
    height, width = mask.shape
    cut = mask[rows, columns]
    return bool(
        (rows.start > 0 and cut[0].any())
        or (rows.stop < height and cut[-1].any())
        or (columns.start > 0 and cut[:, 0].any())
        or (columns.stop < width and cut[:, -1].any())
    )


def _widened(start: float, stop: float, limit: int) -> slice:
    """Whole pixels from ``start`` to ``stop`` within 0..limit: at least LEAST_SIDE_PX where there are so many."""
    lack = max(LEAST_SIDE_PX - (stop - start), 0) / 2
    first, last = max(int(start - lack), 0), min(int(stop + lack) + 1, limit)
    last = min(max(last, first + LEAST_SIDE_PX), limit)
    return slice(max(min(first, last - LEAST_SIDE_PX), 0), last)


def shift_region(region: Region, rows: slice, columns: slice) -> Region:
    """The region in the window's own pixels; parts outside the window stay outside."""
    if isinstance(region, MaskRegion):
        return dataclasses.replace(region, mask=region.mask[rows, columns])
    if isinstance(region, Point):
        return dataclasses.replace(region, x_px=region.x_px - columns.start, y_px=region.y_px - rows.start)
    return dataclasses.replace(region, x_px=region.x_px - columns.start, y_px=region.y_px - rows.start)
