"""Masks -> polygons that keep them, with few vertices, several parts and holes.

Outlines run along the pixels' edges, not through their centres, so nothing shrinks: filling an unsimplified outline
with ``raster.polygon_to_mask`` gives the mask back exactly, one-pixel and one-pixel-wide masks included. Pixels that
touch at a corner belong to one part.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from xsam_backend.geometry.collapsing import edges_cross, with_fewer_vertices
from xsam_backend.geometry.keyholes import MOST_HOLES, joined_by_keyholes
from xsam_backend.geometry.masks import Mask, check_mask
from xsam_backend.geometry.raster import polygon_to_mask, polygons_to_mask

Polygon = NDArray[np.float64]
"""(N, 2) xy in px, N >= 3, the last point not repeated."""

_COMPARED_SIDE_PX = 512

_ROUNDING_PX = 1e-3 * np.array([[1, 0], [-1, 0], [0, 1], [0, -1]])
"""Whichever way an edge runs, one of these moves it across itself."""

_AROUND = 0.1
"""So far around a ring its simplified one may go, as share of the longer side."""

_DETAIL_SHARE = 0.05
"""Of what may change sides, what may go with the quick first round."""

_FEW = 64
"""Rings of so few vertices need no quick first round."""

_MOST_COLLAPSED = 2000
"""Rings of more vertices, however much detail was left out, are ragged all along: they are left as they are."""

_SPECK_SHARE = 0.1
"""A part or hole is a speck below this share of what may be lost to specks: 0.1 % of a mask at IoU 0.98."""


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


def mask_to_polygons(mask: Mask, min_iou: float = 0.98, keyholes: bool = True) -> list[Polygon]:
    """Polygons of a bool (H, W) mask, largest part first; none for an empty mask.

    Together they are the fewest vertices found that still give ``min_iou`` with the mask when filled; specks and
    pinholes go first if the bound allows it. They stay within the picture, and no edges of a polygon cross. The bound
    holds also once the points are rounded to a thousandth of a pixel, or to a finer grid.
    ``min_iou`` 1 keeps every pixel. A hole becomes a keyhole in its part's polygon; without ``keyholes`` holes are
    filled, and the bound holds for the filled mask.

        mask_to_polygons(np.ones((2, 3), bool)) -> [[[0, 0], [3, 0], [3, 2], [0, 2]]]

    Raises:
        ValueError: ``min_iou`` is not in 0.5..1, or ``mask`` is no mask.
    """
    if not 0.5 <= min_iou <= 1:
        raise ValueError(f"min_iou: expected 0.5..1, got {min_iou}")
    mask, corner = _cropped(check_mask(mask))
    size_hw = mask.shape[0], mask.shape[1]
    outlines = trace_outlines(mask)
    if not keyholes:
        outlines = [Outline(outline.outer) for outline in outlines]
        mask = polygons_to_mask([outline.outer for outline in outlines], size_hw)
    loss = 1 - min_iou
    for _ in range(6 if loss else 0):
        simple = _simplify(outlines, loss, size_hw)
        if not all(map(_has_its_holes, simple)):
            loss /= 2
            continue
        polygons = [outline.keyhole for outline in simple]
        iou = _least_iou(polygons, mask)
        if iou >= min_iou:
            return [polygon + corner for polygon in polygons]
        loss *= min(0.9, 0.9 * (1 - min_iou) / (1 - iou))
    return [outline.keyhole + corner for outline in outlines]


def _least_iou(polygons: list[Polygon], mask: Mask) -> float:
    """IoU with the mask, pixels that an edge passes through the centre of counted against it.

    On which side of such a centre it passes is up to rounding, and of a small mask one pixel is much.
    """
    size_hw = mask.shape[0], mask.shape[1]
    moved = [polygons_to_mask([polygon + move for polygon in polygons], size_hw) for move in _ROUNDING_PX]
    surely, perhaps = np.logical_and.reduce(moved), np.logical_or.reduce(moved)
    return np.count_nonzero(mask & surely) / max(np.count_nonzero(mask | perhaps), 1)


def _cropped(mask: Mask) -> tuple[Mask, NDArray[np.float64]]:
    """What is in the mask with as much around it as polygons may take, and where that begins, xy in px."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return mask, np.zeros(2)
    around = math.ceil(max(np.ptp(rows), np.ptp(columns)) * _AROUND) + 1
    top, left = max(int(rows[0]) - around, 0), max(int(columns[0]) - around, 0)
    cropped = mask[top : rows[-1] + around + 1, left : columns[-1] + around + 1]
    return np.ascontiguousarray(cropped), np.array([left, top], np.float64)


def trace_outlines(mask: Mask) -> list[Outline]:
    """The exact outlines of a bool (H, W) mask along its pixels' edges, largest part first.

    Corners of the mask are where an outline turns. Along each grid line the corners pair up, first with second, third
    with fourth: those are the straight pieces. Following pieces in turn across and down gives the rings.
    """
    framed = np.pad(mask, 1)
    _, part_of = cv2.connectedComponents(framed.astype(np.uint8), connectivity=8)
    outers: dict[int, Polygon] = {}
    holes: dict[int, list[Polygon]] = {}
    for ring in _rings(framed):
        # A ring's first corner is its topmost, then leftmost: below right of it an outer ring has a pixel.
        x, y = ring[0].astype(np.int64)
        is_outer = bool(framed[y + 1, x + 1])
        part = int(part_of[y + 1, x + 1] if is_outer else part_of[y, x + 1])
        ring = ring if (signed_area(ring) > 0) == is_outer else ring[::-1]
        if is_outer:
            outers[part] = ring
        else:
            holes.setdefault(part, []).append(ring)
    outlines = [Outline(outer, tuple(holes.get(part, ()))) for part, outer in outers.items()]
    return sorted(outlines, key=lambda outline: -outline.area_px)


def signed_area(ring: Polygon) -> float:
    """Area in px², positive where the ring runs clockwise on the screen (y down)."""
    x, y = ring[:, 0], ring[:, 1]
    return float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2


def _rings(framed: Mask) -> Iterator[Polygon]:
    """Rings of corners of a mask with a clear rim of one pixel; coordinates are those of the mask without the rim."""
    north_west, north_east = framed[:-1, :-1], framed[:-1, 1:]
    south_west, south_east = framed[1:, :-1], framed[1:, 1:]
    odd = north_west ^ north_east ^ south_west ^ south_east
    # Two pixels that touch in a corner: two turns in one place, listed twice.
    falling = north_west & south_east & ~north_east & ~south_west
    rising = north_east & south_west & ~north_west & ~south_east
    rows, columns = np.nonzero(odd | falling | rising)
    twice = ~odd[rows, columns]
    corner = np.repeat(np.arange(len(rows)), 1 + twice)
    rows, columns = rows[corner], columns[corner]
    across = _pair(np.arange(len(rows)))
    # At a double corner the first entry ends the piece from the left, the second starts the one to the right. Which
    # of them takes the piece from above decides whether the ring stays with its pixel or crosses to the touching one.
    # Crossing joins the two pixels: for a falling pair (NW, SE) left goes with below, for a rising one with above.
    second = np.concatenate([[False], corner[1:] == corner[:-1]])
    rank = np.where(falling[rows, columns], ~second, second)
    down = _pair(np.lexsort((rank, rows, columns)))
    yield from _follow(across, down, np.stack([columns, rows], axis=1).astype(np.float64))


def _pair(order: NDArray[np.intp]) -> NDArray[np.intp]:
    """Partner of each corner: in ``order``, neighbours 0 and 1, 2 and 3, ... belong together."""
    partner = np.empty_like(order)
    partner[order[0::2]], partner[order[1::2]] = order[1::2], order[0::2]
    return partner


def _follow(across: NDArray[np.intp], down: NDArray[np.intp], points: Polygon) -> Iterator[Polygon]:
    next_across, next_down = across.tolist(), down.tolist()
    seen = bytearray(len(points))
    for start in range(len(points)):
        if seen[start]:
            continue
        ring, here = [], start
        while not seen[here]:
            turn = next_across[here]
            seen[here] = seen[turn] = 1
            ring += [here, turn]
            here = next_down[turn]
        yield points[ring]


def _simplify(outlines: list[Outline], loss: float, size_hw: tuple[int, int]) -> list[Outline]:
    """Outlines with fewer vertices. About ``loss`` of the mask's area may change, shared out by the rings' lengths.

    A ring never changes by more than three times ``loss`` of its own area, so a small part beside a large one keeps
    its shape.
    """
    area = sum(outline.area_px for outline in outlines)
    kept = _without_specks(outlines, loss / 2 * area)
    budget = loss * area - (area - sum(outline.area_px for outline in kept))
    length = sum(_length(ring) for outline in kept for ring in outline.rings)

    def simpler(ring: Polygon) -> Polygon:
        share = budget * _length(ring) / length
        return _simplify_ring(ring, min(share, abs(signed_area(ring)) * min(3 * loss, 0.3)), size_hw)

    return [Outline(simpler(outline.outer), tuple(simpler(hole) for hole in outline.holes)) for outline in kept]


def _has_its_holes(outline: Outline) -> bool:
    """Whether the holes are still inside, apart from each other and from the outer ring."""
    if not 0 < len(outline.holes) <= MOST_HOLES:
        return True
    outer = outline.outer.astype(np.float32)
    inside = all(
        cv2.pointPolygonTest(outer, tuple(float(value) for value in hole[0]), False) >= 0 for hole in outline.holes
    )
    return inside and not edges_cross(outline.rings)


def _without_specks(outlines: list[Outline], budget_px: float) -> list[Outline]:
    """Leave out specks: the smallest parts (never the first) and holes, together at most ``budget_px``."""
    parts = [(outline.area_px, index, -1) for index, outline in enumerate(outlines) if index]
    holes = [
        (-signed_area(hole), index, number)
        for index, outline in enumerate(outlines)
        for number, hole in enumerate(outline.holes)
    ]
    dropped = set()
    largest_px = budget_px * _SPECK_SHARE
    for size, index, number in sorted(parts + holes):
        budget_px -= size
        if size > largest_px or budget_px < 0:
            break
        dropped.add((index, number))
    return [
        Outline(outline.outer, tuple(hole for n, hole in enumerate(outline.holes) if (index, n) not in dropped))
        for index, outline in enumerate(outlines)
        if (index, -1) not in dropped
    ]


def _simplify_ring(ring: Polygon, budget_px: float, size_hw: tuple[int, int]) -> Polygon:
    """The ring with the fewest vertices found at which at most ``budget_px`` change sides, and no edges cross.

    Vertices may lie outside of the ring, but in the picture. Large rings are compared at a smaller scale; the caller
    looks at the whole mask at full size afterwards.
    """
    if len(ring) <= 4 or (budget_px < 1 and len(ring) <= 12):
        return ring
    lowest, highest = ring.min(axis=0), ring.max(axis=0)
    around = np.ceil((highest - lowest).max() * _AROUND)
    corner = np.maximum(lowest - around, 0)
    limit = np.minimum(highest + around, size_hw[::-1]) - corner
    local = ring - corner
    scale = min(1.0, _COMPARED_SIDE_PX / float(limit.max()))
    width, height = (int(side) for side in np.ceil(limit * scale))
    target = polygon_to_mask(local * scale, (height, width))

    def keeps(simple: Polygon, budget_px: float) -> bool:
        changed = np.count_nonzero(polygon_to_mask(simple * scale, (height, width)) ^ target) / scale**2
        return bool(changed <= budget_px) and not edges_cross([simple])

    few = local
    if len(local) > _FEW:
        few = _without_detail(local, lambda simple: keeps(simple, budget_px * _DETAIL_SHARE))
    if len(few) > _MOST_COLLAPSED:
        few = _without_detail(local, lambda simple: keeps(simple, budget_px))
    if len(few) > _MOST_COLLAPSED:
        ragged: Polygon = few + corner
        return ragged
    simplified = with_fewer_vertices(few, (float(limit[0]), float(limit[1])), lambda simple: keeps(simple, budget_px))
    moved: Polygon = simplified + corner
    return moved


def _without_detail(ring: Polygon, keeps: Callable[[Polygon], bool]) -> Polygon:
    """The ring with the largest Douglas-Peucker tolerance that ``keeps`` it: quick where there are thousands of
    vertices."""
    best, lower, upper = ring, 0.25, max(math.sqrt(abs(signed_area(ring))), 0.25)
    for _ in range(8):
        tolerance = math.sqrt(lower * upper)
        simple = cv2.approxPolyDP(ring.astype(np.float32), tolerance, True)[:, 0].astype(np.float64)
        if len(simple) > 2 and keeps(simple):
            best, lower = simple, tolerance
        else:
            upper = tolerance
    return best


def _length(ring: Polygon) -> float:
    return float(np.abs(ring - np.roll(ring, -1, axis=0)).sum())
