"""Overlaps of single answers, against cases worked out by hand."""

import math

import numpy as np
import pytest

from xsam_backend.evaluation.overlaps import (
    Overlap,
    c_iou,
    g_iou,
    no_target_accuracy,
    precision_at,
    target_accuracy,
)

SIZE_HW = (10, 20)


def strip(x0: int, x1: int) -> np.ndarray:
    """bool (10, 20): columns x0 to x1, 10 px each."""
    mask = np.zeros(SIZE_HW, np.bool_)
    mask[:, x0:x1] = True
    return mask


@pytest.mark.parametrize(
    ("predicted", "target", "iou"),
    [
        (strip(0, 10), strip(0, 10), 1.0),
        (strip(0, 10), strip(5, 15), 50 / 150),
        (strip(0, 4), strip(10, 14), 0.0),
        (strip(0, 0), strip(0, 5), 0.0),
        (strip(0, 0), strip(0, 0), 1.0),
        (strip(0, 1), strip(0, 0), 0.0),
    ],
    ids=["equal", "half", "apart", "nothing found", "rightly nothing", "found where nothing is"],
)
def test_iou(predicted: np.ndarray, target: np.ndarray, iou: float) -> None:
    assert Overlap.of(predicted, target).iou == pytest.approx(iou)


def test_phrase_measures_with_absent_objects() -> None:
    overlaps = [
        Overlap.of(strip(0, 10), strip(0, 10)),  # 100 of 100
        Overlap.of(strip(0, 1), strip(0, 2)),  # 10 of 20
        Overlap.of(strip(0, 0), strip(0, 0)),  # absent, and said so
        Overlap.of(strip(0, 4), strip(0, 0)),  # absent, 40 px of false alarm
        Overlap.of(strip(0, 0), strip(5, 8)),  # 30 px, refused although present
    ]
    assert g_iou(overlaps) == pytest.approx((1 + 0.5 + 1 + 0 + 0) / 5)
    assert c_iou(overlaps) == pytest.approx((100 + 10) / (100 + 20 + 40 + 30))
    assert precision_at(overlaps, 0.5) == pytest.approx(2 / 3)
    assert precision_at(overlaps, 0.6) == pytest.approx(1 / 3)
    assert no_target_accuracy(overlaps) == 0.5
    assert target_accuracy(overlaps) == pytest.approx(2 / 3)


def test_no_cases_have_no_measure() -> None:
    assert math.isnan(g_iou([]))
    assert math.isnan(c_iou([Overlap(0, 0, 0)]))
    assert math.isnan(precision_at([Overlap(0, 5, 0)], 0.5))
    assert math.isnan(no_target_accuracy([Overlap(1, 1, 1)]))
    assert math.isnan(target_accuracy([Overlap(0, 5, 0)]))


def test_masks_of_different_size_are_refused() -> None:
    with pytest.raises(ValueError, match="one size"):
        Overlap.of(strip(0, 1), np.zeros((3, 3), np.bool_))
