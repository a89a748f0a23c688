"""The simulated annotator against answers whose course is known, and the numbers made of traces by hand."""

import numpy as np
import pytest

from xsam_backend.evaluation.correction import (
    clicks_needed,
    corrected,
    mean_iou_by_clicks,
)
from xsam_backend.geometry.masks import Mask
from xsam_backend.prompts import Point


def block(y0: int, y1: int, x0: int, x1: int) -> Mask:
    mask = np.zeros((60, 80), np.bool_)
    mask[y0:y1, x0:x1] = True
    return mask


TRUTH = block(10, 31, 20, 61)
"""21 x 41 px, its centre is (40.5, 20.5)."""


class Scripted:
    """Answers the k-th question with the k-th mask, the last one for ever, and keeps what was asked."""

    def __init__(self, *masks: Mask) -> None:
        self.masks = masks
        self.asked: list[tuple[Point, ...]] = []

    def __call__(self, clicks: tuple[Point, ...]) -> Mask:
        self.asked.append(clicks)
        return self.masks[min(len(self.asked), len(self.masks)) - 1]


def test_clicks_follow_the_largest_error() -> None:
    left_half = block(10, 31, 20, 41)  # 20 columns are missing on the right
    too_much = TRUTH | block(31, 50, 20, 61)  # 19 rows too many below
    answer = Scripted(left_half, too_much, TRUTH)
    trace = corrected(answer, TRUTH)
    assert trace == pytest.approx([21 / 41, 21 / 40, 1.0])
    first, second, third = answer.asked[-1]
    assert first == Point(40.5, 20.5)
    assert second.positive
    assert (abs(second.x_px - 50.5) <= 1, abs(second.y_px - 20.5) <= 1) == (True, True)
    assert not third.positive
    assert (abs(third.x_px - 40.5) <= 11, abs(third.y_px - 40.5) <= 1) == (True, True)
    assert [len(clicks) for clicks in answer.asked] == [1, 2, 3]


@pytest.mark.parametrize(
    ("most_clicks", "content_iou", "length"),
    [(20, 0.9, 3), (20, 0.5, 1), (20, 21 / 41, 1), (2, 0.9, 2), (20, 1.0, 4)],
    ids=["until 0.9 is reached", "0.51 is enough", "exactly reached", "two clicks at most", "until all is right"],
)
def test_when_the_annotator_stops(most_clicks: int, content_iou: float, length: int) -> None:
    answer = Scripted(block(10, 31, 20, 41), block(10, 31, 20, 51), block(10, 31, 20, 60), TRUTH)
    assert len(corrected(answer, TRUTH, most_clicks, content_iou)) == length


def test_a_model_that_does_not_listen_gets_all_clicks_at_different_places() -> None:
    answer = Scripted(block(0, 5, 0, 5))
    trace = corrected(answer, TRUTH)
    assert trace == [0.0] * 20
    assert len(set(answer.asked[-1])) == 20
    assert all(TRUTH[int(click.y_px), int(click.x_px)] == click.positive for click in answer.asked[-1])


def test_where_there_is_nothing_left_to_click_it_ends() -> None:
    pixel = block(10, 11, 10, 11)
    assert corrected(Scripted(np.zeros_like(pixel)), pixel) == [0.0]


def test_an_empty_truth_is_refused() -> None:
    with pytest.raises(ValueError, match="empty"):
        corrected(Scripted(TRUTH), np.zeros_like(TRUTH))


TRACES = [
    [0.5, 0.86, 0.91],  # 85 % after 2, 90 % after 3
    [0.95],  # both at once
    [0.2, 0.3, 0.88, 0.7],  # 85 % after 3, although it is lost again; 90 % never
    [0.1, 0.2, 0.3, 0.4],  # neither
]


def test_numbers_of_clicks() -> None:
    assert [clicks_needed(trace, 0.85) for trace in TRACES] == [2, 1, 3, None]
    assert [clicks_needed(trace, 0.90) for trace in TRACES] == [3, 1, None, None]


def test_iou_by_clicks() -> None:
    expected = [
        (0.5 + 0.95 + 0.2 + 0.1) / 4,
        (0.86 + 0.95 + 0.3 + 0.2) / 4,
        (0.91 + 0.95 + 0.88 + 0.3) / 4,
        (0.91 + 0.95 + 0.7 + 0.4) / 4,
        (0.91 + 0.95 + 0.7 + 0.4) / 4,
    ]
    assert mean_iou_by_clicks(TRACES, most_clicks=5) == pytest.approx(expected)
    assert mean_iou_by_clicks(TRACES, most_clicks=2) == pytest.approx(expected[:2])


def test_no_objects_have_no_numbers() -> None:
    assert np.isnan(mean_iou_by_clicks([], 3)).tolist() == [True] * 3
