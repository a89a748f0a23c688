"""Rings with fewer vertices keep their area and never cross themselves."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from shapes import blobs

from xsam_backend.geometry.collapsing import LEAST_VERTICES, edges_cross, with_fewer_vertices
from xsam_backend.geometry.outlines import signed_area, trace_outlines
from xsam_backend.geometry.polygons import mask_to_polygons

LIMIT = (240.0, 180.0)


def stairs(steps: int) -> np.ndarray:
    """A triangle as pixels draw it."""
    corners = [(0, 0), *(point for step in range(steps) for point in ((step + 1, step), (step + 1, step + 1)))]
    return np.array([*corners, (0, steps)], float)


@pytest.mark.parametrize("count", [4, 7, 20])
def test_the_area_stays_whatever_goes(count: int) -> None:
    ring = trace_outlines(blobs((180, 240), 1))[0].outer / 2 + (60, 45)  # away from the limit, which costs area
    simpler = with_fewer_vertices(ring, LIMIT, lambda found: len(found) >= count)
    assert len(simpler) == count
    assert signed_area(simpler) == pytest.approx(signed_area(ring), rel=1e-6)


def test_stairs_become_a_slope() -> None:
    simpler = with_fewer_vertices(stairs(40) + 10, (100.0, 100.0), lambda found: len(found) >= LEAST_VERTICES)
    assert len(simpler) == LEAST_VERTICES
    triangle, slope = shapely.Polygon([(10, 10), (50, 50), (10, 50)]), shapely.Polygon(simpler)
    assert triangle.intersection(slope).area / triangle.union(slope).area > 0.97
    assert slope.area == pytest.approx(shapely.Polygon(stairs(40)).area)


def test_what_nothing_simpler_fits_stays_as_it_is() -> None:
    ring = stairs(6)
    assert np.array_equal(with_fewer_vertices(ring, (10.0, 10.0), lambda _found: False), ring)
    triangle = ring[[0, 5, 9]]
    assert np.array_equal(with_fewer_vertices(triangle, (10.0, 10.0), lambda _found: True), triangle)


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20)), min_size=3, max_size=30, unique=True))
def test_any_ring_gets_simpler_within_the_limit(points: list[tuple[int, int]]) -> None:
    ring = np.array(points, float)
    simpler = with_fewer_vertices(ring, (20.0, 20.0), lambda _found: True)
    assert 3 <= len(simpler) <= len(ring)
    assert np.isfinite(simpler).all()
    assert simpler.min() >= 0
    assert simpler.max() <= 20


@pytest.mark.parametrize(
    ("rings", "crosses", "reason"),
    [
        ([[(0, 0), (4, 0), (4, 4), (0, 4)]], False, "a square"),
        ([[(0, 0), (4, 4), (4, 0), (0, 4)]], True, "a bow tie"),
        ([[(0, 0), (2, 0), (2, 2), (4, 2), (4, 4), (2, 4), (2, 2), (0, 2)]], False, "two that touch at a corner"),
        ([[(0, 0), (4, 0), (4, 4), (0, 4)], [(1, 1), (1, 2), (2, 2), (2, 1)]], False, "a hole within"),
        ([[(0, 0), (4, 0), (4, 4), (0, 4)], [(1, 1), (1, 2), (6, 2), (6, 1)]], True, "a hole that leaves it"),
    ],
)
def test_crossing_and_touching(rings: list[list[tuple[float, float]]], crosses: bool, reason: str) -> None:
    assert edges_cross([np.array(ring, float) for ring in rings]) is crosses, reason


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("min_iou", [0.8, 0.9, 0.98])
def test_polygons_of_masks_do_not_cross_and_stay_in_the_picture(seed: int, min_iou: float) -> None:
    mask = blobs((90, 120), seed)
    mask[::7, ::5] = False  # pinholes and ragged rims
    for polygon in mask_to_polygons(mask, min_iou):
        assert not edges_cross([polygon])
        assert polygon.min() >= 0
        assert (polygon <= (120, 90)).all()


def test_where_edges_would_cross_fewer_vertices_go() -> None:
    """One of the few masks of which the simplest ring of the right area crosses itself."""
    for polygon in mask_to_polygons(blobs((45, 60), 5, 12), 0.8):
        assert not edges_cross([polygon])
