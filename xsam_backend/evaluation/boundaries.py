"""Whether outlines are right, not only areas: the boundary F-score.

After Csurka et al. 2013 ("What is a good evaluation measure for semantic segmentation?") and DAVIS (Perazzi et al.
2016). Choices: the tolerance is 0.75 % of the picture's diagonal, as Csurka has it (DAVIS: 0.8 %, rounded up), at
least one pixel, measured between pixels' centres. A mask's boundary are its own outermost pixels; where the picture's
edge cuts an object off there is no boundary.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from xsam_backend.geometry.masks import Mask, mask_to_box_xyxy
from xsam_backend.geometry.raster import ellipse_to_mask

TOLERANCE_SHARE = 0.0075
"""Of the picture's diagonal."""


def boundary_f_score(predicted: Mask, truth: Mask, tolerance_share: float = TOLERANCE_SHARE) -> float:
    """F-score of two bool (H, W) masks' boundaries, 0..1.

    Precision is the share of the predicted boundary with true boundary within the tolerance, recall the other way
    round. Two masks without a boundary agree, 1; one without and one with do not, 0.

    Raises:
        ValueError: for different sizes.
    """
    if predicted.shape != truth.shape:
        raise ValueError(f"expected masks of one size, got {predicted.shape} and {truth.shape}")
    tolerance_px = max(1.0, tolerance_share * math.hypot(*truth.shape))
    rows, columns = _window(predicted | truth)
    ours, theirs = boundary(predicted[rows, columns]), boundary(truth[rows, columns])
    if not ours.any() or not theirs.any():
        return float(ours.any() == theirs.any())
    precision = float(np.mean(_distance_to(theirs)[ours] <= tolerance_px))
    recall = float(np.mean(_distance_to(ours)[theirs] <= tolerance_px))
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def boundary(mask: Mask) -> Mask:
    """bool (H, W): pixels of the mask with a neighbour (left, right, above, below) that is not in it."""
    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    # What lies beyond the picture erodes nothing.
    inner = np.asarray(cv2.erode(mask.astype(np.uint8), cross)) > 0
    outermost: Mask = mask & ~inner
    return outermost


def inscribed_ellipse(mask: Mask) -> Mask:
    """bool (H, W): the ellipse that touches the sides of the mask's box, a guess that needs nothing but the box.

    Raises:
        ValueError: an empty mask.
    """
    box = mask_to_box_xyxy(mask)
    if box is None:
        raise ValueError("expected a mask with at least one pixel, got an empty one: it has no box")
    x0, y0, x1, y1 = box
    size_hw = (mask.shape[0], mask.shape[1])
    return ellipse_to_mask((x0 + x1) / 2, (y0 + y1) / 2, (x1 - x0) / 2, (y1 - y0) / 2, size_hw)


def _window(mask: Mask) -> tuple[slice, slice]:
    """Rows and columns of the mask and one pixel around it, as far as the picture goes; a corner for an empty one."""
    x0, y0, x1, y1 = mask_to_box_xyxy(mask) or (0, 0, 0, 0)
    return slice(max(y0 - 1, 0), y1 + 1), slice(max(x0 - 1, 0), x1 + 1)


def _distance_to(pixels: Mask) -> NDArray[np.float32]:
    """float32 (H, W): from each pixel's centre to the nearest of the given ones."""
    return np.asarray(cv2.distanceTransform((~pixels).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE))
