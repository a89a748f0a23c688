from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from shapes import TRICKY, blobs, from_text, masks

from xsam_backend.geometry.masks import Mask, connected_parts, mask_iou
from xsam_backend.geometry.outlines import signed_area, trace_outlines
from xsam_backend.geometry.polygons import mask_to_polygons
from xsam_backend.geometry.raster import disc_to_mask, polygons_to_mask


def test_example_of_the_docstring() -> None:
    (polygon,) = mask_to_polygons(np.ones((2, 3), bool))
    assert {tuple(point) for point in polygon.tolist()} == {(0, 0), (3, 0), (3, 2), (0, 2)}
    assert len(polygon) == 4


@pytest.mark.parametrize("name", TRICKY)
def test_exact_polygons_give_the_mask_back(name: str) -> None:
    mask = TRICKY[name]
    np.testing.assert_array_equal(polygons_to_mask(mask_to_polygons(mask, 1.0), mask.shape), mask)


@given(masks())
def test_any_mask_survives_exactly(mask: Mask) -> None:
    np.testing.assert_array_equal(polygons_to_mask(mask_to_polygons(mask, 1.0), mask.shape), mask)


@given(masks(), st.sampled_from([0.5, 0.8, 0.9, 0.97, 0.99]))
def test_iou_bound_holds_for_any_mask(mask: Mask, min_iou: float) -> None:
    polygons = mask_to_polygons(mask, min_iou)
    assert mask_iou(polygons_to_mask(polygons, mask.shape), mask) >= min_iou
    assert all(len(polygon) >= 3 for polygon in polygons)
    assert bool(polygons) == bool(mask.any())


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("min_iou", [0.9, 0.97, 0.995])
def test_objects_keep_their_shape_with_far_fewer_points(seed: int, min_iou: float) -> None:
    mask = blobs((180, 240), seed)
    exact, simple = mask_to_polygons(mask, 1.0), mask_to_polygons(mask, min_iou)
    assert mask_iou(polygons_to_mask(simple, mask.shape), mask) >= min_iou
    assert sum(map(len, simple)) < sum(map(len, exact)) * (0.5 if min_iou < 0.99 else 0.8)


def test_number_of_points_of_a_disc() -> None:
    # The polygon inscribed in a circle that keeps 97 % of it needs 15 corners.
    mask = disc_to_mask(100, 100, 90, (200, 200))
    (polygon,) = mask_to_polygons(mask, 0.97)
    assert 10 <= len(polygon) <= 18


@pytest.mark.parametrize(
    ("name", "count", "reason"),
    [
        ("two parts", 2, "parts do not fuse"),
        ("two parts that touch at a corner", 1, "what touches is one part"),
        ("diagonal line: touches only at corners", 1, "a thin line does not fall to pieces"),
        ("a part within a hole", 2, "the island is a part of its own"),
        ("a hole", 1, "the hole is a keyhole in its part"),
        ("corner pixels of the picture", 4, "nothing vanishes at the rim"),
        ("empty", 0, "no polygon for nothing"),
    ],
)
def test_number_of_polygons(name: str, count: int, reason: str) -> None:
    assert len(mask_to_polygons(TRICKY[name])) == count, reason


def test_largest_part_comes_first() -> None:
    areas = [signed_area(polygon) for polygon in mask_to_polygons(TRICKY["two parts"])]
    assert areas == [6, 4]


@given(masks(), st.integers(1, 4))
def test_only_the_largest_parts_are_written_on_wish(mask: Mask, most: int) -> None:
    largest = [outline.keyhole for outline in trace_outlines(mask)[:most]]
    written = mask_to_polygons(mask, 1.0, most_parts=most)
    assert len(written) == len(largest)
    np.testing.assert_array_equal(polygons_to_mask(written, mask.shape), polygons_to_mask(largest, mask.shape))


def test_hole_of_a_ring_survives_simplification() -> None:
    ring = disc_to_mask(50, 50, 45, (100, 100)) & ~disc_to_mask(50, 50, 25, (100, 100))
    back = polygons_to_mask(mask_to_polygons(ring, 0.9), ring.shape)
    assert not back[50, 50]
    assert len(connected_parts(~back, 4)) == 2


@pytest.mark.parametrize(
    ("min_iou", "least", "reason"),
    [
        (0.98, 0.94, "three times what the mask may lose"),
        (0.95, 0.85, "the same"),
        (0.8, 0.7, "but never more than three tenths"),
    ],
)
def test_small_part_beside_a_large_one_keeps_its_shape(min_iou: float, least: float, reason: str) -> None:
    """A cross, of which its share of what the disc may lose, by length, would leave a square or nothing."""
    disc = disc_to_mask(80, 80, 70, (160, 260))
    cross = np.zeros_like(disc)
    cross[68:92, 218:222] = cross[78:82, 208:232] = True
    _, small = mask_to_polygons(disc | cross, min_iou)
    assert mask_iou(polygons_to_mask([small], disc.shape), cross) >= least, reason


def test_a_ragged_rim_of_thousands_of_vertices_goes_at_once() -> None:
    """A tenth of what may change, the quick first round's, is too little for it."""
    right = 400 + np.random.default_rng(1).integers(0, 20, 1500)
    mask = np.arange(420) < right[:, None]
    assert len(mask_to_polygons(mask, 1.0)[0]) > 2500
    assert len(mask_to_polygons(mask, 0.98)[0]) < 20


def test_specks_and_pinholes_go_first_but_only_within_the_bound() -> None:
    mask = disc_to_mask(60, 60, 50, (120, 120))
    mask[60, 60] = False
    mask[3, 3] = True
    assert len(mask_to_polygons(mask, 0.97)) == 1
    assert len(mask_to_polygons(mask, 1.0)) == 2
    assert polygons_to_mask(mask_to_polygons(mask, 1.0), mask.shape)[3, 3]


@pytest.mark.parametrize("seed", [1, 2])
def test_pinholes_use_up_what_may_change_and_do_not_come_back(seed: int) -> None:
    """400 holes in a disc, together hardly less than may be filled: were they not counted, no round would fit."""
    mask = disc_to_mask(150, 150, 120, (300, 300))
    rows, columns = np.nonzero(disc_to_mask(150, 150, 100, mask.shape))
    holes = np.random.default_rng(seed).choice(len(rows), 400, replace=False)
    mask[rows[holes] // 2 * 2, columns[holes] // 2 * 2] = False
    (polygon,) = mask_to_polygons(mask, 0.98)
    assert len(polygon) < 30
    assert mask_iou(polygons_to_mask([polygon], mask.shape), mask) >= 0.98


def test_a_thousand_specks_stay_below_the_bound_together() -> None:
    mask = np.zeros((100, 100), bool)
    mask[::3, ::3] = True
    polygons = mask_to_polygons(mask, 0.9)
    assert mask_iou(polygons_to_mask(polygons, mask.shape), mask) >= 0.9


def test_intricate_masks_of_our_own_are_no_foreign_polygons(monkeypatch: pytest.MonkeyPatch) -> None:
    """A comb whose teeth cross more rows in all than a polygon from outside may."""
    comb = np.zeros((60, 80), bool)
    comb[:, ::4] = comb[:2] = True
    found = mask_to_polygons(comb, 0.9)
    monkeypatch.setattr("xsam_backend.geometry.raster._MOST_CROSSINGS", 1000)
    with pytest.raises(ValueError, match="too intricate"):
        polygons_to_mask(found, comb.shape)
    for again, once in zip(mask_to_polygons(comb, 0.9), found, strict=True):
        np.testing.assert_array_equal(again, once)


@pytest.mark.parametrize(
    ("most_px", "left_alone", "reason"),
    [
        (5000, [False, False, False], "all that there is is 3804 px long"),
        (530, [False, False, True], "the comb alone is too long, the discs are 280 and 240 px around"),
        (500, [False, True, True], "of two that are too long together the shorter one"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_rings_too_long_to_be_compared_keep_their_vertices(
    most_px: int, left_alone: list[bool], reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    comb = np.zeros((80, 240), bool)
    comb[:, :80:4] = comb[:2, :80] = True
    mask = comb | disc_to_mask(120, 40, 30, comb.shape) | disc_to_mask(200, 40, 35, comb.shape)
    monkeypatch.setattr("xsam_backend.geometry.polygons._MOST_COMPARED_PX", most_px)
    sizes = list(map(len, mask_to_polygons(mask, 0.9)))
    assert [size == exact for size, exact in zip(sizes, (164, 140, 82), strict=True)] == left_alone, reason


def test_bridge_of_a_keyhole_is_short() -> None:
    mask = np.ones((20, 40), bool)
    mask[8:12, 30:34] = False
    (outline,) = trace_outlines(mask)
    keyhole = outline.keyhole
    bridges = [step for step in np.abs(np.diff(keyhole, axis=0)) if step.all()]
    assert len(keyhole) == 4 + 1 + 4 + 1
    assert all(np.hypot(*step) <= np.hypot(6, 8) for step in bridges)


@pytest.mark.parametrize("min_iou", [0.4, 1.1, float("nan")])
def test_bound_out_of_range_is_refused(min_iou: float) -> None:
    with pytest.raises(ValueError, match=r"0.5..1"):
        mask_to_polygons(from_text("#"), min_iou)


def test_what_is_no_mask_is_refused() -> None:
    with pytest.raises(ValueError, match="uint8"):
        mask_to_polygons(np.ones((2, 2), np.uint8))  # type: ignore[arg-type]
