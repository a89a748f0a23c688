from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from shapes import TRICKY, from_text, masks

from xsam_backend.geometry.masks import Mask
from xsam_backend.geometry.runs import mask_to_runs, runs_to_mask


@pytest.mark.parametrize(
    ("mask", "by_rows", "by_columns", "reason"),
    [
        (from_text(".##", "#.."), [1, 3, 2], [1, 2, 1, 1, 1], "a run goes on in the next row"),
        (from_text("#.", ".."), [0, 1, 3], [0, 1, 3], "zeros come first, none of them here"),
        (from_text("..", ".#"), [3, 1], [3, 1], "nothing behind the last run"),
        (from_text("...", ".#.", "..."), [4, 1, 4], [4, 1, 4], "away from every rim"),
        (TRICKY["empty"], [24], [24], "zeros alone"),
        (TRICKY["full"], [0, 24], [0, 24], "no zeros at all"),
    ],
)
def test_lengths(mask: Mask, by_rows: list[int], by_columns: list[int], reason: str) -> None:
    assert mask_to_runs(mask).tolist() == by_rows, reason
    assert mask_to_runs(mask, by_columns=True).tolist() == by_columns, reason


@given(masks(), st.booleans())
def test_any_mask_survives(mask: Mask, by_columns: bool) -> None:
    runs = mask_to_runs(mask, by_columns)
    assert (runs[1:] > 0).all()
    np.testing.assert_array_equal(runs_to_mask(runs, mask.shape, by_columns), mask)


@given(masks(), st.booleans())
def test_views_are_masks_too(mask: Mask, by_columns: bool) -> None:
    np.testing.assert_array_equal(mask_to_runs(mask.T, by_columns), mask_to_runs(mask, not by_columns))
    part = mask[::2, 1:]
    if part.size:
        np.testing.assert_array_equal(mask_to_runs(part, by_columns), mask_to_runs(part.copy(), by_columns))
