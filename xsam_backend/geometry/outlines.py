"""The exact outlines of a mask along its pixels' edges, so that nothing shrinks.

Filling one with ``raster.polygon_to_mask`` gives the mask back, one-pixel and one-pixel-wide masks included. Pixels
that touch at a corner belong to one part.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType

import cv2
import numpy as np
from numpy.typing import NDArray

from xsam_backend.geometry.keyholes import joined_by_keyholes
from xsam_backend.geometry.masks import Mask

Polygon = NDArray[np.float64]
"""(N, 2) xy in px, N >= 3, the last point not repeated."""

Indices = NDArray[np.int64]

_NOWHERE = 8
"""The walk around a single pixel stays where it is."""

_STEP_TO_DIRECTION = np.array([3, 2, 1, 4, _NOWHERE, 0, 5, 6, 7])
"""Of a step to one of the eight pixels around, row by row: 0 is right, and on counterclockwise on the screen."""

_END_OF_SIDE = np.array([[1, 0], [0, 0], [0, 1], [1, 1]])
"""Where a walk along a pixel's right, upper, left or lower side ends that has the pixel to its left, xy."""


@dataclass(frozen=True, eq=False)
class Outline:
    """One part of a mask: its outer ring, clockwise on the screen, and its holes' rings, the other way round."""

    outer: Polygon
    holes: tuple[Polygon, ...] = ()

    @property
    def rings(self) -> tuple[Polygon, ...]:
        """The outer ring, then the holes."""
        return (self.outer, *self.holes)

    @property
    def area_px(self) -> float:
        """Area without the holes."""
        return sum(signed_area(ring) for ring in self.rings)

    @property
    def keyhole(self) -> Polygon:
        """One ring for all; see ``keyholes``."""
        return joined_by_keyholes(self.outer, self.holes)


@dataclass(frozen=True, eq=False)
class Rings:
    """All rings of a mask in one array: a ragged mask has hundreds of thousands.

    Attributes:
        points: (N, 2) xy, whole px, ring after ring, each as in ``Outline``.
        sizes: (R,) how many points each ring has.
        outers: (R,) of each ring, the number of its part's outer ring; its own for an outer one.
    """

    points: Polygon
    sizes: Indices
    outers: Indices

    @cached_property
    def first(self) -> Indices:
        """(R,) where each ring begins."""
        return np.cumsum(self.sizes) - self.sizes

    @cached_property
    def next_points(self) -> Polygon:
        """(N, 2): of each point the one that follows in its ring."""
        return self.points[following(self.sizes)]

    @cached_property
    def areas_px(self) -> NDArray[np.float64]:
        """(R,) signed: of a hole below zero."""
        (x, y), (next_x, next_y) = self.points.T, self.next_points.T
        return np.add.reduceat(x * next_y - y * next_x, self.first) / 2 if len(self.sizes) else np.zeros(0)

    @cached_property
    def parts_px(self) -> NDArray[np.float64]:
        """(R,) of each outer ring, the area of its part without the holes; 0 for a hole."""
        areas_px: NDArray[np.float64] = np.bincount(self.outers, self.areas_px, len(self.sizes)).astype(np.float64)
        return areas_px

    @cached_property
    def lengths_px(self) -> NDArray[np.float64]:
        """(R,) how long each ring is, along the pixels."""
        steps = np.abs(self.next_points - self.points).sum(axis=1)
        return np.add.reduceat(steps, self.first) if len(self.sizes) else np.zeros(0)

    @property
    def is_outer(self) -> NDArray[np.bool_]:
        """(R,) whether a ring goes around a part, not around a hole."""
        is_outer: NDArray[np.bool_] = self.outers == np.arange(len(self.outers))
        return is_outer

    def moved(self, right_px: float, down_px: float) -> Rings:
        """The same elsewhere."""
        return Rings(self.points + (right_px, down_px), self.sizes, self.outers)

    def largest_parts(self, most: int) -> Rings:
        """Those of the so many largest parts, in the order that they have."""
        if np.count_nonzero(self.is_outer) <= most:
            return self
        largest = np.zeros(len(self.sizes), np.bool_)
        largest[np.argsort(np.where(self.is_outer, -self.parts_px, np.inf), kind="stable")[:most]] = True
        kept = largest[self.outers]
        new_number = np.cumsum(kept) - 1
        points = self.points[np.repeat(kept, self.sizes)]
        return Rings(points, self.sizes[kept], new_number[self.outers[kept]])

    def left_out_px(self, kept: NDArray[np.bool_]) -> tuple[float, float]:
        """What the mask loses and gains where only some rings are kept: whole parts, and filled holes of others."""
        lost = self.is_outer & ~kept
        filled = ~self.is_outer & ~kept & kept[self.outers]
        return float(self.parts_px[lost].sum()), -float(self.areas_px[filled].sum())

    def ring(self, number: int) -> Polygon:
        """(N, 2) of one of them."""
        first = int(self.first[number])
        return self.points[first : first + int(self.sizes[number])]

    def outlines(
        self, kept: NDArray[np.bool_] | None = None, instead: Mapping[int, Polygon] = MappingProxyType({})
    ) -> list[Outline]:
        """Part by part, the largest first; of all rings or those that are kept, some with others in their place."""
        order = np.lexsort((~self.is_outer, self.outers))  # an outer ring, its holes, the next one
        if kept is not None:
            order = order[kept[order]]
        begins = np.flatnonzero(self.is_outer[order])
        by_size = np.argsort(-self.parts_px[order[begins]], kind="stable")
        ends = np.append(begins[1:], len(order))[by_size].tolist()
        places = zip(order.tolist(), self.first[order].tolist(), self.sizes[order].tolist(), strict=True)
        rings = [instead[number] if number in instead else self.points[at : at + size] for number, at, size in places]
        return [
            Outline(rings[begin], tuple(rings[begin + 1 : end]))
            for begin, end in zip(begins[by_size].tolist(), ends, strict=True)
        ]


def trace_outlines(mask: Mask) -> list[Outline]:
    """The outlines of a bool (H, W) mask, largest part first."""
    return trace_rings(mask).outlines()


def trace_rings(mask: Mask) -> Rings:
    """The rings of a bool (H, W) mask.

    OpenCV walks along the outermost pixels, with the mask to the left. Turning at a pixel from where it came from to
    where it goes on, a walk passes the pixel's open sides: strung together, these are the ring.
    """
    contours, _ = cv2.findContours(mask.view(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    if not contours:
        return Rings(np.zeros((0, 2)), np.zeros(0, np.int64), np.zeros(0, np.int64))
    lengths = np.array([len(contour) for contour in contours])
    first = np.cumsum(lengths) - lengths
    pixels = np.concatenate(contours)[:, 0].astype(np.int64)
    goes = _directions(pixels, following(lengths))
    came = np.empty_like(goes)
    came[following(lengths)] = np.where(goes < _NOWHERE, (goes + 4) % 8, _NOWHERE)
    open_sides = _OPEN_SIDES[came, goes]
    is_side = open_sides >= 0
    counts = np.count_nonzero(is_side, axis=1)
    sides = open_sides[is_side]
    corners = np.repeat(pixels, counts, axis=0) + _END_OF_SIDE[sides]
    lengths = np.add.reduceat(counts, first)
    turns = sides != sides[following(lengths)]
    sizes = np.add.reduceat(turns, np.cumsum(lengths) - lengths, dtype=np.int64)
    # The other way round, all of them and each.
    points, sizes = corners[turns][::-1].astype(np.float64), sizes[::-1]
    alone = Rings(points, sizes, np.arange(len(sizes)))
    is_outer = alone.areas_px > 0
    if is_outer.all():
        return alone
    ring_of = np.repeat(np.arange(len(sizes))[::-1], lengths)
    is_upright = sides % 2 == 0
    return Rings(points, sizes, _outers(corners[is_upright], sides[is_upright], ring_of[is_upright], is_outer))


def _outers(corners: Indices, sides: Indices, ring_of: Indices, is_outer: NDArray[np.bool_]) -> Indices:
    """(R,) of each ring, the number of its part's outer ring, without a label for every pixel of the picture.

    To the left of a hole's leftmost side there are pixels of its part, as far as the side where their row of them
    begins. That is one of the outer ring, or of a hole further left, of which the same is true.

    Args:
        corners: (N, 2) xy where all right and left sides of pixels end, ``sides`` says which.
        ring_of: (N,) the ring of each.
        is_outer: (R,).
    """
    right, left = sides == 0, sides == 2
    x, y = corners[:, 0], corners[:, 1] - left  # the row of pixels: a right side ends above it, a left one below
    width = int(x.max()) + 1
    place = y * width + x
    order = np.argsort(place)
    of_holes = np.flatnonzero(right & ~is_outer[ring_of])
    of_holes = of_holes[np.lexsort((x[of_holes], ring_of[of_holes]))]
    holes, first = np.unique(ring_of[of_holes], return_index=True)
    before = np.searchsorted(place[order], place[of_holes[first]]) - 1
    outers = np.arange(len(is_outer))
    outers[holes] = ring_of[order[before]]
    while not is_outer[outers].all():
        outers = outers[outers]
    return outers


def signed_area(ring: Polygon) -> float:
    """Area in px², positive where the ring runs clockwise on the screen (y down)."""
    x, y = ring[:, 0], ring[:, 1]
    return float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2


def following(sizes: Indices) -> Indices:
    """Where rings of such sizes are in one array, of each place the next one in its ring."""
    ends = np.cumsum(sizes)
    places = np.arange(1, int(sizes.sum()) + 1)
    places[ends - 1] = ends - sizes
    return places


def _directions(pixels: Indices, next_ones: Indices) -> Indices:
    steps = pixels[next_ones] - pixels
    directions: Indices = _STEP_TO_DIRECTION[3 * steps[:, 1] + steps[:, 0] + 4]
    return directions


def _open_sides(came: int, goes: int) -> list[int]:
    """Of a pixel's right, upper, left and lower side, 0 to 3, those between two directions, counterclockwise."""
    if _NOWHERE in (came, goes):
        return [0, 1, 2, 3]
    between = [(came + turn) % 8 for turn in range(1, (goes - came - 1) % 8 + 1)]
    return [direction // 2 for direction in between if direction % 2 == 0]


_OPEN_SIDES = np.array(
    [[(_open_sides(came, goes) + 4 * [-1])[:4] for goes in range(9)] for came in range(9)], np.int64
)
"""[came from, goes to] -> open sides, filled up with -1."""
