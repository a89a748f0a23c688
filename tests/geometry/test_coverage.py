"""What is counted along rows is what painting gives."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from shapes import TRICKY, blobs, masks

from xsam_backend.geometry.coverage import ComparedRing, least_iou
from xsam_backend.geometry.masks import Mask, mask_iou
from xsam_backend.geometry.outlines import trace_rings
from xsam_backend.geometry.raster import disc_to_mask, polygon_to_mask, polygons_to_mask


@pytest.mark.parametrize("name", TRICKY)
def test_nothing_changed_is_all_of_it(name: str) -> None:
    mask = TRICKY[name]
    rings = trace_rings(mask)
    if mask.any():
        assert least_iou(rings, np.ones(len(rings.sizes), bool), {}, mask.shape) == 1
        same = {number: rings.ring(number) for number in range(len(rings.sizes))}
        assert least_iou(rings, np.ones(len(rings.sizes), bool), same, mask.shape) == 1


@given(masks(), st.data())
def test_never_more_than_painting_gives(mask: Mask, data: st.DataObject) -> None:
    rings = trace_rings(mask)
    if not mask.any():
        return
    count = len(rings.sizes)
    kept = np.array(data.draw(st.lists(st.booleans(), min_size=count, max_size=count)))
    kept &= kept[rings.outers]
    if not kept.any():
        kept[rings.outers[0]] = True
    shifts = st.tuples(st.floats(-2, 2), st.floats(-2, 2))
    without_holes = kept & (np.bincount(rings.outers[kept], minlength=count) == 1)
    instead = {
        number: rings.ring(number) + data.draw(shifts) for number in np.flatnonzero(without_holes)[:3].tolist()
    }
    polygons = [outline.keyhole for outline in rings.outlines(kept, instead)]
    least = least_iou(rings, kept, instead, mask.shape)
    assert least <= mask_iou(polygons_to_mask(polygons, mask.shape), mask) + 1e-9


@pytest.mark.parametrize("radius_px", [1.2, 6, 20])
def test_of_one_part_it_is_what_painting_gives(radius_px: float) -> None:
    mask = disc_to_mask(40, 30, radius_px, (60, 80))
    rings = trace_rings(mask)
    moved = rings.ring(0) + (0.7, -0.2)
    painted = mask_iou(polygon_to_mask(moved, (60, 80)), mask)
    assert least_iou(rings, np.ones(1, bool), {0: moved}, mask.shape) == pytest.approx(painted)


def test_edges_through_centres_count_against_it() -> None:
    mask = np.zeros((6, 6), bool)
    mask[1:5, 1:5] = True
    square = np.array([(0.5, 1), (5, 1), (5, 5), (0.5, 5)])  # through the centres of the pixels to the left
    assert least_iou(trace_rings(mask), np.ones(1, bool), {0: square}, mask.shape) == 16 / 20


def test_a_part_without_a_pixel_is_no_part() -> None:
    mask = np.zeros((6, 9), bool)
    mask[1:5, 1:5], mask[1:3, 7] = True, True
    rings = trace_rings(mask)
    small = int(rings.parts_px.argmin())
    sliver = np.array([(7.6, 1), (7.7, 1), (7.7, 3)])
    assert least_iou(rings, np.ones(2, bool), {small: sliver}, mask.shape) == 0


@pytest.mark.parametrize("scale", [1, 20], ids=["pixel by pixel", "at a smaller scale"])
def test_changed_area(scale: int) -> None:
    mask = blobs((60, 80), 3)
    ring = trace_rings(mask).ring(0) * scale
    compared = ComparedRing(ring, np.array([80.0, 60.0]) * scale)
    assert compared.changed_px(ring) == 0
    other = ring + np.array([3.0, 2.0]) * scale
    other = np.minimum(other, np.array([80.0, 60.0]) * scale)
    painted = polygon_to_mask(other / scale, (60, 80)) ^ polygon_to_mask(ring / scale, (60, 80))
    assert compared.changed_px(other) == pytest.approx(painted.sum() * scale**2, rel=0 if scale == 1 else 0.03)
