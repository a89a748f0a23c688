from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xsam_backend.geometry.raster import box_to_mask
from xsam_backend.model.close_up import (
    LARGER,
    LEAST_SIDE_PX,
    close_up_window,
    reaches_beyond,
    shift_region,
    typical_window,
)
from xsam_backend.prompts import Box, MaskRegion, Point
from xsam_backend.region_masks import region_mask


def extent(x0: int, y0: int, x1: int, y1: int, size_hw: tuple[int, int] = (100, 200)) -> np.ndarray:
    mask = np.zeros(size_hw, bool)
    mask[y0:y1, x0:x1] = True
    return mask


@pytest.mark.parametrize(
    ("mask", "share", "reason"),
    [
        (extent(0, 0, 0, 0), 0.5, "nothing is known of the object"),
        (extent(0, 0, 120, 50), 0.5, "it is large already"),
        (extent(10, 10, 20, 20), 0.0, "the model never looks closer"),
    ],
)
def test_no_close_up(mask: np.ndarray, share: float, reason: str) -> None:
    assert close_up_window(mask, share) is None, reason


@given(st.integers(0, 190), st.integers(0, 90), st.integers(1, 90), st.integers(1, 90))
def test_the_window_holds_the_object_and_stays_in_the_picture(x0: int, y0: int, width: int, height: int) -> None:
    mask = extent(x0, y0, x0 + width, y0 + height)
    window = close_up_window(mask, 0.5)
    assert window is not None
    rows, columns = window
    assert rows.start >= 0
    assert columns.start >= 0
    assert rows.stop <= 100
    assert columns.stop <= 200
    assert mask[rows, columns].sum() == mask.sum()
    assert max(rows.stop - rows.start, columns.stop - columns.start) >= min(LEAST_SIDE_PX, 100)


@pytest.mark.parametrize(
    "region",
    [
        Point(60.5, 40.5),
        Box(50, 30, 20, 20),
        Box(60, 30, 20, 10, rotation_deg=30),
        MaskRegion(box_to_mask(52, 33, 9, 7, (100, 200))),
    ],
    ids=["click", "box", "turned box", "stroke"],
)
def test_a_shifted_region_points_at_the_same_pixels(region: Point | Box | MaskRegion) -> None:
    rows, columns = slice(20, 80), slice(40, 110)
    whole = region_mask(region, (100, 200), click_radius_share=5 / 200)
    shifted = region_mask(shift_region(region, rows, columns), (60, 70), click_radius_share=5 / 70)
    np.testing.assert_array_equal(shifted, whole[rows, columns])


@given(st.integers(0, 199), st.integers(0, 99), st.floats(0.01, 0.1))
def test_the_window_of_a_typical_object_has_room_for_a_larger_one(x: int, y: int, size: float) -> None:
    rows, columns = typical_window(extent(x, y, x + 1, y + 1), size)
    assert rows.start <= y < rows.stop
    assert columns.start <= x < columns.stop
    assert 0 <= rows.start < rows.stop <= 100
    assert 0 <= columns.start < columns.stop <= 200
    longer = LARGER * size * 200
    room = (x - longer / 2 >= 0, x + longer / 2 <= 199, y - longer / 2 >= 0, y + longer / 2 <= 99)
    if all(room):
        assert min(rows.stop - rows.start, columns.stop - columns.start) >= longer


def test_the_window_of_several_clicks_holds_them_all() -> None:
    clicks = extent(20, 30, 22, 32) | extent(90, 60, 92, 62)
    rows, columns = typical_window(clicks, 0.05)
    assert clicks[rows, columns].sum() == clicks.sum()


@pytest.mark.parametrize(
    ("mask", "beyond"),
    [
        pytest.param(extent(20, 30, 30, 40), False, id="inside"),
        pytest.param(extent(10, 30, 30, 40), True, id="at the left edge"),
        pytest.param(extent(20, 30, 60, 40), True, id="at the right edge"),
        pytest.param(extent(20, 20, 30, 40), True, id="at the upper edge"),
        pytest.param(extent(20, 30, 30, 50), True, id="at the lower edge"),
        pytest.param(extent(0, 0, 0, 0), False, id="nothing"),
    ],
)
def test_an_object_larger_than_the_window_is_noticed(mask: np.ndarray, beyond: bool) -> None:
    assert reaches_beyond(mask, (slice(20, 50), slice(10, 60))) is beyond


def test_the_pictures_own_edges_are_no_window_edges() -> None:
    assert not reaches_beyond(extent(0, 0, 10, 10), (slice(0, 30), slice(0, 30)))
    assert not reaches_beyond(extent(190, 90, 200, 100), (slice(70, 100), slice(170, 200)))
