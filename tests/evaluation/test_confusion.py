"""Confusions of labels, missed and invented objects, against cases worked out by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xsam_backend.evaluation.confusion import NOTHING, Confusion, Mistake
from xsam_backend.instances import Instances

Strip = tuple[int, int, str]


def strips(entries: list[Strip]) -> np.ndarray:
    """bool (N, 10, 20): columns x0 to x1, 10 px each."""
    masks = np.zeros((len(entries), 10, 20), np.bool_)
    for mask, (x0, x1, _) in zip(masks, entries, strict=True):
        mask[:, x0:x1] = True
    return masks


def add(confusion: Confusion, predicted: list[Strip], true: list[Strip], crowd: list[bool] | None = None) -> None:
    answer = Instances.of(
        strips(predicted), np.ones(len(predicted), np.float32), tuple(label for _, _, label in predicted)
    )
    flags = np.array(crowd, np.bool_) if crowd is not None else None
    confusion.add(answer, strips(true), [label for _, _, label in true], flags)


CAT_AND_DOG: list[Strip] = [(0, 10, "cat"), (10, 20, "dog")]


@pytest.mark.parametrize(
    ("predicted", "true", "crowd", "expected"),
    [
        (CAT_AND_DOG, CAT_AND_DOG, None, {("cat", "cat"): 1, ("dog", "dog"): 1}),
        ([(0, 10, "dog"), (10, 20, "cat")], CAT_AND_DOG, None, {("cat", "dog"): 1, ("dog", "cat"): 1}),
        ([(0, 5, "cat")], [(0, 10, "cat")], None, {("cat", "cat"): 1}),
        ([(0, 4, "cat")], [(0, 10, "cat")], None, {(NOTHING, "cat"): 1, ("cat", NOTHING): 1}),
        (
            [(0, 10, "cat"), (0, 9, "dog")],
            [(0, 10, "dog")],
            None,
            {("dog", "cat"): 1, (NOTHING, "dog"): 1},
        ),
        ([(0, 10, "dog"), (0, 10, "cat")], [(0, 10, "cat")], None, {("cat", "dog"): 1, (NOTHING, "cat"): 1}),
        ([(10, 14, "cat"), (0, 4, "dog")], [(10, 20, "dog")], [True], {(NOTHING, "dog"): 1}),
        ([], CAT_AND_DOG, None, {("cat", NOTHING): 1, ("dog", NOTHING): 1}),
        (CAT_AND_DOG, [], None, {(NOTHING, "cat"): 1, (NOTHING, "dog"): 1}),
    ],
    ids=[
        "all right",
        "taken for each other",
        "IoU 0.5 is enough",
        "IoU 0.4: one missed and one invented",
        "the better overlap is paired, whatever its label",
        "of equal ones the first",
        "in a crowd nothing is invented or missed, whatever the label",
        "nothing found",
        "nothing there",
    ],
)
def test_one_picture(
    predicted: list[Strip], true: list[Strip], crowd: list[bool] | None, expected: dict[tuple[str, str], int]
) -> None:
    confusion = Confusion()
    add(confusion, predicted, true, crowd)
    assert dict(confusion.counts) == expected


def test_labels_and_mistakes() -> None:
    confusion = Confusion()
    add(confusion, [(0, 10, "dog")], CAT_AND_DOG)
    add(confusion, [(0, 10, "dog"), (10, 20, "dog")], CAT_AND_DOG)
    assert confusion.labels == ["cat", "dog"]
    assert dict(confusion.counts) == {("cat", "dog"): 2, ("dog", "dog"): 1, ("dog", NOTHING): 1}
    assert confusion.mistakes() == [Mistake("cat", "dog", 2), Mistake("dog", NOTHING, 1)]


def test_nothing_added() -> None:
    assert Confusion().labels == []
    assert Confusion().mistakes() == []


@given(st.integers(0, 10**6))
def test_everything_is_counted_once(seed: int) -> None:
    rng = np.random.default_rng(seed)

    def some() -> list[Strip]:
        starts = rng.integers(0, 16, int(rng.integers(0, 5)))
        return [(int(x), int(x) + int(rng.integers(1, 5)), "ab"[int(rng.integers(2))]) for x in starts]

    predicted, true = some(), some()
    confusion = Confusion()
    add(confusion, predicted, true)
    assert sum(count for (label, _), count in confusion.counts.items() if label != NOTHING) == len(true)
    assert sum(count for (_, label), count in confusion.counts.items() if label != NOTHING) == len(predicted)
