"""Refusals against cases worked out by hand, and the rule for the threshold against trying them all."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xsam_backend.evaluation.overlaps import Overlap
from xsam_backend.evaluation.refusals import ScoredOverlap, refusal_curve, refusals_at, threshold_refusing_at_most

ANSWERS = [
    ScoredOverlap(0.9, Overlap(100, 100, 100)),  # present, IoU 1
    ScoredOverlap(0.6, Overlap(40, 60, 80)),  # present, 40 of 100 px
    ScoredOverlap(0.3, Overlap(0, 50, 70)),  # present, the wrong place: union 120 px
    ScoredOverlap(0.7, Overlap(0, 30, 0)),  # absent, 30 px
    ScoredOverlap(0.2, Overlap(0, 20, 0)),  # absent, 20 px
]


@pytest.mark.parametrize(
    ("threshold", "g_iou", "c_iou", "n_acc", "t_acc"),
    [
        (0.0, (1 + 0.4) / 5, 140 / (100 + 100 + 120 + 30 + 20), 0, 1),
        (0.3, (1 + 0.4 + 1) / 5, 140 / (100 + 100 + 120 + 30), 1 / 2, 1),
        (0.31, (1 + 0.4 + 1) / 5, 140 / (100 + 100 + 70 + 30), 1 / 2, 2 / 3),
        (0.65, (1 + 1) / 5, 100 / (100 + 80 + 70 + 30), 1 / 2, 1 / 3),
        (0.8, (1 + 2) / 5, 100 / (100 + 80 + 70), 1, 1 / 3),
        (1.0, 2 / 5, 0, 1, 0),
    ],
    ids=[
        "nothing is refused",
        "a score at the threshold is kept; the surest refusal is right",
        "the wrong place is refused: its union shrinks to the target",
        "a good answer is refused, the false alarm not yet",
        "all absent ones are refused",
        "everything is refused: gIoU is the share of absent ones",
    ],
)
def test_by_hand(threshold: float, g_iou: float, c_iou: float, n_acc: float, t_acc: float) -> None:
    point = refusals_at(ANSWERS, threshold)
    assert point.threshold == threshold
    assert point.g_iou == pytest.approx(g_iou)
    assert point.c_iou == pytest.approx(c_iou)
    assert point.no_target_accuracy == pytest.approx(n_acc)
    assert point.target_accuracy == pytest.approx(t_acc)


def test_the_curve_has_a_point_per_threshold() -> None:
    curve = refusal_curve(ANSWERS)
    assert [point.threshold for point in curve[:2]] == [0.0, 0.01]
    assert curve[-1].threshold == 1.0
    assert curve[80] == refusals_at(ANSWERS, 0.8)
    assert refusal_curve(ANSWERS, (0.5,)) == [refusals_at(ANSWERS, 0.5)]


def test_kinds_that_are_missing_have_no_measure() -> None:
    assert math.isnan(refusals_at(ANSWERS[:3], 0.5).no_target_accuracy)
    assert math.isnan(refusals_at(ANSWERS[3:], 0.5).target_accuracy)
    assert refusals_at(ANSWERS[3:], 0.5).c_iou == 0
    assert math.isnan(refusals_at([], 0.5).g_iou)


def present(*scores: float) -> list[ScoredOverlap]:
    return [ScoredOverlap(score, Overlap(5, 10, 10)) for score in scores]


@pytest.mark.parametrize(
    ("answers", "share", "expected"),
    [
        (present(0.9, 0.1, 0.5, 0.3), 0.0, 0.1),
        (present(0.9, 0.1, 0.5, 0.3), 0.25, 0.3),
        (present(0.9, 0.1, 0.5, 0.3), 0.49, 0.3),
        (present(0.9, 0.1, 0.5, 0.3), 0.5, 0.5),
        (present(0.9, 0.4, 0.4, 0.4), 0.25, 0.4),
        (present(*(i / 100 for i in range(30))), 0.1, 0.03),
        (present(*(i / 100 for i in range(100))), 0.29, 0.29),
        ([*present(0.9, 0.8, 0.7), ScoredOverlap(0.95, Overlap(0, 0, 10))], 0.25, 0.7),
        ([*present(0.9, 0.8, 0.7), ScoredOverlap(0.95, Overlap(0, 0, 10))], 0.2, 0.0),
        ([*present(0.9, 0.8), ScoredOverlap(0.99, Overlap(0, 10, 0))], 0.0, 0.8),
    ],
    ids=[
        "none may go: the lowest score",
        "one of four may go",
        "a share below two of four is one of four",
        "two of four may go",
        "equal scores go together or not at all",
        "a tenth of 30 is three",
        "29 % of 100 are 29, although the product is a little less",
        "an empty mask is refused at any threshold: it is the one that may go",
        "where none may go but one is empty, the threshold can't help",
        "absent ones don't matter",
    ],
)
def test_the_threshold_by_hand(answers: list[ScoredOverlap], share: float, expected: float) -> None:
    assert threshold_refusing_at_most(answers, share) == expected


@given(
    st.lists(st.tuples(st.integers(0, 10), st.booleans()), min_size=1, max_size=30),
    st.integers(0, 9),
)
def test_the_threshold_is_the_highest_that_keeps_enough(entries: list[tuple[int, bool]], tenths: int) -> None:
    answers = present(0.5) + [ScoredOverlap(s / 10, Overlap(0, 5, 7 if there else 0)) for s, there in entries]
    chosen = threshold_refusing_at_most(answers, tenths / 10)
    allowed = [
        step / 10 for step in range(11) if (1 - refusals_at(answers, step / 10).target_accuracy) <= tenths / 10 + 1e-9
    ]
    assert chosen == max(allowed)


@pytest.mark.parametrize("share", [-0.1, 1.0])
def test_impossible_shares_are_refused(share: float) -> None:
    with pytest.raises(ValueError, match="expected 0 <= share < 1"):
        threshold_refusing_at_most(ANSWERS, share)


def test_without_present_objects_there_is_no_threshold() -> None:
    with pytest.raises(ValueError, match="at least one answer about a present object"):
        threshold_refusing_at_most(ANSWERS[3:], 0.1)
