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
    if by_columns:
        x0, y0, x1, y1 = y0, x0, y1, x1
    line_px = mask.shape[0] if by_columns else mask.shape[1]
    if 2 * (x1 - x0) > line_px:  # whole lines follow each other and needn't be copied
        x0, x1 = 0, line_px
    lines = _turned(mask[x0:x1, y0:y1]) if by_columns else mask[y0:y1, x0:x1]
    length = x1 - x0
    if length == line_px:
        flat = lines.reshape(-1)
        changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
        changes = np.concatenate([np.zeros(int(flat[0]), np.int64), changes, np.full(int(flat[-1]), flat.size)])
    else:
        flat = np.zeros(len(lines) * (length + 1) + 1, np.bool_)  # a zero before each line and behind the last
        flat[1:].reshape(-1, length + 1)[:, :length] = lines
        changes = np.flatnonzero(flat[1:] != flat[:-1])
        changes += changes // (length + 1) * (line_px - length - 1) + x0
    runs = np.diff(changes + y0 * line_px, prepend=0, append=mask.size)
    return runs if runs[-1] else runs[:-1]


def runs_to_mask(runs: Lengths, size_hw: tuple[int, int], by_columns: bool = False) -> Mask:
    """bool (H, W) of runs that are together H * W; the other way round."""
    flat = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    if not by_columns:
        return flat.reshape(size_hw)
    return _turned(flat.reshape(size_hw[1], size_hw[0]))


def _turned(mask: Mask) -> Mask:
    """Columns as rows. OpenCV goes block by block, which is many times as fast as column by column."""
    return cv2.transpose(mask.view(np.uint8)).reshape(mask.shape[::-1]).view(np.bool_)
