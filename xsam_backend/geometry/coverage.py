"""How much of a shape another one covers, counted where their edges cross rows: nothing is painted.

The work goes with the length of the outlines, not with the area inside of them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from xsam_backend.geometry.outlines import Polygon, following
from xsam_backend.geometry.raster import row_crossings

_ROUNDING_PX = 1e-3 * np.array([[1, 0], [-1, 0], [0, 1], [0, -1]])
"""Whichever way an edge runs, one of these moves it across itself."""

_COMPARED_SIDE_PX = 512

Places = NDArray[np.int64]
"""Pixels' corners, row by row: row * (width + 1) + column."""


class ComparedRing:
    """A ring that simpler ones are compared with, pixel by pixel; large ones at a smaller scale."""

    def __init__(self, ring: Polygon, limit: Polygon) -> None:
        """``ring`` and what it is compared with are from (0, 0) to ``limit``, xy in px."""
        self._scale = min(1.0, _COMPARED_SIDE_PX / float(limit.max()))
        width, height = np.ceil(limit * self._scale).astype(np.int64).tolist()
        self._rows = slice(0, height)
        self._row_length = width + 1
        self._own = self._crossings(ring)

    def changed_px(self, ring: Polygon) -> float:
        """The area that is in one of the two alone; neither may cross itself."""
        both = np.sort(np.concatenate([self._own, self._crossings(ring)]))
        return int((both[1::2] - both[::2]).sum()) / self._scale**2

    def _crossings(self, ring: Polygon) -> Places:
        """Before which pixels rows are crossed: of each row, an even number."""
        ring = ring * self._scale
        _, row, x, _ = row_crossings(ring, np.roll(ring, -1, axis=0), self._rows)
        columns = np.clip(np.ceil(x - 0.5), 0, self._row_length - 1).astype(np.int64)
        return row * self._row_length + columns


class Pixels:
    """The pixels of rings together, in a picture of (height, width)."""

    def __init__(self, points: Polygon, sizes: NDArray[np.int64], size_hw: tuple[int, int]) -> None:
        """``points`` ring after ring, of so many points each; holes run the other way."""
        self._size_hw = size_hw
        _, places, turns = self._covered(points, points[following(sizes)], np.zeros(len(points), np.int64))
        self._places, self._turns = places, turns

    def least_iou(self, polygons: Sequence[Polygon]) -> float:
        """IoU with the polygons, pixels that an edge passes through the centre of counted against it.

        On which side of such a centre it passes is up to rounding, and of a small mask one pixel is much. A polygon
        that has no pixel's centre inside makes it 0: ``raster`` would mark others instead.
        """
        sizes = np.array([len(polygon) for polygon in polygons])
        starts = np.concatenate(polygons)
        ends = starts[following(sizes)]
        count, moves = len(polygons), len(_ROUNDING_PX)
        number = np.repeat(np.arange(moves * count), np.tile(sizes, moves))
        number, places, turns = self._covered(
            (starts + _ROUNDING_PX[:, None]).reshape(-1, 2), (ends + _ROUNDING_PX[:, None]).reshape(-1, 2), number
        )
        if (np.bincount(number, -turns * places, moves * count) <= 0).any():
            return 0.0
        _, places, turns = self._united(number // count, places, turns)
        # Ones for what the moved polygons cover, and above these the mask.
        places = np.concatenate([places, self._places])
        covered = np.concatenate([turns, (moves + 1) * self._turns])
        order = np.argsort(places)
        covered = np.cumsum(covered[order])[:-1]
        pixels = np.diff(places[order])
        return float(pixels[covered == 2 * moves + 1].sum() / max(pixels[covered > 0].sum(), 1))

    def _covered(
        self, starts: Polygon, ends: Polygon, number: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], Places, NDArray[np.int64]]:
        """Where rows enter (1) and leave (-1) what edges with a number go around, number by number."""
        height, width = self._size_hw
        edge, row, x, turns = row_crossings(starts, ends, slice(0, height))
        columns = np.clip(np.ceil(x - 0.5), 0, width).astype(np.int64)
        return self._united(number[edge], row * (width + 1) + columns, turns)

    def _united(
        self, number: NDArray[np.int64], places: Places, turns: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], Places, NDArray[np.int64]]:
        """The same without what lies inside: only where one first comes in and last goes out."""
        every = self._size_hw[0] * (self._size_hw[1] + 1)
        keys = np.sort(2 * (number * every + places) + (turns > 0))  # ups and downs in the last bit
        keys, ups = keys >> 1, 2 * (keys & 1) - 1
        inside = np.cumsum(ups) != 0
        changes = np.diff(inside.astype(np.int64), prepend=0)
        kept = changes != 0
        number, places = np.divmod(keys[kept], every)
        return number, places, changes[kept]
