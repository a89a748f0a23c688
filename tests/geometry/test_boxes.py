from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from shapes import TRICKY, masks

from xsam_backend.geometry.boxes import (
    STRAIGHT,
    mask_to_rotated_rectangle,
    pct_to_px,
    px_to_pct,
    rotated_corners,
    xyxy_to_xywh,
)
from xsam_backend.geometry.masks import Mask
from xsam_backend.geometry.raster import box_to_mask

SIZES = st.tuples(st.integers(1, 20_000), st.integers(1, 20_000))
COORDINATES = st.lists(st.floats(-1e4, 1e4), min_size=4, max_size=4)


def test_examples_of_the_docstrings() -> None:
    np.testing.assert_array_equal(xyxy_to_xywh([1, 2, 4, 6]), [1, 2, 3, 4])
    np.testing.assert_array_equal(px_to_pct([50, 50], (100, 200)), [25, 50])
    np.testing.assert_array_equal(pct_to_px([25, 50, 100, 100], (100, 200)), [50, 50, 200, 100])
    np.testing.assert_allclose(rotated_corners([5, 5, 2, 1], 90), [[5, 5], [5, 7], [4, 7], [4, 5]])


@given(COORDINATES, SIZES)
def test_per_cent_and_back(points: list[float], size_hw: tuple[int, int]) -> None:
    np.testing.assert_allclose(pct_to_px(px_to_pct(points, size_hw), size_hw), points, rtol=1e-12, atol=1e-9)


def test_odd_number_of_coordinates_is_refused() -> None:
    with pytest.raises(ValueError, match="x and y in turn"):
        px_to_pct([1, 2, 3], (10, 10))


def test_rotation_is_clockwise_on_the_screen() -> None:
    # y points down: 90 degrees clockwise turns "along the width" from right to down.
    corners = rotated_corners([0, 0, 10, 4], 90)
    np.testing.assert_allclose(corners[1], [0, 10], atol=1e-12)


@pytest.mark.parametrize(
    ("name", "rectangle"),
    [
        ("one pixel", (1, 1, 1, 1, 0)),
        ("full", (0, 0, 6, 4, 0)),
        ("row, one pixel high", (0, 1, 5, 1, 0)),
        ("column, one pixel wide", (2, 0, 1, 3, 0)),
    ],
)
def test_straight_masks_have_straight_rectangles(name: str, rectangle: tuple[float, ...]) -> None:
    assert mask_to_rotated_rectangle(TRICKY[name]) == pytest.approx(rectangle, abs=1e-3)


@given(st.floats(-44, 44), st.floats(25, 60), st.floats(25, 60))
def test_turned_rectangle_is_found_again(rotation: float, width: float, height: float) -> None:
    drawn = box_to_mask(70, 60, width, height, (200, 200), rotation)
    x, y, found_width, found_height, found_rotation = mask_to_rotated_rectangle(drawn)
    found = box_to_mask(x, y, found_width, found_height, drawn.shape, found_rotation)
    # Stairs of one pixel along each side widen it a little; nothing of the mask is lost.
    assert np.count_nonzero(drawn & ~found) == 0
    assert drawn.sum() / found.sum() > 0.85 / STRAIGHT
    assert -45 < found_rotation <= 45


@pytest.mark.parametrize("radius", [20, 24, 90])
def test_round_masks_have_straight_rectangles(radius: int) -> None:
    ys, xs = np.mgrid[:200, :200]
    disc = (xs - 95) ** 2 + (ys - 100) ** 2 <= radius**2
    side = 2 * radius + 1
    assert mask_to_rotated_rectangle(disc) == (95 - radius, 100 - radius, side, side, 0)


@given(masks())
def test_rectangle_holds_every_pixel(mask: Mask) -> None:
    if not mask.any():
        with pytest.raises(ValueError, match="empty"):
            mask_to_rotated_rectangle(mask)
        return
    x, y, width, height, rotation = mask_to_rotated_rectangle(mask)
    rows, columns = np.nonzero(mask)
    angle = np.deg2rad(rotation)
    for dx in (0, 1):
        for dy in (0, 1):
            right, down = columns + dx - x, rows + dy - y
            along = right * np.cos(angle) + down * np.sin(angle)
            across = down * np.cos(angle) - right * np.sin(angle)
            assert along.min() > -1e-2
            assert along.max() < width + 1e-2
            assert across.min() > -1e-2
            assert across.max() < height + 1e-2
