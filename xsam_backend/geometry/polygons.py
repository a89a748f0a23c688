"""Masks -> polygons that keep them, with few vertices, several parts and holes."""

from __future__ import annotations

import math
from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from xsam_backend.geometry.collapsing import edges_cross, with_fewer_vertices
from xsam_backend.geometry.coverage import ComparedRing, least_iou
from xsam_backend.geometry.cropped_masks import CroppedMask
from xsam_backend.geometry.keyholes import MOST_HOLES
from xsam_backend.geometry.masks import Mask, check_mask
from xsam_backend.geometry.outlines import Outline, Polygon, Rings, signed_area, trace_rings

_AROUND = 0.1
"""So far around a ring its simplified one may go, as share of the longer side."""

_DETAIL_SHARE = 0.1
"""Of what may change sides, what may go with the quick first round."""

_FEW = 64
"""Rings of so few vertices need no quick first round."""

_MOST_COLLAPSED = 2000
"""Rings of more vertices, however much detail was left out, are ragged all along: they are left as they are."""

_MOST_VERTICES = 100_000
"""Rings of more are left as they are at once."""

_MOST_RINGS = 200
"""Of a mask in thousands of pieces only the longest rings are simplified."""

_MOST_COMPARED_PX = 2_000_000
"""Of rings that are longer together the shorter ones are left as they are: comparing takes 250 bytes for a pixel."""

_ROUNDS = 6
"""Of looking for a tolerance."""

_SPECK_SHARE = 0.1
"""A part or hole is a speck below this share of what may be lost to specks: 0.1 % of a mask at IoU 0.98."""


def mask_to_polygons(mask: Mask | CroppedMask, min_iou: float = 0.98, most_parts: int | None = None) -> list[Polygon]:
    """Polygons of a bool (H, W) mask, largest part first; none for an empty mask.

    Together they are the fewest vertices found that still give ``min_iou`` with the mask when filled; specks and
    pinholes go first if the bound allows it. They stay within the picture, and no edges of a polygon cross, save for
    bridges to more than MOST_HOLES holes. Of a mask in thousands of pieces only the longest rings lose vertices, and
    rings too intricate to be compared, millions of pixels long, keep them all. The bound holds also once the points
    are rounded to a thousandth of a pixel, or to a finer grid.
    ``min_iou`` 1 keeps every pixel. A hole becomes a keyhole in its part's polygon. Of more than ``most_parts`` the
    smallest are left out, and the bound holds for the others.

        mask_to_polygons(np.ones((2, 3), bool)) -> [[[0, 0], [3, 0], [3, 2], [0, 2]]]

    Raises:
        ValueError: ``min_iou`` is not in 0.5..1, or ``mask`` is no mask.
    """
    if not 0.5 <= min_iou <= 1:
        raise ValueError(f"min_iou: expected 0.5..1, got {min_iou}")
    cropped = mask if isinstance(mask, CroppedMask) else CroppedMask.of(check_mask(mask))
    if cropped.is_empty:
        return []
    size_hw = cropped.size_hw
    rings = trace_rings(cropped.crop).moved(*cropped.corner_xy)
    if most_parts is not None:
        rings = rings.largest_parts(most_parts)
    loss = 1 - min_iou
    for _ in range(6 if loss else 0):
        kept, simpler = _simplify(rings, loss, size_hw)
        iou = least_iou(rings, kept, simpler, size_hw)
        if iou >= min_iou:
            outlines = rings.outlines(kept, simpler)
            if all(map(_has_its_holes, outlines)):
                return [outline.keyhole for outline in outlines]
            loss /= 2
        else:
            loss *= min(0.9, 0.9 * (1 - min_iou) / (1 - iou))
    return [outline.keyhole for outline in rings.outlines()]


def _simplify(rings: Rings, loss: float, size_hw: tuple[int, int]) -> tuple[NDArray[np.bool_], dict[int, Polygon]]:
    """Which rings are kept, and those with fewer vertices by their numbers.

    About ``loss`` of the mask's area may change, shared out by the rings' lengths. A ring never changes by more than
    three times ``loss`` of its own area, so a small part beside a large one keeps its shape.
    """
    area_px = float(rings.areas_px.sum())
    kept = _without_specks(rings, loss / 2 * area_px)
    lengths_px = np.where(kept, rings.lengths_px, 0.0)
    budget_px = loss * area_px - sum(rings.left_out_px(kept))  # lost or gained, both change sides
    budgets_px = np.minimum(budget_px * lengths_px / lengths_px.sum(), np.abs(rings.areas_px) * min(3 * loss, 0.3))
    worth_it = kept & (rings.sizes > 4) & ((budgets_px >= 1) | (rings.sizes > 12))
    worth_it &= (rings.sizes <= _MOST_VERTICES) & (lengths_px <= _MOST_COMPARED_PX)
    longest = np.flatnonzero(worth_it)
    longest = longest[np.argsort(-lengths_px[longest], kind="stable")[:_MOST_RINGS]]
    longest = longest[np.cumsum(lengths_px[longest]) <= _MOST_COMPARED_PX]
    return kept, {
        number: _simplify_ring(rings.ring(number), float(budgets_px[number]), size_hw) for number in longest.tolist()
    }


def _has_its_holes(outline: Outline) -> bool:
    """Whether the holes are still inside, apart from each other and from the outer ring."""
    if not 0 < len(outline.holes) <= MOST_HOLES:
        return True
    outer = outline.outer.astype(np.float32)
    inside = all(
        cv2.pointPolygonTest(outer, tuple(float(value) for value in hole[0]), False) >= 0 for hole in outline.holes
    )
    return inside and not edges_cross(outline.rings)


def _without_specks(rings: Rings, budget_px: float) -> NDArray[np.bool_]:
    """(R,) which rings are no specks: the smallest parts (never the first) and holes, together at most ``budget_px``.

    A part goes with its holes.
    """
    areas_px = np.where(rings.is_outer, rings.parts_px, -rings.areas_px)
    areas_px[rings.parts_px.argmax()] = np.inf
    order = np.argsort(areas_px, kind="stable")
    smallest = areas_px[order]
    kept = np.ones(len(order), np.bool_)
    kept[order[(smallest <= budget_px * _SPECK_SHARE) & (np.cumsum(smallest) <= budget_px)]] = False
    return kept & kept[rings.outers]


def _simplify_ring(ring: Polygon, budget_px: float, size_hw: tuple[int, int]) -> Polygon:
    """The ring with the fewest vertices found at which at most ``budget_px`` change sides, and no edges cross.

    Vertices may lie outside of the ring, but in the picture. Large rings are compared at a smaller scale; the caller
    looks at the whole mask at full size afterwards.
    """
    lowest, highest = ring.min(axis=0), ring.max(axis=0)
    around = np.ceil((highest - lowest).max() * _AROUND)
    corner = np.maximum(lowest - around, 0)
    limit = np.minimum(highest + around, size_hw[::-1]) - corner
    local = ring - corner
    compared = ComparedRing(local, limit)

    def by_area(simple: Polygon, budget_px: float) -> bool:
        return compared.changed_px(simple) <= budget_px

    def without_crossing(simple: Polygon, budget_px: float) -> bool:
        return by_area(simple, budget_px) and not edges_cross([simple])

    # Edges seldom cross, and to look for it is slow: it's done once, and all along only where they did.
    simple = _simplest(local, limit, budget_px, by_area)
    if edges_cross([simple]):
        simple = local if len(simple) > _MOST_COLLAPSED else _simplest(local, limit, budget_px, without_crossing)
    moved: Polygon = simple + corner
    return moved


def _simplest(ring: Polygon, limit: Polygon, budget_px: float, keeps: Callable[[Polygon, float], bool]) -> Polygon:
    few = ring
    if len(ring) > _FEW:
        few = _without_detail(ring, lambda simple: keeps(simple, budget_px * _DETAIL_SHARE))
    if len(few) > _MOST_COLLAPSED:
        few = _without_detail(ring, lambda simple: keeps(simple, budget_px))
    if len(few) > _MOST_COLLAPSED:
        return few
    return with_fewer_vertices(few, (float(limit[0]), float(limit[1])), lambda simple: keeps(simple, budget_px))


def _without_detail(ring: Polygon, keeps: Callable[[Polygon], bool]) -> Polygon:
    """The ring with the largest Douglas-Peucker tolerance that ``keeps`` it: quick where there are thousands of
    vertices."""
    best, lower, upper = ring, 0.25, max(math.sqrt(abs(signed_area(ring))), 0.25)
    for _ in range(_ROUNDS):
        tolerance = math.sqrt(lower * upper)
        simple = cv2.approxPolyDP(ring.astype(np.float32), tolerance, True)[:, 0].astype(np.float64)
        if len(simple) > 2 and keeps(simple):
            best, lower = simple, tolerance
        else:
            upper = tolerance
    return best
