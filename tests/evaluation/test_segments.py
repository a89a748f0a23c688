"""Two lists of masks side by side: every pair's IoU, and lists that do not fit."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xsam_backend.evaluation.segments import best_first_pairs, check_truth, pairwise_ious
from xsam_backend.geometry.masks import mask_iou


def strip(x0: int, x1: int) -> np.ndarray:
    mask = np.zeros((10, 20), np.bool_)
    mask[:, x0:x1] = True
    return mask


def test_ious_by_hand() -> None:
    found = np.stack([strip(0, 10), strip(5, 15), strip(3, 3)])
    true = np.stack([strip(0, 10), strip(0, 20), strip(16, 20)])
    expected = [[1, 100 / 200, 0], [50 / 150, 100 / 200, 0], [0, 0, 0]]
    assert np.allclose(pairwise_ious(found, true), expected)
    # For a crowd: the share of the found mask that lies inside, 50 of 100 px.
    crowd = np.array([True, False, False])
    assert np.allclose(pairwise_ious(found, true, crowd)[:2], [[1, 0.5, 0], [0.5, 0.5, 0]])


@given(st.integers(0, 10**6), st.integers(0, 4), st.integers(0, 4))
def test_ious_agree_with_the_pixels(seed: int, found_count: int, true_count: int) -> None:
    rng = np.random.default_rng(seed)
    found, true = (rng.random((count, 6, 9)) < rng.random() for count in (found_count, true_count))
    ious = pairwise_ious(found, true)
    assert ious.shape == (found_count, true_count)
    for i, first in enumerate(found):
        for j, second in enumerate(true):
            expected = mask_iou(first, second) if first.any() or second.any() else 0
            assert ious[i, j] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("ious", "least", "expected"),
    [
        ([[0.9, 0.8], [0.7, 0.1]], 0.0, [(0, 0), (1, 1)]),
        ([[0.9, 0.8], [0.7, 0.1]], 0.5, [(0, 0)]),
        ([[0.6, 0.7], [0.6, 0.8]], 0.0, [(1, 1), (0, 0)]),
        ([[0.5, 0.5], [0.5, 0.5]], 0.0, [(0, 0), (1, 1)]),
        ([[0.5] * 9] * 9, 0.0, [(i, i) for i in range(9)]),
        ([[0.3, 0.4, 0.2]], 0.0, [(0, 1)]),
    ],
    ids=[
        "the best pair first",
        "what is not admissible stays free",
        "by IoU, not by row",
        "ties",
        "many ties",
        "one for three",
    ],
)
def test_pairs(ious: list[list[float]], least: float, expected: list[tuple[int, int]]) -> None:
    matrix = np.array(ious)
    assert best_first_pairs(matrix, matrix > least) == expected


def test_no_pairs_of_nothing() -> None:
    assert best_first_pairs(np.zeros((0, 3)), np.zeros((0, 3), np.bool_)) == []


@pytest.mark.parametrize(
    ("size_hw", "labels", "crowd"),
    [((10, 20), 2, 1), ((10, 20), 1, 2), ((10, 19), 1, 1)],
    ids=["more labels than masks", "more crowd flags than masks", "masks of another size"],
)
def test_lists_that_do_not_fit(size_hw: tuple[int, int], labels: int, crowd: int) -> None:
    with pytest.raises(ValueError, match="as many labels as masks"):
        check_truth(size_hw, strip(0, 5)[None], ["x"] * labels, np.zeros(crowd, np.bool_))


def test_no_crowd_flags_mean_no_crowd() -> None:
    assert check_truth((10, 20), strip(0, 5)[None], ["x"]).tolist() == [False]
