"""What an annotator might click, box or scribble for a given mask: for training, and for repeatable measures.

Everything random comes from the given generator. All masks are bool (H, W); an empty one is a ``ValueError``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import cv2
import numpy as np
from numpy.typing import NDArray

from xsam_backend.geometry.masks import Mask, interior_point, mask_to_box_xyxy
from xsam_backend.geometry.raster import polygon_to_mask, stroke_to_mask
from xsam_backend.prompts import Box, MaskRegion, Point, Region

CLICK_DEPTH = 1 / 3
"""Random clicks keep this share of the greatest distance to the outside: people don't click on the rim."""

STROKE_WIDTH_SHARE = (0.01, 0.03)
"""Scribbles are this wide, as share of the picture's longer side: from thin to thick."""


def centre_click(mask: Mask) -> Point:
    """A click on the most interior pixel, the first click of every measure. Same mask, same click."""
    return Point(*interior_point(mask))


def random_click(mask: Mask, rng: np.random.Generator) -> Point:
    """A click anywhere well inside."""
    return Point(*_deep_points(mask, 1, rng)[0])


def corrective_click(truth: Mask, predicted: Mask) -> Point | None:
    """The next click: the most interior pixel of the largest connected error, negative where too much was taken.

    None if the masks are equal. Of equally large errors a missing part goes first.
    """
    missing, surplus = _largest_part(truth & ~predicted), _largest_part(predicted & ~truth)
    positive = np.count_nonzero(missing) >= np.count_nonzero(surplus)
    part = missing if positive else surplus
    if not part.any():
        return None
    x_px, y_px = interior_point(part)
    return Point(x_px, y_px, positive)


def exact_box(mask: Mask) -> Box:
    """The tightest box around the mask."""
    return Box.from_xyxy(*_box_xyxy(mask))


def jittered_box(mask: Mask, rng: np.random.Generator, share: float = 0.1) -> Box:
    """A box drawn by hand: each side is off by up to ``share`` of the box's extent, kept inside the picture.

    It is at least one pixel wide and high.
    """
    x0, y0, x1, y1 = _box_xyxy(mask)
    height, width = mask.shape
    off = rng.uniform(-share, share, 4) * np.array([x1 - x0, y1 - y0, x1 - x0, y1 - y0])
    left, right = np.clip([x0 + off[0], x1 + off[2]], 0, width)
    top, bottom = np.clip([y0 + off[1], y1 + off[3]], 0, height)
    if right - left < 1:
        left, right = x0, x1
    if bottom - top < 1:
        top, bottom = y0, y1
    return Box.from_xyxy(float(left), float(top), float(right), float(bottom))


def scribble(mask: Mask, rng: np.random.Generator) -> MaskRegion:
    """A curved stroke through three points well inside, cut off where it leaves the mask."""
    start, bend, end = _deep_points(mask, 3, rng)
    t = np.linspace(0, 1, 24)[:, None]
    curve = (1 - t) ** 2 * start + 2 * t * (1 - t) * bend + t**2 * end
    width_px = rng.uniform(*STROKE_WIDTH_SHARE) * max(mask.shape)
    size_hw = (mask.shape[0], mask.shape[1])
    return MaskRegion(stroke_to_mask(curve, width_px, size_hw) & mask)


def rough_mask(mask: Mask, rng: np.random.Generator) -> MaskRegion:
    """A careless outline: the mask's outer rings with few corners, each a little off. Holes are filled."""
    size_hw = (mask.shape[0], mask.shape[1])
    x0, y0, x1, y1 = _box_xyxy(mask)
    extent = max(x1 - x0, y1 - y0)
    careless = rng.uniform(0.01, 0.05) * extent
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    rough = np.zeros(size_hw, np.bool_)
    for contour in contours:
        corners = cv2.approxPolyDP(contour, careless, True)[:, 0].astype(np.float64) + 0.5
        if len(corners) >= 3:
            rough |= polygon_to_mask(corners + rng.uniform(-careless, careless, corners.shape), size_hw)
    # Outlines of a few pixels may shift off the picture's edge or shrink to a line.
    return MaskRegion(rough if rough.any() else mask)


SIMULATORS: Mapping[str, Callable[[Mask, np.random.Generator], Region]] = {
    "centre click": lambda mask, rng: centre_click(mask),
    "random click": random_click,
    "exact box": lambda mask, rng: exact_box(mask),
    "jittered box": jittered_box,
    "scribble": scribble,
    "rough mask": rough_mask,
}
"""Every kind of first prompt by name."""


def _largest_part(area: Mask) -> Mask:
    """The largest 8-connected part of a mask, empty for an empty one. Ragged errors have thousands of parts."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(area.astype(np.uint8), connectivity=8)
    if len(stats) == 1:
        return area
    largest: Mask = np.asarray(labels) == 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))
    return largest


def _box_xyxy(mask: Mask) -> tuple[int, int, int, int]:
    box = mask_to_box_xyxy(mask)
    if box is None:
        raise ValueError("expected a mask with at least one pixel, got an empty one: there is nothing to prompt for")
    return box


def _deep_points(mask: Mask, count: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """float (count, 2) xy of random pixels' centres at ``CLICK_DEPTH`` or deeper."""
    x0, y0, x1, y1 = _box_xyxy(mask)
    framed = np.pad(mask[y0:y1, x0:x1].astype(np.uint8), 1)
    depth = np.asarray(cv2.distanceTransform(framed, cv2.DIST_L2, cv2.DIST_MASK_PRECISE), np.float64)[1:-1, 1:-1]
    # OpenCV's distances differ in the last bits from call to call; their squares are whole numbers.
    squared = np.rint(depth**2)
    inner = np.argwhere(squared >= CLICK_DEPTH**2 * squared.max() - 1e-6)
    chosen = inner[rng.integers(len(inner), size=count)]
    points: NDArray[np.float64] = chosen[:, ::-1] + np.array([x0 + 0.5, y0 + 0.5])
    return points
