from __future__ import annotations

import math
import tracemalloc

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from shapes import from_text

from xsam_backend.geometry import raster
from xsam_backend.geometry.masks import Mask, connected_parts
from xsam_backend.geometry.raster import (
    box_to_mask,
    disc_to_mask,
    ellipse_to_mask,
    polygon_to_mask,
    polygons_to_mask,
    stroke_to_mask,
)


@pytest.mark.parametrize(
    ("polygon", "expected", "reason"),
    [
        ([[1, 1], [3, 1], [3, 2], [1, 2]], from_text("....", ".##.", "...."), "pixel edges, maxima exclusive"),
        ([[1, 1], [1, 2], [3, 2], [3, 1]], from_text("....", ".##.", "...."), "either direction"),
        ([[1, 1], [3, 1], [3, 2], [1, 2], [1, 1]], from_text("....", ".##.", "...."), "the first point repeated"),
        ([[0.6, 0], [2.4, 0], [2.4, 3], [0.6, 3]], from_text(".#..", ".#..", ".#.."), "only centres that lie inside"),
        ([[-9, -9], [99, -9], [99, 99], [-9, 99]], np.ones((3, 4), bool), "larger than the picture"),
        ([[2, -5], [9, -5], [9, 2], [2, 2]], from_text("..##", "..##", "...."), "cut off by the rim"),
        (
            [[1.2, 1.2], [1.4, 1.2], [1.3, 1.4]],
            from_text("....", ".#..", "...."),
            "too small for a centre: its pixel",
        ),
        ([[0.1, 1.1], [3.9, 1.1], [3.9, 1.2]], from_text("....", "####", "...."), "too thin for centres: its line"),
        ([[5, 1], [8, 1], [8, 2]], np.zeros((3, 4), bool), "outside"),
        (
            [[0, 0], [4, 0], [4, 3], [0, 3], [0, 0], [1, 1], [1, 2], [3, 2], [3, 1], [1, 1]],
            from_text("####", "#..#", "####"),
            "a keyhole, the inner ring the other way",
        ),
        (
            [[0, 0], [4, 0], [4, 3], [0, 3], [0, 0], [1, 1], [3, 1], [3, 2], [1, 2], [1, 1]],
            np.ones((3, 4), bool),
            "inner ring the same way: filled, as browsers do (non-zero rule)",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_polygon(polygon: list[list[float]], expected: Mask, reason: str) -> None:
    np.testing.assert_array_equal(polygon_to_mask(polygon, (3, 4)), expected, reason)


COORDINATES = st.floats(-5, 25).map(lambda value: round(value, 3))


@given(st.lists(st.tuples(COORDINATES, COORDINATES), min_size=3, max_size=12))
def test_polygon_agrees_with_shapely_at_every_centre(points: list[tuple[float, float]]) -> None:
    hull = shapely.convex_hull(shapely.MultiPoint(points))
    if hull.geom_type != "Polygon" or hull.area < 1e-3:
        return
    ring = np.asarray(hull.exterior.coords)
    mask = polygon_to_mask(ring, (20, 20))
    rows, columns = np.indices(mask.shape) + 0.5
    inside = shapely.contains_xy(hull, columns, rows)
    certain = shapely.distance(hull.exterior, shapely.points(columns, rows)) > 1e-9
    if inside[certain].any():  # else the polygon is drawn as its line
        np.testing.assert_array_equal(mask[certain], inside[certain])


@pytest.mark.parametrize(
    ("polygon", "words"),
    [
        ([[0, 0], [1, 1]], "at least 3"),
        ([[0, 0, 0], [1, 1, 1], [2, 2, 2]], "shape"),
        ([[0, 0], [1, math.nan], [2, 2]], "finite"),
        ([[0, 0], [1e9, 0], [0, 1e9]], "1e\\+06"),
    ],
    ids=["two points", "three coordinates", "NaN", "far away"],
)
def test_impossible_polygons_are_refused(polygon: list[list[float]], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        polygon_to_mask(polygon, (5, 5))


def test_endless_zigzag_is_refused_before_it_takes_memory() -> None:
    zigzag = np.stack([np.arange(6000) % 7, np.arange(6000) % 2 * 1000], axis=1)
    with pytest.raises(ValueError, match="too intricate"):
        polygon_to_mask(zigzag, (1000, 8))


def test_edges_beside_the_picture_take_neither_memory_nor_pixels() -> None:
    beside = np.array([(50_000 + number % 3, (-1) ** number * 9e5) for number in range(60)])
    tracemalloc.start()
    mask = polygon_to_mask(beside, (40, 60))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert not mask.any()
    assert peak < 1e6, "sampled, the sixty edges would be 200 million points"


def test_a_line_that_goes_back_and_forth_is_refused_before_it_takes_memory() -> None:
    level = np.array([((-1) ** number * 9e5, 20) for number in range(60)])  # 20 is no row's centre: drawn as a line
    tracemalloc.start()
    with pytest.raises(ValueError, match="draw it anew"):
        polygon_to_mask(level, (40, 60))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1e6


def test_an_edge_far_beyond_the_picture_still_marks_what_it_passes() -> None:
    mask = polygon_to_mask([(-90_000, 2), (90_000, 2), (0, 2)], (5, 6))
    assert mask.sum(axis=1).tolist() == [0, 0, 6, 0, 0]


def test_union_of_polygons_keeps_overlaps_whatever_the_directions() -> None:
    one, other = np.array([[0, 0], [3, 0], [3, 3], [0, 3]]), np.array([[1, 1], [1, 4], [4, 4], [4, 1]])
    together = polygons_to_mask([one, other], (4, 4))
    np.testing.assert_array_equal(together, polygon_to_mask(one, (4, 4)) | polygon_to_mask(other, (4, 4)))
    assert not polygons_to_mask([], (4, 4)).any()


def test_turned_box() -> None:
    # A square of side 4 turned by 45 degrees about its top corner is a diamond below it.
    mask = box_to_mask(5, 1, 4, 4, (9, 10), 45)
    assert mask.sum() == pytest.approx(16, abs=2)
    assert mask[1, 4]
    assert mask[3, 3]
    assert not mask[0].any()
    np.testing.assert_array_equal(box_to_mask(2, 1, 3, 2, (5, 6)), box_to_mask(5, 1, 2, 3, (5, 6), 90))


@pytest.mark.parametrize(
    ("x", "y", "radius", "count", "reason"),
    [
        (2.5, 2.5, 0.0, 1, "no radius: the pixel"),
        (2.5, 2.5, 1.0, 5, "four neighbours, whose centres are exactly 1 away"),
        (0.0, 0.0, 1.0, 1, "the corner of the picture: the part that is inside"),
        (6.0, 6.0, 0.0, 1, "exactly on the far rim belongs to the last pixel"),
        (50.0, 50.0, 3.0, 0, "outside"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_disc(x: float, y: float, radius: float, count: int, reason: str) -> None:
    assert disc_to_mask(x, y, radius, (6, 6)).sum() == count, reason


@given(st.floats(3, 20), st.floats(3, 20), st.floats(0, 360))
def test_ellipse_has_its_area_and_turns_clockwise(radius_x: float, radius_y: float, rotation: float) -> None:
    mask = ellipse_to_mask(30, 30, radius_x, radius_y, (60, 60), rotation)
    assert mask.sum() == pytest.approx(math.pi * radius_x * radius_y, rel=0.2)
    angle = math.radians(rotation)
    tip = 30 + 0.9 * radius_x * math.cos(angle), 30 + 0.9 * radius_x * math.sin(angle)
    near = mask[int(tip[1]) - 1 : int(tip[1]) + 2, int(tip[0]) - 1 : int(tip[0]) + 2]
    assert near.any()


@pytest.mark.parametrize("band_px", [1, 100])
def test_bands_of_rows_fit_together(band_px: int, monkeypatch: pytest.MonkeyPatch) -> None:
    ellipse = ellipse_to_mask(30, 20, 25, 12, (50, 60), 20)
    stroke = stroke_to_mask([(3, 3), (50, 40), (20, 45)], 9, (50, 60))
    monkeypatch.setattr(raster, "_BAND_PX", band_px)
    np.testing.assert_array_equal(ellipse_to_mask(30, 20, 25, 12, (50, 60), 20), ellipse)
    np.testing.assert_array_equal(stroke_to_mask([(3, 3), (50, 40), (20, 45)], 9, (50, 60)), stroke)


def test_an_ellipse_takes_a_few_bytes_for_each_pixel() -> None:
    tracemalloc.start()
    mask = ellipse_to_mask(2000, 1500, 2000, 1500, (3000, 4000))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 3 * mask.size, "whole arrays of coordinates would take 32 bytes for each"


def test_negative_radius_is_refused() -> None:
    with pytest.raises(ValueError, match="radii"):
        ellipse_to_mask(3, 3, -1, 2, (6, 6))


@given(
    st.lists(st.tuples(st.floats(0, 39.9), st.floats(0, 29.9)), min_size=1, max_size=6),
    st.floats(0, 12),
)
def test_stroke_is_connected_and_holds_its_points(points: list[tuple[float, float]], width: float) -> None:
    mask = stroke_to_mask(points, width, (30, 40))
    assert all(mask[int(y), int(x)] for x, y in points)
    assert len(connected_parts(mask)) == 1


def test_closed_stroke_keeps_its_middle_clear() -> None:
    loop = [(5, 5), (25, 5), (25, 25), (5, 25), (5, 5)]
    mask = stroke_to_mask(loop, 4, (30, 30))
    assert not mask[15, 15]
    assert mask[5, 15]
    assert mask.sum() == pytest.approx(4 * 20 * 4, rel=0.1)


def test_impossible_stroke_is_refused() -> None:
    with pytest.raises(ValueError, match="stroke width"):
        stroke_to_mask([(1, 1), (2, 2)], -1, (5, 5))
    with pytest.raises(ValueError, match="stroke width"):
        stroke_to_mask([(1, 1), (2, 2)], math.nan, (5, 5))
