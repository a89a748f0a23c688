"""What each further click changes: the mask around it, as far as the picture is alike there.

X-SAM has no prompt for "this, too" or "not this": asked about all clicks together it begins anew, and what was right
already is lost. So the model is asked about the first hint alone, and each click after it corrects what the ones
before made of that. How far it reaches is told by where it is: people click into the middle of what is wrong, so the
error goes about as far as the mask's rim is away. Within that reach, what looks as the clicked spot does goes with
it: in the features that the decoder's masks are made of, and in colour. Clicks that were made before keep their
spots.

Refinement from the model's own features without another training is the idea of f-BRS (arXiv 2001.10331), which
searches for it by descent; here each click is one kernel, and its place in the order of clicks is all that counts.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from xsam_backend.model.postprocess import PictureFrame
from xsam_backend.model.query_worth import picture_part
from xsam_backend.prompts import Point

FINER = 2
"""Masks are corrected on cells of half the decoder's sides, or so many times smaller."""

REACH = 2.0
"""Of a click, as standard deviation over the distance from the mask's rim."""

LEAST_REACH_CELLS = 3.0
MOST_REACH_SHARE = 0.5
"""Distances from the rim count as at least so many cells, and at most so much of the picture's height."""

ALIKE = 0.8
"""Standard deviation of features, over how far they are from their mean in this picture."""

SAME_COLOUR = 40.0
"""Standard deviation of colours, in units of CIE Lab (lightness 0 to 100)."""

CLEAR = 2.0
"""Log odds at a click that its kernel reaches: 0.88 for what was clicked."""

_LIMIT = 6.2
"""Log odds of the mask before: 0.002 and 0.998, so that everything can be corrected."""


def corrected(
    log_odds: Tensor,
    features: Tensor,
    pixels: NDArray[np.uint8],
    frame: PictureFrame,
    clicks: Sequence[Point],
) -> NDArray[np.bool_]:
    """The mask after further clicks: bool (H, W) in the picture's size.

    Args:
        log_odds: (h, w) over the padded frame, above 0 inside the mask that the first hint got.
        features: (C, h, w), what the decoder's masks are made of, of the same cells.
        pixels: uint8 (H, W, 3) RGB, the picture.
        frame: where it lies in the padded frame.
        clicks: in the order in which they were made, the first ones too where they are to hold. What is outside of
            the picture is passed over.
    """
    height, width = frame.size_hw
    own = picture_part(log_odds[None].float().clamp(-_LIMIT, _LIMIT), frame)[0].cpu().numpy()
    cells = _Cells(picture_part(features.float(), frame), pixels, (own.shape[0] * FINER, own.shape[1] * FINER))
    odds = np.asarray(cv2.resize(own, cells.size_wh, interpolation=cv2.INTER_CUBIC))
    before: list[tuple[bool, NDArray[np.float32]]] = []
    held = [click for click in clicks if 0 <= click.x_px <= width and 0 <= click.y_px <= height]
    for click in held:
        row = min(int(click.y_px / height * odds.shape[0]), odds.shape[0] - 1)
        column = min(int(click.x_px / width * odds.shape[1]), odds.shape[1] - 1)
        sign = 1.0 if click.positive else -1.0
        kernel = cells.like(row, column, _reach(odds > 0, row, column))
        lacks = CLEAR - sign * float(odds[row, column])
        if lacks > 0:
            weight = kernel
            for positive, other in before:
                if positive is not click.positive:
                    weight = weight * (1 - other)
            weight = weight / max(float(weight[row, column]), _LEAST)
            odds = odds + np.float32(sign * lacks) * np.minimum(weight, kernel)
        before.append((click.positive, kernel))
    mask = np.asarray(cv2.resize(odds, (width, height), interpolation=cv2.INTER_LINEAR)) > 0
    for click in held:  # two that contradict each other may share a cell: the pixels are said
        mask[min(int(click.y_px), height - 1), min(int(click.x_px), width - 1)] = click.positive
    return mask


_LEAST = 1e-3


def _reach(inside: NDArray[np.bool_], row: int, column: int) -> float:
    """In cells: the distance of a cell from the mask's rim, whichever side it is on; bounded."""
    side = inside if inside[row, column] else ~inside
    distance = float(cv2.distanceTransform(side.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[row, column])
    return min(max(distance, LEAST_REACH_CELLS), MOST_REACH_SHARE * inside.shape[0])


class _Cells:
    """What is known of each cell: where it is, its features, its colour.

    Args:
        features: (C, h, w) float32 of the picture's part.
        size_hw: how many cells there are; ``features`` may have fewer.
    """

    def __init__(self, features: Tensor, pixels: NDArray[np.uint8], size_hw: tuple[int, int]) -> None:
        self.size_wh = size_hw[1], size_hw[0]
        directions = F.normalize(features, dim=0)
        centred = directions - directions.mean((1, 2), keepdim=True)
        self._features = centred / centred.square().sum(0).mean().sqrt().clamp(min=_LEAST)
        small = cv2.resize(pixels, self.size_wh, interpolation=cv2.INTER_AREA)
        self._colours = cv2.cvtColor(small.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
        self._rows, self._columns = (np.arange(side, dtype=np.float32) for side in size_hw)

    def like(self, row: int, column: int, reach: float) -> NDArray[np.float32]:
        """How much each cell, (h, w), is like this one and near it: 1 is the cell itself."""
        rows, columns = (
            np.square((places - place) / (REACH * reach))
            for places, place in ((self._rows, row), (self._columns, column))
        )
        _, height, width = self._features.shape
        spot = self._features[:, row * height // len(self._rows), column * width // len(self._columns)]
        apart = (self._features - spot[:, None, None]).square().sum(0).cpu().numpy() / ALIKE**2
        unlike = np.asarray(cv2.resize(apart, self.size_wh, interpolation=cv2.INTER_LINEAR))
        colour = np.square(self._colours - self._colours[row, column]).sum(-1) / SAME_COLOUR**2
        kernel: NDArray[np.float32] = np.exp(-(rows[:, None] + columns[None] + unlike + colour) / 2)
        return kernel.astype(np.float32)
