"""A second, closer look at a small object: which window of the picture, and the prompt's regions in it."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from xsam_backend.geometry.masks import mask_to_box_xyxy
from xsam_backend.prompts import MaskRegion, Point, Region

MARGIN_SHARE = 0.4
"""What a close-up shows around the object on each side, as share of the object's longer side."""

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
