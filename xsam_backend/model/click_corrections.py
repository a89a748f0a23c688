"""What each further click changes: the mask around it, as far as the picture is alike there.

X-SAM has no prompt for "this, too" or "not this": asked about all clicks together it begins anew, and what was right
already is lost. So the model is asked about the first hint alone, and each click after it corrects what the ones
before made of that, in two steps.

The first step is a kernel. How far a click reaches is told by where it is: people click into the middle of what is
wrong, so the error goes about as far as the mask's rim is away. Within that reach, what looks as the clicked spot
does goes with it: in the features that the decoder's masks are made of, and in colour. Clicks that were made before
keep their spots. (Refinement from the model's own features is the idea of f-BRS, arXiv 2001.10331.)

The second step is learned: ``click_refiner`` sees what the kernel did, and where the picture says otherwise. It has
learned from clicks on what was wrong; one that agrees with the mask isn't its business.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xsam_backend.model.click_refiner import CHANNELS, SIDE, ClickRefiner
from xsam_backend.model.picture_cells import PictureCells
from xsam_backend.model.picture_frame import PictureFrame
from xsam_backend.model.query_worth import picture_part
from xsam_backend.prompts import Point

REACH = 2.0
"""Of a click, as standard deviation over the distance from the mask's rim."""

LEAST_REACH_CELLS = 3.0
MOST_REACH_SHARE = 0.5
"""Distances from the rim count as at least so many cells, and at most so much of the picture's height."""

CLEAR = 2.0
"""Log odds at a click that its kernel reaches: 0.88 for what was clicked."""

HELD = 0.5
"""Log odds that a click's own cell has at least, on its side, whatever the refiner says."""

LIMIT = 6.2
"""Log odds of the mask: 0.002 and 0.998, so that everything can be corrected."""

MARGIN = 0.3
"""A view shows so much around mask and clicks on each side, as share of their longer side."""

LEAST_VIEW_CELLS = 24
SPOT = 3.0
"""Standard deviation of the spots that mark clicks in a view, in its cells."""

_LEAST = 1e-3


def corrected(
    log_odds: Tensor,
    cells: PictureCells,
    frame: PictureFrame,
    asked: Sequence[Point],
    further: Sequence[Point],
    refiner: ClickRefiner | None,
) -> NDArray[np.bool_]:
    """The mask after further clicks: bool (H, W) in the picture's size.

    Args:
        log_odds: (h, w) over the padded frame, above 0 inside the mask that the first hint got.
        cells: of the picture, as its state keeps them for all clicks on it.
        frame: where the picture lies in the padded frame.
        asked: clicks that the first hint had: they hold, and are no corrections.
        further: the corrections, in the order in which they were made. What is outside of the picture is passed over.
        refiner: what has learned to correct; None: kernels alone.
    """
    height, width = frame.size_hw
    own = picture_part(log_odds[None].float(), frame)[0].cpu().numpy()
    correction = Correction(own, cells)
    held: list[Point] = []
    for click, may_correct in [*((click, False) for click in asked), *((click, True) for click in further)]:
        if not (0 <= click.x_px <= width and 0 <= click.y_px <= height):
            continue
        held.append(click)
        cell = correction.cell(click.y_px / height, click.x_px / width)
        agrees = bool(correction.mask[cell]) is click.positive
        correction.click(*cell, click.positive)
        if refiner is not None and may_correct and not agrees:
            correction.refine(refiner)
    mask = np.asarray(cv2.resize(correction.log_odds, (width, height), interpolation=cv2.INTER_LINEAR)) > 0
    for click in held:  # two that contradict each other may share a cell: the pixels are said
        mask[min(int(click.y_px), height - 1), min(int(click.x_px), width - 1)] = click.positive
    return mask


@dataclass(frozen=True)
class _Made:
    """A click that was made: its cell, its kernel (h, w)."""

    row: int
    column: int
    positive: bool
    kernel: NDArray[np.float32]


class Correction:
    """One object's mask while it is corrected.

    Args:
        log_odds: float (h, w) of the picture's own frame, above 0 inside the mask.
        cells: of the same frame, as fine as it is corrected.

    Attributes:
        log_odds: float32 (cells), -LIMIT..LIMIT.
        window: rows and columns of the last view.
    """

    def __init__(self, log_odds: NDArray[np.floating], cells: PictureCells) -> None:
        limited = np.clip(log_odds.astype(np.float32), -LIMIT, LIMIT)
        resized = cv2.resize(limited, cells.size_hw[::-1], interpolation=cv2.INTER_CUBIC)
        self.log_odds = np.clip(resized, -LIMIT, LIMIT)
        self._cells = cells
        self._made: list[_Made] = []
        self._before = self.log_odds
        self._like = {side: np.zeros(cells.size_hw, np.float32) for side in (True, False)}
        self._rows, self._columns = (np.arange(side, dtype=np.float32) for side in cells.size_hw)
        self.window = slice(0, cells.size_hw[0]), slice(0, cells.size_hw[1])

    @property
    def mask(self) -> NDArray[np.bool_]:
        """bool (cells)."""
        return self.log_odds > 0

    def cell(self, down: float, across: float) -> tuple[int, int]:
        """Row and column of a place in the picture, 0..1 each way; the rim belongs to the last ones."""
        height, width = self._cells.size_hw
        return min(int(down * height), height - 1), min(int(across * width), width - 1)

    def click(self, row: int, column: int, positive: bool) -> None:
        """The first step: as far as the kernel reaches."""
        sign = 1.0 if positive else -1.0
        unlike = self._cells.unlikeness(row, column)
        kernel = np.exp(-unlike / 2) * self._near(row, column)
        self._before = self.log_odds
        lacks = CLEAR - sign * float(self.log_odds[row, column])
        if lacks > 0:
            weight = kernel
            for other in self._made:
                if other.positive is not positive:
                    weight = weight * (1 - other.kernel)
            weight = weight / max(float(weight[row, column]), _LEAST)
            moved = self.log_odds + np.float32(sign * lacks) * np.minimum(weight, kernel)
            self.log_odds = np.clip(moved, -LIMIT, LIMIT)
        self._like[positive] = np.maximum(self._like[positive], np.exp(-unlike / 2))
        self._made.append(_Made(row, column, positive, kernel))

    def _near(self, row: int, column: int) -> NDArray[np.float32]:
        """1 at a cell, less the further away: by its distance from the mask's rim, whichever side it is on."""
        inside = self.mask
        side = inside if inside[row, column] else ~inside
        distances = cv2.distanceTransform(side.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        reach = min(max(float(distances[row, column]), LEAST_REACH_CELLS), MOST_REACH_SHARE * side.shape[0])
        down, across = (
            np.square((places - place) / (REACH * reach))
            for places, place in ((self._rows, row), (self._columns, column))
        )
        near: NDArray[np.float32] = np.exp(-(down[:, None] + across[None]) / 2)
        return near

    def view(self) -> NDArray[np.float32]:
        """What the refiner sees of the last click: float32 (CHANNELS, SIDE, SIDE) of a window around mask and clicks.

        Colour (3), log odds before and after the kernel, the kernel with its click's sign, what is like positive and
        like negative clicks, spots at positive, at negative, and at the last click.
        """
        self.window = rows, columns = self._surroundings()
        last = self._made[-1]
        sign = 1.0 if last.positive else -1.0
        maps = [
            *(self._cells.colours.transpose(2, 0, 1) / 50),
            self._before / LIMIT,
            self.log_odds / LIMIT,
            sign * last.kernel,
            self._like[True],
            self._like[False],
        ]
        cut = np.stack([one[self.window] for one in maps], -1).astype(np.float32)
        seen = np.zeros((CHANNELS, SIDE, SIDE), np.float32)
        seen[: len(maps)] = cv2.resize(cut, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR).transpose(2, 0, 1)
        seen[0] -= 1  # lightness is 0 to 100
        for click in self._made:
            spot = _spot(_place(click.row, rows), _place(click.column, columns))
            channel = seen[-3 if click.positive else -2]
            np.maximum(channel, spot, out=channel)
        seen[-1] = sign * _spot(_place(last.row, rows), _place(last.column, columns))
        return seen

    def refine(self, refiner: ClickRefiner) -> None:
        """The second step."""
        with torch.inference_mode():
            self.add(refiner(torch.from_numpy(self.view()[None]))[0].numpy())

    def add(self, more: NDArray[np.float32]) -> None:
        """The second step's end: what the refiner adds, (SIDE, SIDE) of the last view. Clicks keep their cells."""
        rows, columns = self.window
        size_wh = columns.stop - columns.start, rows.stop - rows.start
        added = self.log_odds.copy()
        added[self.window] = added[self.window] + cv2.resize(more, size_wh, interpolation=cv2.INTER_LINEAR)
        self.log_odds = np.clip(added, -LIMIT, LIMIT)
        for click in self._made:
            sign = 1.0 if click.positive else -1.0
            if sign * self.log_odds[click.row, click.column] < 0:
                self.log_odds[click.row, click.column] = sign * HELD

    def _surroundings(self) -> tuple[slice, slice]:
        height, width = self._cells.size_hw
        mask = self.mask
        rows = [*(click.row for click in self._made), *np.flatnonzero(mask.any(1)).tolist()]
        columns = [*(click.column for click in self._made), *np.flatnonzero(mask.any(0)).tolist()]
        top, bottom, left, right = min(rows), max(rows) + 1, min(columns), max(columns) + 1
        half = max(bottom - top, right - left, LEAST_VIEW_CELLS) * (1 + 2 * MARGIN) / 2
        return _around((top + bottom) / 2, half, height), _around((left + right) / 2, half, width)


def _around(middle: float, half: float, limit: int) -> slice:
    return slice(max(int(middle - half), 0), min(int(middle + half) + 1, limit))


def _place(cell: int, window: slice) -> float:
    """Of a cell's middle in the view."""
    start, stop = int(window.start), int(window.stop)
    return (cell + 0.5 - start) / (stop - start) * SIDE - 0.5


def _spot(row: float, column: float) -> NDArray[np.float32]:
    down, across = (np.square((np.arange(SIDE, dtype=np.float32) - place) / SPOT) for place in (row, column))
    spot: NDArray[np.float32] = np.exp(-(down[:, None] + across[None]) / 2)
    return spot
