"""Outlines with holes as one ring, whose edges don't cross."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from shapes import TRICKY, masks

from xsam_backend.geometry import keyholes
from xsam_backend.geometry.collapsing import edges_cross
from xsam_backend.geometry.keyholes import MOST_HOLES, joined_by_keyholes
from xsam_backend.geometry.masks import Mask
from xsam_backend.geometry.outlines import signed_area, trace_outlines
from xsam_backend.geometry.raster import disc_to_mask, polygons_to_mask


@pytest.fixture(params=["short", "level"])
def bridges(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both kinds, whether or not short ones cross."""
    if request.param == "level":
        monkeypatch.setattr(
            keyholes, "_by_short_bridges", lambda *_: np.array([(0, 0), (1, 1), (1, 0), (0, 1)], float)
        )
    return str(request.param)


@pytest.mark.parametrize("name", TRICKY)
@pytest.mark.usefixtures("bridges")
def test_every_hole_stays_a_hole(name: str) -> None:
    mask = TRICKY[name]
    rings = [outline.keyhole for outline in trace_outlines(mask)]
    np.testing.assert_array_equal(polygons_to_mask(rings, (mask.shape[0], mask.shape[1])), mask)
    assert not any(edges_cross([ring]) for ring in rings)
    assert not any((ring == np.roll(ring, 1, axis=0)).all(axis=1).any() for ring in rings), "a bridge of length 0"


@given(masks())
def test_any_mask_survives(mask: Mask) -> None:
    rings = [outline.keyhole for outline in trace_outlines(mask)]
    np.testing.assert_array_equal(polygons_to_mask(rings, (mask.shape[0], mask.shape[1])), mask)
    assert not any(edges_cross([ring]) for ring in rings)


@pytest.mark.usefixtures("bridges")
def test_a_hole_that_touches_the_rim_needs_no_bridge() -> None:
    outer = np.array([(0, 0), (9, 0), (9, 9), (0, 9)], float)
    hole = np.array([(0, 0), (4, 6), (6, 4)], float)
    ring = joined_by_keyholes(outer, [hole])
    assert len(ring) == 4 + 3
    assert polygons_to_mask([ring], (9, 9)).sum() == 81 - polygons_to_mask([hole], (9, 9)).sum()


@pytest.mark.usefixtures("bridges")
def test_holes_that_begin_in_one_point_do_not_hang_on_each_other() -> None:
    """Both would be lost. Holes of pixels never do, simplified ones may."""
    outer = np.array([(0, 0), (20, 0), (20, 20), (0, 20)], float)
    above = np.array([(6, 10), (12, 10), (12, 2)], float)
    below = np.array([(6, 10), (6, 16), (12, 16), (12, 12)], float)
    for holes in ([above[::-1], below], [below, above[::-1]]):
        ring = joined_by_keyholes(outer, holes)
        assert signed_area(ring) == 400 + sum(map(signed_area, holes))
        assert not edges_cross([ring])


def test_short_bridges_that_cross_are_not_taken() -> None:
    """The far hole's shortest way out of the square leads through the long one."""
    square = np.array([(0, 0), (100, 0), (100, 100), (0, 100)], float)
    wall = np.array([(2, 40), (2, 45), (98, 45), (98, 40)], float)
    behind = np.array([(4, 46), (4, 49), (96, 49), (96, 46)], float)
    assert edges_cross([keyholes._by_short_bridges(square, [wall, behind])])
    ring = joined_by_keyholes(square, [wall, behind])
    assert not edges_cross([ring])
    assert polygons_to_mask([ring], (100, 100)).sum() == 100 * 100 - 96 * 5 - 92 * 3


def test_hundreds_of_holes_hang_on_one_chain() -> None:
    mask = disc_to_mask(60, 50, 45, (100, 120))
    mask[5:95:4, 20:100:3] = False
    (outline,) = trace_outlines(mask)
    assert len(outline.holes) > MOST_HOLES
    np.testing.assert_array_equal(polygons_to_mask([outline.keyhole], (100, 120)), mask)
