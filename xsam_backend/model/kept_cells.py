"""A picture's cells, made for the first further click on it and kept for those that follow."""

from __future__ import annotations

import threading

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from xsam_backend.model.picture_cells import PictureCells, comparable
from xsam_backend.model.picture_frame import PictureFrame
from xsam_backend.model.query_worth import picture_part

FINER = 2
"""Masks are corrected on cells of half the decoder's sides, or so many times smaller."""


class KeptCells:
    """The cells of one picture. Safe to use from several threads: they are made in one of them.

    Args:
        mask_features: (C, h, w) over the padded frame, what the decoder's masks are made of; any type, any device.
        pixels: uint8 (H, W, 3) RGB, the picture.
        frame: where it lies in the padded frame.
    """

    def __init__(self, mask_features: Tensor, pixels: NDArray[np.uint8], frame: PictureFrame) -> None:
        self._mask_features, self._pixels, self._frame = mask_features, pixels, frame
        self._made: PictureCells | None = None
        self._lock = threading.Lock()

    @property
    def size_hw(self) -> tuple[int, int]:
        """How many there are."""
        _, height, width = picture_part(self._mask_features, self._frame).shape
        return height * FINER, width * FINER

    def get(self) -> PictureCells:
        """The cells; features are float32 on the device of the mask features."""
        with self._lock:
            if self._made is None:
                features = comparable(picture_part(self._mask_features.float(), self._frame))
                self._made = PictureCells(features, self._pixels, self.size_hw)
            return self._made

    @property
    def nbytes(self) -> int:
        """Bytes that are kept besides mask features and pixels, which are the state's: none before the first use."""
        made = self._made  # without the lock: who counts waits for nobody
        return 0 if made is None else made.nbytes

    @property
    def nbytes_made(self) -> int:
        """The same once they are made."""
        float32, (height, width) = 4, self.size_hw
        return float32 * (picture_part(self._mask_features, self._frame).numel() + height * width * 3)
