"""What an interactive prompt's regions say: what is asked, how far the object goes, which pixels are its own."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from xsam_backend.prompts import Box, MaskRegion, Point, Region


def outlines(regions: Sequence[Region]) -> bool:
    """Whether the hints tell how far the object goes; clicks and strokes don't."""
    return any(
        isinstance(region, Box) or (isinstance(region, MaskRegion) and region.is_outline) for region in regions
    )


def asked_and_corrected(regions: Sequence[Region]) -> tuple[list[Region], list[Point]]:
    """What the model is asked about, and the clicks that correct its answer, both in their order.

    Asked are boxes, outlines and strokes; where there are none, the first positive click.
    """
    asked: list[Region] = [region for region in regions if not isinstance(region, Point)]
    clicks = [region for region in regions if isinstance(region, Point)]
    if asked:
        return asked, clicks
    first = next(index for index, click in enumerate(clicks) if click.positive)
    return [clicks[first]], clicks[:first] + clicks[first + 1 :]


def clicks(regions: Sequence[Region]) -> NDArray[np.float64]:
    """float64 (N, 2): x, y of the positive clicks, in pixels."""
    points = [(r.x_px, r.y_px) for r in regions if isinstance(r, Point) and r.positive]
    return np.array(points, np.float64).reshape(-1, 2)


def named_pixels(regions: Sequence[Region], size_hw: tuple[int, int]) -> NDArray[np.bool_]:
    """bool (H, W): what hints name as the object's own, a positive click its pixel, a stroke all that it is on."""
    named = np.zeros(size_hw, np.bool_)
    for region in regions:
        if isinstance(region, Point) and region.positive and (pixel := _pixel(region, size_hw)) is not None:
            named[pixel] = True
        elif isinstance(region, MaskRegion) and not region.is_outline:
            named |= region.mask
    return named


def covers(mask: NDArray[np.bool_], point: Point) -> bool:
    """Whether a click is on a mask, bool (H, W)."""
    pixel = _pixel(point, (mask.shape[0], mask.shape[1]))
    return pixel is not None and bool(mask[pixel])


def _pixel(point: Point, size_hw: tuple[int, int]) -> tuple[int, int] | None:
    """(row, column) that a click is on; None where it is outside of the picture."""
    height, width = size_hw
    if not (0 <= point.y_px <= height and 0 <= point.x_px <= width):
        return None
    return min(int(point.y_px), height - 1), min(int(point.x_px), width - 1)  # the rim is the last pixel's
