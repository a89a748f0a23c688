from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xsam_backend.geometry.raster import box_to_mask
from xsam_backend.model.close_up import LEAST_SIDE_PX, close_up_window, shift_region
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
