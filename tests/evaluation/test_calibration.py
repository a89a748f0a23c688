"""Reliability curves and ECE against cases worked out by hand; which detections are right, against AP's judgement."""

import math

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from xsam_backend.evaluation.average_precision import COCO_IOU_THRESHOLDS, AveragePrecision
from xsam_backend.evaluation.calibration import (
    Bin,
    expected_calibration_error,
    reliability_curve,
    right_detections,
)
from xsam_backend.instances import Instances


def strip(x0: int, x1: int) -> np.ndarray:
    mask = np.zeros((10, 20), np.bool_)
    mask[:, x0:x1] = True
    return mask


def found(*entries: tuple[np.ndarray, float, str]) -> Instances:
    masks = np.stack([mask for mask, _, _ in entries]) if entries else np.zeros((0, 10, 20), np.bool_)
    scores = np.array([score for _, score, _ in entries], np.float32)
    return Instances.of(masks, scores, tuple(label for _, _, label in entries))


def test_the_curve_by_hand() -> None:
    curve = reliability_curve([0.0, 0.2, 0.25, 0.5, 0.9, 1.0], [False, True, False, True, True, False], bins=4)
    assert [entry.count for entry in curve] == [2, 1, 1, 2], "0.25 and 0.5 are in the bins that they open"
    assert [entry.mean_score for entry in curve] == pytest.approx([0.1, 0.25, 0.5, 0.95])
    assert [entry.share_right for entry in curve] == [0.5, 0.0, 1.0, 0.5]
    expected = (2 * 0.4 + 1 * 0.25 + 1 * 0.5 + 2 * 0.45) / 6
    assert expected_calibration_error(curve) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("scores", "right", "expected"),
    [
        ([0.75] * 4, [True, True, True, False], 0.0),
        ([0.75] * 4, [False] * 4, 0.75),
        ([1.0, 1.0], [True, True], 0.0),
        ([0.05, 0.95], [True, False], 0.95),
    ],
    ids=["three of four at 0.75 are right", "none is", "sure and right", "sure of the wrong ones"],
)
def test_calibration_error_by_hand(scores: list[float], right: list[bool], expected: float) -> None:
    assert expected_calibration_error(reliability_curve(scores, right)) == pytest.approx(expected)


def test_empty_bins_and_no_detections() -> None:
    curve = reliability_curve([], [])
    assert len(curve) == 10
    assert curve[0].count == 0
    assert math.isnan(curve[0].mean_score)
    assert math.isnan(expected_calibration_error(curve))
    assert expected_calibration_error([curve[0], Bin(0.5, 0.6, 1, 0.5, 0.0)]) == 0.5


@pytest.mark.parametrize(
    ("scores", "right", "message"),
    [([0.5], [], "as many outcomes"), ([1.5], [True], "expected 0..1")],
    ids=["counts differ", "no score"],
)
def test_refused(scores: list[float], right: list[bool], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        reliability_curve(scores, right)


A, B = strip(0, 5), strip(10, 15)


@pytest.mark.parametrize(
    ("predicted", "crowd", "scores", "right"),
    [
        (found((A, 0.5, "x"), (B, 0.8, "x")), [False, False], [0.8, 0.5], [True, True]),
        (found((A, 0.5, "x"), (A, 0.8, "x")), [False, False], [0.8, 0.5], [True, False]),
        (found((A, 0.9, "y")), [False, False], [0.9], [False]),
        (found((strip(0, 2), 0.9, "x")), [False, False], [0.9], [False]),
        (found((strip(10, 12), 0.9, "x"), (strip(16, 20), 0.4, "x")), [False, True], [0.4], [False]),
        (found(), [False, False], [], []),
    ],
    ids=[
        "surest first",
        "twice the same: the surer one is right",
        "another label",
        "IoU 0.4",
        "inside a crowd it is left out, outside it is wrong",
        "nothing found",
    ],
)
def test_right_detections(predicted: Instances, crowd: list[bool], scores: list[float], right: list[bool]) -> None:
    got_scores, got_right = right_detections(predicted, np.stack([A, B]), ["x", "x"], np.array(crowd))
    assert got_scores.tolist() == pytest.approx(scores)
    assert got_right.tolist() == right


def test_without_any_truth_all_are_wrong() -> None:
    scores, right = right_detections(found((A, 0.9, "x")), np.zeros((0, 10, 20), np.bool_), [])
    assert scores.tolist() == pytest.approx([0.9])
    assert right.tolist() == [False]


@given(st.integers(0, 10**6))
@example(5471).via("equal overlaps go to the last instance")
def test_as_many_are_right_as_average_recall_counts(seed: int) -> None:
    """Of one picture and label, AR is the share of targets hit, mean over the thresholds."""
    rng = np.random.default_rng(seed)
    true = np.stack([strip(x, x + int(rng.integers(2, 6))) for x in rng.integers(0, 15, 4)])
    guesses = [np.roll(mask, int(rng.integers(-2, 3)), 1) for mask in true for _ in range(int(rng.integers(0, 3)))]
    predicted = found(*((mask, float(rng.random()), "x") for mask in guesses))
    crowd = np.array([False, False, False, rng.random() < 0.3])
    measure = AveragePrecision()
    measure.add(predicted, true, ["x"] * 4, crowd)
    shares = [
        right_detections(predicted, true, ["x"] * 4, crowd, threshold)[1].sum() / (~crowd).sum()
        for threshold in COCO_IOU_THRESHOLDS
    ]
    assert np.mean(shares) == pytest.approx(measure.recall())
