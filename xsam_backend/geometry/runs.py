"""Runs of a mask: how long its values stay the same, in turn, zeros first. Both run-length codes are made of them."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from xsam_backend.geometry.masks import Mask, mask_to_box_xyxy

Lengths = NDArray[np.int64]
"""Of zeros, ones, zeros, ... in turn; the first may be 0, and together they are all pixels."""


def mask_to_runs(mask: Mask, by_columns: bool = False) -> Lengths:
    """Runs of a bool (H, W) mask row after row, or column after column. Only its box is looked at closely.

    ``mask_to_runs(np.array([[False, True, True], [True, False, False]]))`` -> ``[1, 3, 2]``
    """
    box = mask_to_box_xyxy(mask)
    if box is None:
        return np.array([mask.size], np.int64)
    x0, y0, x1, y1 = box
    lines, line_px, first = mask[y0:y1, x0:x1], mask.shape[1], y0 * mask.shape[1] + x0
    if by_columns:
        lines = cv2.transpose(lines.view(np.uint8)).reshape(x1 - x0, y1 - y0).view(np.bool_)
        line_px, first = mask.shape[0], x0 * mask.shape[0] + y0
    count, length = lines.shape
    apart = np.zeros(count * (length + 1) + 1, np.bool_)  # a zero before each line and behind the last
    apart[1:].reshape(count, length + 1)[:, :length] = lines
    changes = np.flatnonzero(apart[1:] != apart[:-1])
    changes += changes // (length + 1) * (line_px - length - 1) + first
    if length == line_px:  # what ends with one line and begins with the next is one run
        stays = np.ones(len(changes), np.bool_)
        stays[1:-1:2] = changes[1:-1:2] != changes[2::2]
        stays[2::2] = stays[1:-1:2]
        changes = changes[stays]
    runs = np.diff(changes, prepend=0, append=mask.size)
    return runs if runs[-1] else runs[:-1]


def runs_to_mask(runs: Lengths, size_hw: tuple[int, int], by_columns: bool = False) -> Mask:
    """bool (H, W) of runs that are together H * W; the other way round."""
    flat = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    if not by_columns:
        return flat.reshape(size_hw)
    turned = flat.reshape(size_hw[1], size_hw[0]).view(np.uint8)
    return cv2.transpose(turned).reshape(size_hw).view(np.bool_)
