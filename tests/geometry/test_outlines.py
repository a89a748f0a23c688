"""Outlines run along the pixels' edges, and rings that are left out or replaced change no order."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from shapes import TRICKY, blobs, from_text, masks

from xsam_backend.geometry.masks import Mask, connected_parts
from xsam_backend.geometry.outlines import signed_area, trace_outlines, trace_rings
from xsam_backend.geometry.raster import polygons_to_mask


@given(masks())
def test_outlines_turn_at_every_point_and_stay_on_the_grid(mask: Mask) -> None:
    outlines = trace_outlines(mask)
    for outline in outlines:
        assert signed_area(outline.outer) > 0
        assert all(signed_area(hole) < 0 for hole in outline.holes)
        for ring in outline.rings:
            steps = np.roll(ring, -1, axis=0) - ring
            assert (ring == ring.round()).all()
            assert ((steps == 0).sum(axis=1) == 1).all()
            np.testing.assert_array_equal((steps[:, 0] == 0), ~np.roll(steps[:, 0] == 0, 1))
    assert sum(outline.area_px for outline in outlines) == mask.sum()
    assert len(outlines) == len(connected_parts(mask))


@given(masks())
def test_outlines_filled_are_the_mask(mask: Mask) -> None:
    rings = [outline.keyhole for outline in trace_outlines(mask)]
    np.testing.assert_array_equal(polygons_to_mask(rings, mask.shape), mask)


@pytest.mark.parametrize(
    ("name", "holes", "reason"),
    [
        ("two parts that touch at a corner", [0], "pixels that touch at a corner are one part"),
        ("two holes that touch at a corner", [2], "holes that touch at a corner are two"),
        ("a part within a hole", [1, 0], "the island is a part of its own"),
        ("a hole that touches the rim at a corner", [1], "it is not outside"),
        ("empty", [], "nothing has no outline"),
    ],
)
def test_holes_of_each_part(name: str, holes: list[int], reason: str) -> None:
    assert [len(outline.holes) for outline in trace_outlines(TRICKY[name])] == holes, reason


def test_a_view_of_a_mask_is_traced_like_a_copy() -> None:
    part = blobs((60, 80), 2)[7:50:2, 11:70]
    for seen, copied in zip(trace_outlines(part), trace_outlines(part.copy()), strict=True):
        assert all(np.array_equal(one, other) for one, other in zip(seen.rings, copied.rings, strict=True))


def test_rings_know_their_parts() -> None:
    rings = trace_rings(from_text("#####.#", "#...#..", "#.#.#.#", "#...#.#", "#####.#"))
    assert sorted(rings.areas_px.tolist()) == [-9, 1, 1, 3, 25]
    assert sorted(rings.parts_px.tolist()) == [0, 1, 1, 3, 16]
    assert rings.lengths_px[rings.areas_px == -9].tolist() == [12]
    assert rings.is_outer.sum() == 4
    assert rings.outers[rings.areas_px == -9] == np.flatnonzero(rings.areas_px == 25)


def test_rings_left_out_and_replaced() -> None:
    mask = np.zeros((20, 40), bool)
    mask[2:18, 2:18], mask[6:10, 6:10], mask[4:8, 30:34] = True, False, True
    rings = trace_rings(mask)
    hole, small = (int(np.flatnonzero(rings.areas_px == area)[0]) for area in (-16, 16))
    kept = np.ones(3, bool)
    kept[hole] = False
    triangle = np.array([(30, 4), (34, 4), (34, 8)], float)
    large, little = rings.outlines(kept, {small: triangle})
    assert large.holes == ()
    assert large.area_px == 256
    np.testing.assert_array_equal(little.outer, triangle)
    moved = rings.moved(3, 5).outlines()
    assert moved[0].outer.min(axis=0).tolist() == [5, 7]


@pytest.mark.parametrize(
    ("left_out", "lost_gained_px", "reason"),
    [
        ([], (0, 0), "nothing"),
        ([-16], (0, 16), "a hole is filled"),
        ([16], (16, 0), "a part is lost"),
        ([256, -16], (240, 0), "a part goes with its hole, which is not filled"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_left_out(left_out: list[int], lost_gained_px: tuple[float, float], reason: str) -> None:
    mask = np.zeros((20, 40), bool)
    mask[2:18, 2:18], mask[6:10, 6:10], mask[4:8, 30:34] = True, False, True
    rings = trace_rings(mask)
    assert rings.left_out_px(~np.isin(rings.areas_px, left_out)) == lost_gained_px, reason
