"""Facts about masks: bool (H, W), True inside the object.

Points are xy in px, x right and y down; pixel (0, 0) covers 0 <= x < 1, 0 <= y < 1, its centre is (0.5, 0.5).
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]
"""bool (H, W), True inside the object."""


def check_mask(mask: object, size_hw: tuple[int, int] | None = None) -> Mask:
    """``mask`` itself if it is a bool (H, W) array with pixels, of ``size_hw`` if that is given.

    Raises:
        ValueError: it is something else.
    """
    if not isinstance(mask, np.ndarray) or mask.dtype != np.bool_ or mask.ndim != 2 or mask.size == 0:
        got = f"{mask.dtype} {mask.shape}" if isinstance(mask, np.ndarray) else type(mask).__name__
        raise ValueError(f"expected a bool (H, W) mask, got {got}: compare with a threshold first")
    if size_hw is not None and mask.shape != tuple(size_hw):
        raise ValueError(
            f"expected a mask of {size_hw[0]} x {size_hw[1]} (H x W), got {mask.shape[0]} x {mask.shape[1]}"
        )
    return mask


def mask_to_box_xyxy(mask: Mask) -> tuple[int, int, int, int] | None:
    """x0, y0, x1, y1 around the mask, maxima exclusive, so width is x1 - x0; None for an empty mask."""
    rows = np.flatnonzero(mask.any(axis=1))
    if not len(rows):
        return None
    top, bottom = int(rows[0]), int(rows[-1]) + 1
    columns = np.flatnonzero(mask[top:bottom].any(axis=0))
    return int(columns[0]), top, int(columns[-1]) + 1, bottom


def interior_point(mask: Mask) -> tuple[float, float]:
    """xy of the most interior pixel's centre: the one furthest from everything outside, the picture's rim included.

    Always inside the mask, also in thin or hollow ones. Ties go to the pixel nearest to the mean of the tied ones, so
    a long bar gets its middle.

    Raises:
        ValueError: the mask is empty.
    """
    box = mask_to_box_xyxy(mask)
    if box is None:
        raise ValueError("an empty mask has no interior: expected at least one pixel")
    x0, y0, x1, y1 = box
    framed = np.pad(mask[y0:y1, x0:x1].astype(np.uint8), 1)
    depth = cv2.distanceTransform(framed, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[1:-1, 1:-1]
    tied = np.argwhere(depth >= depth.max() - 1e-3)
    row, column = tied[((tied - tied.mean(axis=0)) ** 2).sum(axis=1).argmin()]
    return x0 + float(column) + 0.5, y0 + float(row) + 0.5


def connected_parts(mask: Mask, connectivity: int = 8) -> list[Mask]:
    """The mask's separate parts, largest first. ``connectivity`` 8: pixels that touch at a corner belong together."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=connectivity)
    areas = stats[1:count, cv2.CC_STAT_AREA]
    return [labels == 1 + part for part in np.argsort(-areas, kind="stable")]


def parts_touching(mask: Mask, hints: Mask) -> Mask:
    """The mask without its separate parts that hold no pixel of ``hints``; the whole mask if none of them does.

    Pixels that touch at a corner belong together.
    """
    box = mask_to_box_xyxy(mask)
    if box is None:
        return mask
    window = slice(box[1], box[3]), slice(box[0], box[2])
    cut = mask[window]
    count, labels = cv2.connectedComponents(cut.astype(np.uint8), connectivity=8)
    touched = np.zeros(count, np.bool_)
    touched[labels[cut & hints[window]]] = True
    if count == 2 or not touched.any():
        return mask
    kept = np.zeros_like(mask)
    kept[window] = touched[labels]
    return kept


def without_crumbs(mask: Mask, kept: Mask, share: float) -> Mask:
    """The mask without its separate parts that are smaller than ``share`` of the largest one.

    Parts that hold a pixel of ``kept`` stay. Pixels that touch at a corner belong together.
    """
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    areas = stats[:, cv2.CC_STAT_AREA]
    areas[0] = 0  # what is outside of the mask
    stays = (areas > 0) & (areas >= share * areas.max())
    stays[labels[mask & kept]] = True
    found: Mask = stays[labels]
    return found


def mask_iou(first: Mask, second: Mask) -> float:
    """Intersection over union of two masks of one size; two empty masks are equal, 1.0."""
    union = np.count_nonzero(first | second)
    return np.count_nonzero(first & second) / union if union else 1.0
