"""Boxes between Label Studio's per cent and pixels, and turned rectangles.

Pixel frame: x right, y down, pixel (column 0, row 0) covers 0 <= x < 1, 0 <= y < 1. Per cent of the picture's width
for x and of its height for y, 0..100. Rotations are in degrees, clockwise on the screen, about the corner (x, y).
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

STRAIGHT = 1.1
"""A straight rectangle may be so many times as large as the smallest one and still be taken."""


def xyxy_to_xywh(boxes_xyxy: ArrayLike) -> Array:
    """(..., 4) x0, y0, x1, y1 -> x, y, width, height. ``[1, 2, 4, 6]`` -> ``[1, 2, 3, 4]``."""
    boxes = np.asarray(boxes_xyxy, np.float64)
    return np.concatenate([boxes[..., :2], boxes[..., 2:] - boxes[..., :2]], axis=-1)


def px_to_pct(points_px: ArrayLike, size_hw: tuple[int, int]) -> Array:
    """(..., 2k) alternating x and y in pixels -> per cent. In a 200 x 100 picture ``[50, 50]`` -> ``[25, 50]``."""
    points = np.asarray(points_px, np.float64)
    return points * 100.0 / _scale(points, size_hw)


def pct_to_px(points_pct: ArrayLike, size_hw: tuple[int, int]) -> Array:
    """(..., 2k) alternating x and y in per cent -> pixels. In a 200 x 100 picture ``[25, 50]`` -> ``[50, 50]``."""
    points = np.asarray(points_pct, np.float64)
    return points * _scale(points, size_hw) / 100.0


def rotated_corners(xywh: ArrayLike, rotation_deg: float = 0.0) -> Array:
    """(4, 2) xy corners of a rectangle turned about (x, y): from that corner clockwise on the screen.

    ``rotated_corners([5, 5, 2, 1], 90)`` starts at (5, 5) and goes down to (5, 7), then left to (4, 7).
    """
    x, y, width, height = np.asarray(xywh, np.float64)
    angle = np.deg2rad(rotation_deg)
    along = width * np.array([np.cos(angle), np.sin(angle)])
    down = height * np.array([-np.sin(angle), np.cos(angle)])
    start = np.array([x, y])
    return np.stack([start, start + along, start + along + down, start + down])


def mask_to_rotated_rectangle(mask: NDArray[np.bool_]) -> tuple[float, float, float, float, float]:
    """The smallest rectangle around a bool (H, W) mask's pixels: x, y, width, height in px, rotation in degrees.

    A straight one where that is hardly larger: around a disc, the smallest lies any way. The rotation is in
    -45 < r <= 45: what lies straight stays straight, and (x, y) is the corner that a person would call top left. All
    of every pixel is inside, up to 1e-3 px.

    Raises:
        ValueError: the mask is empty.
    """
    rows = np.flatnonzero(mask.any(axis=1))
    if not len(rows):
        raise ValueError("an empty mask has no rectangle: expected at least one pixel")
    left = mask[rows].argmax(axis=1)
    right = mask.shape[1] - mask[rows, ::-1].argmax(axis=1)
    sides = [np.stack([x, y], axis=1) for x in (left, right) for y in (rows, rows + 1)]
    corners = np.concatenate(sides).astype(np.float32)
    (center_x, center_y), (width, height), angle = cv2.minAreaRect(cv2.convexHull(corners))
    x0, y0, x1, y1 = float(left.min()), float(rows[0]), float(right.max()), float(rows[-1] + 1)
    if (x1 - x0) * (y1 - y0) <= STRAIGHT * width * height:
        return x0, y0, x1 - x0, y1 - y0, 0.0
    quarter_turns = int(np.ceil((angle - 45.0) / 90.0))
    angle -= 90.0 * quarter_turns
    if quarter_turns % 2:
        width, height = height, width
    middle = rotated_corners([0.0, 0.0, width, height], angle)[2] / 2
    return float(center_x - middle[0]), float(center_y - middle[1]), float(width), float(height), float(angle)


def _scale(points: Array, size_hw: tuple[int, int]) -> Array:
    if points.shape[-1] % 2:
        raise ValueError(f"expected x and y in turn along the last axis, got shape {points.shape}")
    return np.tile([float(size_hw[1]), float(size_hw[0])], points.shape[-1] // 2)
