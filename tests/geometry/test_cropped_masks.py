"""Cropped masks are the masks that they were made of, and count as they do."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from shapes import TRICKY, masks

from xsam_backend.geometry.cropped_masks import CroppedMask, stacked
from xsam_backend.geometry.masks import Mask, mask_to_box_xyxy


@given(masks())
def test_a_mask_is_given_back(mask: Mask) -> None:
    cropped = CroppedMask.of(mask)
    np.testing.assert_array_equal(cropped.whole(), mask)
    assert cropped.box_xyxy == mask_to_box_xyxy(mask)
    assert cropped.area_px == mask.sum()
    assert cropped.crop.size <= mask.size


@given(masks(), masks(), st.integers(0, 5), st.integers(0, 5))
def test_pixels_that_two_share(first: Mask, second: Mask, right: int, down: int) -> None:
    size_hw = (max(first.shape[0], second.shape[0]) + 5, max(first.shape[1], second.shape[1]) + 5)
    one = CroppedMask.of(first, size_hw=size_hw)
    other = CroppedMask.of(second).moved(right, down, size_hw)
    expected = np.zeros(size_hw, np.bool_)
    expected[down : down + second.shape[0], right : right + second.shape[1]] = second
    np.testing.assert_array_equal(other.whole(), expected)
    assert one.shared_px(other) == other.shared_px(one) == np.count_nonzero(one.whole() & expected)


@given(masks(max_side=12), masks(max_side=12))
def test_joined_has_the_pixels_of_both(first: Mask, second: Mask) -> None:
    size_hw = (max(first.shape[0], second.shape[0]), max(first.shape[1], second.shape[1]))
    one, other = (CroppedMask.of(mask, size_hw=size_hw) for mask in (first, second))
    both = one.joined(other)
    np.testing.assert_array_equal(both.whole(), one.whole() | other.whole())
    assert both.box_xyxy == mask_to_box_xyxy(both.whole())


@given(masks(max_side=12), st.tuples(st.integers(1, 30), st.integers(1, 30)))
def test_resized_takes_the_nearest_pixel(mask: Mask, size_hw: tuple[int, int]) -> None:
    rows, columns = (
        (2 * np.arange(side) + 1) * drawn // (2 * side) for side, drawn in zip(size_hw, mask.shape, strict=True)
    )
    resized = CroppedMask.of(mask).resized(size_hw)
    np.testing.assert_array_equal(resized.whole(), mask[rows][:, columns])
    assert resized.box_xyxy == mask_to_box_xyxy(resized.whole())


def test_a_crop_is_no_view_that_keeps_a_large_mask_in_memory() -> None:
    mask = np.zeros((100, 100), np.bool_)
    mask[3:5, 7:9] = True
    crop = CroppedMask.of(mask).crop
    assert crop.base is None
    mask[:] = False
    assert crop.all()


def test_a_part_of_a_picture() -> None:
    part = np.array([[False, True], [False, False]])
    cropped = CroppedMask.of(part, (4, 2), (9, 8))
    assert cropped.box_xyxy == (5, 2, 6, 3)
    assert np.argwhere(cropped.whole()).tolist() == [[2, 5]]


@pytest.mark.parametrize("names", [[], ["one pixel"], ["one pixel", "empty"]])
def test_stacked(names: list[str]) -> None:
    size_hw = (40, 50)
    parts = [CroppedMask.of(TRICKY[name], (3, 1), size_hw) if name in TRICKY else _empty(size_hw) for name in names]
    assert stacked(parts, size_hw).shape == (len(names), 40, 50)
    assert stacked(parts, size_hw).sum((1, 2)).tolist() == [part.area_px for part in parts]


def _empty(size_hw: tuple[int, int]) -> CroppedMask:
    return CroppedMask.of(np.zeros(size_hw, np.bool_))
