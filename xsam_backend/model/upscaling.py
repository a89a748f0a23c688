"""Masks in the picture's size, computed only where they can be: a large photo has many pixels, an object few of them.

Bringing a map to the picture's size, see ``picture_frame.upscale``, is linear, and done to rows and columns apart. So
it is a product with one matrix for each, and any part of the picture can be had alone: the part that the positive
cells of the map can reach. The result is the same but for rounding.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from xsam_backend.geometry.cropped_masks import CroppedMask
from xsam_backend.model.mask_boxes import boxes_xyxy
from xsam_backend.model.picture_frame import PictureFrame

KEPT_SIDES = 16
"""Of pictures whose matrices are kept, some megabytes each of large ones. Windows have sizes of their own."""

COPIED_PIXELS = 2**25
"""At most so many come from the device in one copy, unless one mask has more: each copy waits for all that the device
has to do before, but masks of a large photo together would take gigabytes."""

LARGEST = 1e4
"""Values beyond are taken for this: they mean the same, and infinite ones would spoil a whole product."""


_Part = tuple[int, int, Tensor]
"""Of a picture: where it begins, x and y, and its values (h, w)."""


def positive_masks(maps: Tensor, frame: PictureFrame) -> tuple[CroppedMask, ...]:
    """Where each map, float (N, h, w) over the padded frame, is above 0 once it has the picture's size."""
    parts = ((x, y, part > 0) for x, y, part in _positive_parts(maps.float(), frame))
    return tuple(_in_main_memory(parts, frame.size_hw))


def masks_with_certainty(mask_logits: Tensor, frame: PictureFrame) -> tuple[tuple[CroppedMask, ...], Tensor]:
    """``positive_masks``, and the mean probability inside each, float32 (N,), 0 for an empty one."""
    certainty = torch.zeros(len(mask_logits), device=mask_logits.device)

    def parts() -> Iterator[_Part]:
        for number, (x, y, part) in enumerate(_positive_parts(mask_logits.float(), frame)):
            shown = part > 0
            certainty[number] = (part.sigmoid() * shown).sum() / (shown.sum() + 1e-6)
            yield x, y, shown

    return tuple(_in_main_memory(parts(), frame.size_hw)), certainty


def _in_main_memory(parts: Iterable[_Part], size_hw: tuple[int, int]) -> Iterator[CroppedMask]:
    """Of bool parts of a picture the masks, copied from the device a few together."""
    waiting: list[_Part] = []
    pixels = 0
    for part in parts:
        if waiting and pixels + part[2].numel() > COPIED_PIXELS:
            yield from _copied(waiting, size_hw)
            waiting, pixels = [], 0
        waiting.append(part)
        pixels += part[2].numel()
    yield from _copied(waiting, size_hw)


def _copied(parts: Sequence[_Part], size_hw: tuple[int, int]) -> Iterator[CroppedMask]:
    if not parts:
        return
    flat = torch.cat([shown.flatten() for _, _, shown in parts]).cpu().numpy()
    ends = np.cumsum([shown.numel() for _, _, shown in parts])
    for (x, y, shown), own in zip(parts, np.split(flat, ends[:-1]), strict=True):
        yield CroppedMask.of(own.reshape(shown.shape), (x, y), size_hw)


def _positive_parts(maps: Tensor, frame: PictureFrame) -> Iterator[_Part]:
    """Of each map the part of the picture that its positive cells reach."""
    across, down = (
        _side(maps.shape[2 - axis], *(sizes[1 - axis] for sizes in _sizes(frame)), maps.device) for axis in (0, 1)
    )
    maps = maps.clamp(-LARGEST, LARGEST)
    # Interpolation stays within the values it starts from: what has no positive cell has no positive pixel.
    for one, (x0, y0, x1, y1) in zip(maps, boxes_xyxy(maps > 0).int().tolist(), strict=True):
        columns, rows = across.reached(x0, x1), down.reached(y0, y1)
        near_x, near_y = across.cells_of(columns), down.cells_of(rows)
        part = down.weights[rows, near_y] @ one[near_y, near_x] @ across.weights[columns, near_x].T
        yield columns.start, rows.start, part


def _sizes(frame: PictureFrame) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int]]:
    return frame.padded_hw, frame.scaled_hw, frame.size_hw


@dataclass(frozen=True, eq=False)
class _Side:
    """How one side of a picture is made of the cells of a map.

    Attributes:
        weights: float32 (pixels, cells).
        first_pixel, last_pixel: of each cell, those that it reaches.
        first_cell, last_cell: of each pixel, those that reach it.
    """

    weights: Tensor
    first_pixel: NDArray[np.int64]
    last_pixel: NDArray[np.int64]
    first_cell: NDArray[np.int64]
    last_cell: NDArray[np.int64]

    def reached(self, first: int, after: int) -> slice:
        """The pixels that cells from ``first`` up to ``after`` reach; maybe none."""
        if first == after:
            return slice(0, 0)
        start, stop = int(self.first_pixel[first:after].min()), int(self.last_pixel[first:after].max()) + 1
        return slice(start, stop) if start < stop else slice(0, 0)

    def cells_of(self, pixels: slice) -> slice:
        """The cells that reach these pixels."""
        if pixels.start == pixels.stop:
            return slice(0, 0)
        return slice(int(self.first_cell[pixels].min()), int(self.last_cell[pixels].max()) + 1)


@lru_cache(KEPT_SIDES)
def _side(cells: int, padded: int, scaled: int, pixels: int, device: torch.device) -> _Side:
    """One side of a padded frame whose first ``scaled`` pixels are the picture's."""
    with torch.inference_mode(False):
        in_frame = F.interpolate(
            torch.eye(cells, dtype=torch.float64)[None], size=padded, mode="linear", align_corners=False
        )
        weights = F.interpolate(in_frame[..., :scaled], size=pixels, mode="linear", align_corners=False)[0].T
    reaches = (weights > 0).numpy()
    return _Side(
        weights.to(device, torch.float32).contiguous(),
        first_pixel=np.where(reaches.any(0), reaches.argmax(0), pixels),
        last_pixel=np.where(reaches.any(0), pixels - 1 - reaches[::-1].argmax(0), -1),
        first_cell=reaches.argmax(1),
        last_cell=cells - 1 - reaches[:, ::-1].argmax(1),
    )
