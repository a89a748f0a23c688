"""What is known of each cell of a picture: its features and its colour, and how like another cell it is."""

from __future__ import annotations

import cv2
import numpy as np
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from xsam_backend.model.tensor_memory import bytes_alive

ALIKE = 0.8
"""Standard deviation of features, over how far they are from their mean in this picture."""

SAME_COLOUR = 40.0
"""Standard deviation of colours, in units of CIE Lab (lightness 0 to 100)."""

_LEAST = 1e-3


def comparable(features: Tensor) -> Tensor:
    """Features (C, h, w) of a picture, made so that their distances mean the same in every picture: float32.

    Directions only, from their mean, with a mean square of 1.
    """
    directions = F.normalize(features.float(), dim=0)
    centred = directions - directions.mean((1, 2), keepdim=True)
    return centred / centred.square().sum(0).mean().sqrt().clamp(min=_LEAST)


class PictureCells:
    """Cells of a picture's own frame.

    Args:
        features: float32 (C, h, w) of the same frame, as ``comparable`` gives them; there may be fewer of them than
            cells.
        pixels: uint8 (H, W, 3) RGB, the picture.
        size_hw: how many cells there are.

    Attributes:
        features, size_hw: the same.
        colours: float32 (*size_hw, 3), CIE Lab.
    """

    def __init__(self, features: Tensor, pixels: NDArray[np.uint8], size_hw: tuple[int, int]) -> None:
        self.size_hw = size_hw
        self.features = features
        small = cv2.resize(pixels, size_hw[::-1], interpolation=cv2.INTER_AREA)
        self.colours = cv2.cvtColor(small.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)

    @property
    def nbytes(self) -> int:
        """Bytes that this keeps alive."""
        return bytes_alive([self.features]) + self.colours.nbytes

    def unlikeness(self, row: int, column: int) -> NDArray[np.float32]:
        """How unlike this cell each of them looks: float32 (*size_hw,), squared deviations, 0 at the cell."""
        _, height, width = self.features.shape
        rows, columns = self.size_hw
        spot = self.features[:, row * height // rows, column * width // columns]
        apart = (self.features - spot[:, None, None]).square().sum(0).cpu().numpy() / ALIKE**2
        unlike = np.asarray(cv2.resize(apart, (columns, rows), interpolation=cv2.INTER_LINEAR))
        colour = np.square(self.colours - self.colours[row, column]).sum(-1) / SAME_COLOUR**2
        unlikeness: NDArray[np.float32] = (unlike + colour).astype(np.float32)
        return unlikeness
