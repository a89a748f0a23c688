"""How much of a shape another one covers, counted where their edges cross rows: nothing is painted.

The work goes with the length of the outlines, not with the area inside of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from xsam_backend.geometry.outlines import Polygon, Rings, following
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
        _, row, x, _ = row_crossings(ring, np.concatenate([ring[1:], ring[:1]]), self._rows)
        places: Places = row * self._row_length + _columns(x, self._row_length - 1)
        return places


def least_iou(
    rings: Rings, kept: NDArray[np.bool_], instead: Mapping[int, Polygon], size_hw: tuple[int, int]
) -> float:
    """IoU of a mask with what is left of its rings, at least: what is in doubt is counted against it.

    In doubt are pixels through whose centre an edge passes (on which side is up to rounding, and of a small mask one
    pixel is much), and what two parts do to one pixel. A part without any pixel's centre makes it 0: ``raster`` would
    mark other pixels for it. Only the rings that changed are looked at.

    Args:
        rings: the mask's own.
        kept: (R,) which of them are left; no hole without its outer ring.
        instead: the number of a ring that is left -> (N, 2) xy, the ring in its place.
        size_hw: the picture's.
    """
    area_px = float(rings.areas_px.sum())
    parts_px = rings.parts_px
    lost_px, gained_px = rings.left_out_px(kept)
    if instead:
        # The old rings run backwards, so what remains are differences, part by part.
        before = [rings.ring(number)[::-1] for number in instead]
        parts = np.tile(rings.outers[list(instead)], 2)
        lost, gained = [], []
        for move in _ROUNDING_PX:  # one after the other: together they would take four times the memory
            after = [ring + move for ring in instead.values()]
            part, places, turns = _differences(before + after, parts, size_hw)
            if (parts_px + np.bincount(part, -turns * places, len(parts_px)) <= 0)[part].any():
                return 0.0
            difference = np.cumsum(turns)  # of each part all turns add up to nothing, so it begins anew with each
            lost.append(_stretches(places, difference < 0))
            gained.append(_stretches(places, difference > 0))
        lost_px += _together_px(lost)
        gained_px += _together_px(gained)
    return (area_px - lost_px) / (area_px + gained_px)


def _differences(
    rings: Sequence[Polygon], parts: NDArray[np.int64], size_hw: tuple[int, int]
) -> tuple[NDArray[np.int64], Places, NDArray[np.int64]]:
    """Part, place and turn, part by part and place by place: 1 where a row goes in, -1 where it goes out."""
    sizes = np.array([len(ring) for ring in rings])
    starts = np.concatenate(rings)
    edge, row, x, turns = row_crossings(starts, starts[following(sizes)], slice(0, size_hw[0]))
    places = row * (size_hw[1] + 1) + _columns(x, size_hw[1])
    every = size_hw[0] * (size_hw[1] + 1)
    # As one number each, which has the turn in its last bit. Clockwise on the screen: upwards a row goes in.
    keys = np.sort(2 * (np.repeat(parts, sizes)[edge] * every + places) + (turns < 0))
    part, places = np.divmod(keys >> 1, every)
    return part, places, 2 * (keys & 1) - 1


def _columns(x: NDArray[np.float64], width: int) -> NDArray[np.int64]:
    """The first pixel to the right of a crossing whose centre isn't to the left of it."""
    columns: NDArray[np.int64] = np.minimum(np.maximum(np.ceil(x - 0.5), 0), width).astype(np.int64)
    return columns


def _stretches(places: Places, is_in: NDArray[np.bool_]) -> Places:
    """(2, S) begins and ends: from each place that says so up to the next one."""
    begins = np.flatnonzero(is_in)
    return np.stack([places[begins], places[begins + 1]])


def _together_px(stretches: Sequence[Places]) -> int:
    """How many pixels lie in some stretches; each counts once."""
    starts, ends = np.sort(np.concatenate(stretches, axis=1), axis=1)
    if not len(starts):
        return 0
    # Where all stretches that have begun have ended, the next one begins a new piece.
    apart = starts[1:] > ends[:-1]
    return int(ends[np.append(apart, True)].sum() - starts[np.append(True, apart)].sum())
