"""Semantic IoU against cases worked out by hand, and against a confusion matrix of pixels."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xsam_backend.evaluation.semantic import SemanticIoU
from xsam_backend.instances import Instances

SIZE_HW = (10, 20)
LABELS = ("cat", "sky", "grass")

Strip = tuple[int, int, str]


def strips(entries: list[Strip]) -> np.ndarray:
    masks = np.zeros((len(entries), *SIZE_HW), np.bool_)
    for mask, (x0, x1, _) in zip(masks, entries, strict=True):
        mask[:, x0:x1] = True
    return masks


def measured(*pictures: tuple[list[Strip], list[Strip]]) -> SemanticIoU:
    measure = SemanticIoU(LABELS)
    for predicted, true in pictures:
        answer = Instances.of(
            strips(predicted), np.ones(len(predicted), np.float32), tuple(label for _, _, label in predicted)
        )
        measure.add(answer, strips(true), [label for _, _, label in true])
    return measure


@pytest.mark.parametrize(
    ("predicted", "true", "expected"),
    [
        ([(0, 8, "cat"), (8, 20, "sky")], [(0, 10, "cat"), (10, 20, "sky")], {"cat": 8 / 10, "sky": 10 / 12}),
        ([(0, 4, "cat"), (6, 10, "cat")], [(0, 5, "cat"), (5, 10, "cat")], {"cat": 8 / 10}),
        ([(0, 20, "cat")], [(0, 10, "cat")], {"cat": 1.0}),
        ([(0, 10, "cat"), (10, 20, "sky")], [(0, 10, "cat")], {"cat": 1.0}),
        ([(0, 5, "cat"), (5, 10, "sky")], [(0, 10, "cat")], {"cat": 5 / 10, "sky": 0.0}),
        ([(0, 5, "cat")], [(0, 10, "cat")], {"cat": 5 / 10}),
        ([], [(0, 10, "cat")], {"cat": 0.0}),
        ([(0, 5, "cat")], [], {}),
    ],
    ids=[
        "80 of 100 px, 100 of 120 px",
        "objects of one label are one area",
        "what lies on unlabelled pixels is ignored",
        "a label on unlabelled pixels only is nowhere",
        "a wrong label costs both",
        "labelled pixels without a prediction cost the true label",
        "nothing predicted",
        "nothing labelled",
    ],
)
def test_one_picture(predicted: list[Strip], true: list[Strip], expected: dict[str, float]) -> None:
    measure = measured((predicted, true))
    assert measure.per_label() == pytest.approx(expected)
    if expected:
        assert measure.mean() == pytest.approx(sum(expected.values()) / len(expected))
    else:
        assert math.isnan(measure.mean())


def test_pixels_are_added_up_over_pictures() -> None:
    measure = measured(([(0, 8, "cat")], [(0, 10, "cat")]), ([(0, 1, "cat")], [(0, 2, "cat")]))
    assert len(measure) == 2
    assert measure.mean() == pytest.approx((80 + 10) / (100 + 20)), "not (0.8 + 0.5) / 2"
    assert measure.mean(np.array([1])) == pytest.approx(0.5)
    assert measure.mean(np.array([0, 1, 1])) == pytest.approx((80 + 20) / (100 + 40))


def test_labels_not_asked_for_are_refused() -> None:
    with pytest.raises(ValueError, match=r"got \['bird'\]"):
        measured(([(0, 5, "bird")], [(0, 5, "cat")]))


def test_no_pictures_have_no_measure() -> None:
    assert math.isnan(SemanticIoU(LABELS).mean())


@given(st.integers(0, 10**6))
def test_agrees_with_a_confusion_matrix(seed: int) -> None:
    """Maps of labels, 0 is nothing: IoU = diagonal / (row + column - diagonal), over labelled pixels."""
    rng = np.random.default_rng(seed)
    measure = SemanticIoU(LABELS)
    confusion = np.zeros((4, 4), np.int64)
    for _ in range(3):
        true, predicted = rng.integers(0, 4, (2, *SIZE_HW))
        np.add.at(confusion, (true[true > 0], predicted[true > 0]), 1)
        answer = Instances.of(np.stack([predicted == i for i in (1, 2, 3)]), np.ones(3, np.float32), LABELS)
        measure.add(answer, np.stack([true == i for i in (1, 2, 3)]), LABELS)
    right = np.diag(confusion)
    expected = right / (confusion.sum(0) + confusion.sum(1) - right)
    assert measure.per_label() == pytest.approx(dict(zip(LABELS, expected[1:], strict=True)))
