"""Boundary F-scores against cases worked out by hand, and the ellipse that they are held against."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xsam_backend.evaluation.boundaries import boundary, boundary_f_score, inscribed_ellipse
from xsam_backend.geometry.masks import Mask, mask_iou, mask_to_box_xyxy

SIZE_HW = (60, 80)
"""The diagonal is 100 px: 0.75 % are less than a pixel, so the tolerance is one pixel."""


def block(y0: int, y1: int, x0: int, x1: int, size_hw: tuple[int, int] = SIZE_HW) -> Mask:
    mask = np.zeros(size_hw, np.bool_)
    mask[y0:y1, x0:x1] = True
    return mask


SQUARE = block(20, 30, 30, 40)
"""10 x 10 px: 36 of them are its boundary."""


@pytest.mark.parametrize(
    ("predicted", "truth", "expected"),
    [
        (SQUARE, SQUARE, 1.0),
        (block(20, 30, 31, 41), SQUARE, 1.0),
        (block(20, 30, 32, 42), SQUARE, 20 / 36),
        (block(0, 10, 0, 10), SQUARE, 0.0),
        (block(0, 0, 0, 0), SQUARE, 0.0),
        (SQUARE, block(0, 0, 0, 0), 0.0),
        (block(0, 0, 0, 0), block(0, 0, 0, 0), 1.0),
        (SQUARE | block(0, 1, 0, 4), SQUARE, 2 * 0.9 / 1.9),
        (SQUARE, SQUARE | block(0, 1, 0, 4), 2 * 0.9 / 1.9),
        (block(0, 60, 0, 40), block(0, 60, 0, 41), 1.0),
        (block(0, 60, 0, 80), block(0, 0, 0, 0), 1.0),
    ],
    ids=[
        "equal",
        "one pixel off is within the tolerance",
        "two off: of the top and bottom rows 9 px each are right, of the inner side the 2 px beside them",
        "elsewhere",
        "nothing predicted",
        "nothing there",
        "rightly nothing",
        "4 px of 40 are invented: precision 0.9",
        "4 px of 40 are missed: recall 0.9",
        "the picture's edges are no boundary: only the columns 39 and 40 are compared",
        "a full picture has no boundary",
    ],
)
def test_by_hand(predicted: Mask, truth: Mask, expected: float) -> None:
    assert boundary_f_score(predicted, truth) == pytest.approx(expected)


def test_boundaries_by_hand() -> None:
    assert boundary(SQUARE).sum() == 36
    assert boundary(block(0, 60, 0, 40)).sum() == 60, "the column 39; not the picture's edge"
    assert boundary(block(5, 6, 5, 6)).sum() == 1
    hole = SQUARE & ~block(24, 26, 34, 36)
    assert boundary(hole).sum() == 36 + 8, "and the 8 px beside the hole; those at its corners touch it at a point"


def test_the_tolerance_grows_with_the_picture() -> None:
    """A diagonal of 1,000 px allows 7.5 px: 7 px off are right, 8 px off are wrong along the shifted sides."""
    size_hw = (600, 800)
    truth = block(200, 400, 300, 500, size_hw)
    assert boundary_f_score(block(200, 400, 307, 507, size_hw), truth) == 1
    assert boundary_f_score(block(200, 400, 308, 508, size_hw), truth) < 0.75
    assert boundary_f_score(block(200, 400, 308, 508, size_hw), truth, tolerance_share=0.008) == 1


@given(st.integers(0, 10**6))
def test_agrees_with_all_distances_between_boundaries(seed: int) -> None:
    """The definition with every pair of pixels, on masks anywhere, also at the picture's edges."""
    rng = np.random.default_rng(seed)
    masks = []
    for _ in range(2):
        y, x = (int(value) for value in rng.integers(0, (50, 70)))
        masks.append(block(y, y + int(rng.integers(1, 25)), x, x + int(rng.integers(1, 25))))
    first, second = (np.argwhere(boundary(mask)) for mask in masks)
    if not len(first) or not len(second):
        return
    near = np.hypot(*(first[:, None] - second[None]).transpose(2, 0, 1)) <= 3.0
    precision, recall = near.any(1).mean(), near.any(0).mean()
    expected = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
    assert boundary_f_score(*masks, tolerance_share=0.03) == pytest.approx(expected)


def test_sizes_that_differ_are_refused() -> None:
    with pytest.raises(ValueError, match="one size"):
        boundary_f_score(SQUARE, block(0, 1, 0, 1, (60, 81)))


@given(st.integers(0, 10**6))
def test_between_0_and_1_and_the_same_both_ways(seed: int) -> None:
    rng = np.random.default_rng(seed)
    first, second = (rng.random((20, 30)) < rng.random() for _ in range(2))
    score = boundary_f_score(first, second)
    assert 0 <= score <= 1
    assert score == pytest.approx(boundary_f_score(second, first))
    assert boundary_f_score(first, first) == 1


def test_the_ellipse_fills_its_box_and_no_more() -> None:
    mask = block(10, 31, 20, 61)
    ellipse = inscribed_ellipse(mask)
    assert mask_to_box_xyxy(ellipse) == mask_to_box_xyxy(mask)
    assert mask_iou(ellipse, mask) == pytest.approx(np.pi / 4, abs=0.02), "an ellipse has pi / 4 of its box"


def test_an_ellipse_is_a_poor_outline_of_a_rectangle_and_a_good_one_of_itself() -> None:
    mask = block(100, 300, 150, 350, (400, 500))
    ellipse = inscribed_ellipse(mask)
    assert boundary_f_score(ellipse, mask) < 0.5
    assert boundary_f_score(inscribed_ellipse(ellipse), ellipse) == 1


def test_an_empty_mask_has_no_ellipse() -> None:
    with pytest.raises(ValueError, match="no box"):
        inscribed_ellipse(block(0, 0, 0, 0))
