"""Masks of which memory holds only the part that has pixels: a hundred objects of a large photo fit easily."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xsam_backend.geometry.masks import Mask, mask_to_box_xyxy


@dataclass(frozen=True, eq=False)
class CroppedMask:
    """One mask.

    Attributes:
        crop: bool (h, w), the mask within its box; (0, 0) for an empty one.
        corner_xy: the box's upper left corner in the picture, in pixels; (0, 0) for an empty one.
        size_hw: (height, width) of the picture.
    """

    crop: Mask
    corner_xy: tuple[int, int]
    size_hw: tuple[int, int]

    @classmethod
    def of(
        cls, mask: Mask, corner_xy: tuple[int, int] = (0, 0), size_hw: tuple[int, int] | None = None
    ) -> CroppedMask:
        """Of a bool (H, W) mask, which is copied.

        Args:
            corner_xy: where the mask lies in the picture.
            size_hw: of the picture; None: the mask is as large.
        """
        size_hw = (mask.shape[0], mask.shape[1]) if size_hw is None else size_hw
        box = mask_to_box_xyxy(mask)
        if box is None:
            return cls(np.zeros((0, 0), np.bool_), (0, 0), size_hw)
        x0, y0, x1, y1 = box
        return cls(mask[y0:y1, x0:x1].copy(), (corner_xy[0] + x0, corner_xy[1] + y0), size_hw)

    @property
    def box_xyxy(self) -> tuple[int, int, int, int] | None:
        """x0, y0, x1, y1 around it, maxima exclusive; None if it is empty."""
        if self.is_empty:
            return None
        x, y = self.corner_xy
        return x, y, x + self.crop.shape[1], y + self.crop.shape[0]

    @property
    def is_empty(self) -> bool:
        """Whether it has no pixel."""
        return not self.crop.size

    @property
    def area_px(self) -> int:
        """How many pixels it has."""
        return int(np.count_nonzero(self.crop))

    @property
    def window(self) -> tuple[slice, slice]:
        """Rows and columns of the picture where the crop lies."""
        x, y = self.corner_xy
        return slice(y, y + self.crop.shape[0]), slice(x, x + self.crop.shape[1])

    def whole(self) -> Mask:
        """bool (H, W), as large as the picture; made anew."""
        mask = np.zeros(self.size_hw, np.bool_)
        mask[self.window] = self.crop
        return mask

    def moved(self, right_px: int, down_px: int, size_hw: tuple[int, int]) -> CroppedMask:
        """The same further right and down, in a picture of another size; it has to fit in."""
        x, y = self.corner_xy
        return CroppedMask(self.crop, (0, 0) if self.is_empty else (x + right_px, y + down_px), size_hw)

    def joined(self, other: CroppedMask) -> CroppedMask:
        """The pixels of both, in one picture."""
        if self.box_xyxy is None or other.box_xyxy is None:
            return other if self.box_xyxy is None else self
        x0, y0 = (min(pair) for pair in zip(self.box_xyxy[:2], other.box_xyxy[:2], strict=True))
        x1, y1 = (max(pair) for pair in zip(self.box_xyxy[2:], other.box_xyxy[2:], strict=True))
        crop = np.zeros((y1 - y0, x1 - x0), np.bool_)
        for one in (self, other):
            x, y = one.corner_xy
            crop[y - y0 : y - y0 + one.crop.shape[0], x - x0 : x - x0 + one.crop.shape[1]] |= one.crop
        return CroppedMask(crop, (x0, y0), self.size_hw)

    def resized(self, size_hw: tuple[int, int]) -> CroppedMask:
        """The mask in another size of the picture, nearest neighbour.

        Not by OpenCV, which reads beyond a side of 32,768 and more.
        """
        if size_hw == self.size_hw or self.is_empty:
            return CroppedMask(self.crop, self.corner_xy, size_hw)
        lines, firsts = [], []
        for side, drawn, begin, length in zip(
            size_hw, self.size_hw, self.corner_xy[::-1], self.crop.shape, strict=True
        ):
            nearest = (2 * np.arange(side) + 1) * drawn // (2 * side)
            first, end = np.searchsorted(nearest, (begin, begin + length))
            lines.append(nearest[first:end] - begin)
            firsts.append(int(first))
        rows, columns = lines
        # The side first after which less is left: on the way it's never more than the larger of both masks.
        rows_first = len(rows) * self.crop.shape[1] <= len(columns) * self.crop.shape[0]
        crop = self.crop[rows][:, columns] if rows_first else self.crop[:, columns][rows]
        return CroppedMask.of(crop, (firsts[1], firsts[0]), size_hw)

    def shared_box_xyxy(self, other: CroppedMask) -> tuple[int, int, int, int] | None:
        """What is in both boxes; None where they don't meet."""
        if self.box_xyxy is None or other.box_xyxy is None:
            return None
        x0, y0 = (max(pair) for pair in zip(self.box_xyxy[:2], other.box_xyxy[:2], strict=True))
        x1, y1 = (min(pair) for pair in zip(self.box_xyxy[2:], other.box_xyxy[2:], strict=True))
        return (x0, y0, x1, y1) if x0 < x1 and y0 < y1 else None

    def shared_px(self, other: CroppedMask) -> int:
        """How many pixels both have."""
        box = self.shared_box_xyxy(other)
        return 0 if box is None else int(np.count_nonzero(self._within(*box) & other._within(*box)))

    def _within(self, x0: int, y0: int, x1: int, y1: int) -> Mask:
        x, y = self.corner_xy
        return self.crop[y0 - y : y1 - y, x0 - x : x1 - x]


def stacked(masks: Sequence[CroppedMask], size_hw: tuple[int, int]) -> NDArray[np.bool_]:
    """bool (N, H, W) of masks of one picture."""
    whole = np.zeros((len(masks), *size_hw), np.bool_)
    for mask, cropped in zip(whole, masks, strict=True):
        mask[cropped.window] = cropped.crop
    return whole
