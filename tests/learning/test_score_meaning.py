"""A version's calibration, and what is said of it: measured where it wasn't fitted, nothing from nothing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from xsam_backend.learning.exam import QUESTIONS, Found, Marks
from xsam_backend.learning.score_meaning import ScoreMeaning, score_meanings
from xsam_backend.model.score_calibration import Calibration
from xsam_backend.prompts import Task


def by_label(found: Found) -> dict[str, Found]:
    return {"labels": found, "alike": Found()}


def score_meaning(exams: Sequence[Marks], before: Calibration | None = None) -> ScoreMeaning | None:
    """Of what was found by label, where nothing was found like examples."""
    meanings = score_meanings(exams, {} if before is None else {Task.GENERIC: before})
    assert set(meanings) <= {Task.GENERIC}
    return meanings.get(Task.GENERIC)


def exam(pictures: int, each: int, power: float = 3.0, seed: int = 0, *, knows: bool = True) -> Marks:
    """Things found are right with the probability score ** power; a picture's mark is the share that was right, or
    (``knows`` False) has nothing to do with it. Some pictures are harder than others."""
    rng = np.random.default_rng(seed)
    ease = np.repeat(rng.uniform(-0.25, 0.25, pictures), each)
    scores = np.clip(rng.uniform(0.3, 0.9, pictures * each) + ease, 0.05, 0.99)
    right = rng.random(len(scores)) < scores**power
    shares = right.reshape(pictures, each).mean(1) if knows else rng.random(pictures)
    marks = {question: np.full(pictures, np.nan) for question in QUESTIONS} | {"labels": shares}
    return Marks(marks, by_label(Found(scores, right, np.repeat(np.arange(pictures), each))))


EMPTY = Marks({question: np.zeros(3) for question in QUESTIONS})


@pytest.mark.parametrize("folds", [1, 4])
def test_scores_that_were_too_sure_mean_something_afterwards(folds: int) -> None:
    exams = [exam(40 // folds, 10, seed=number) for number in range(folds)]
    meaning = score_meaning(exams)
    assert meaning is not None
    assert meaning.found == 400
    assert meaning.right == sum(int(one.found["labels"].right.sum()) for one in exams)
    assert meaning.error_before > 0.15
    assert meaning.error_after < meaning.error_before / 3
    assert meaning.calibration != Calibration()


def test_what_is_told_was_not_fitted_on() -> None:
    """In every fifth picture all is right, in the others nothing: those foretell these wrongly, whatever the fold."""
    pictures = np.repeat(np.arange(10), 20)
    right = pictures % 5 == 0
    marks = {question: np.full(10, np.nan) for question in QUESTIONS}
    folds = [Marks(marks, by_label(Found(np.full(200, 0.6), right, pictures))) for _ in range(2)]
    meaning = score_meaning(folds)
    assert meaning is not None
    assert float(meaning.calibration(np.array([0.6], np.float32))[0]) == pytest.approx(0.2, abs=0.02)
    assert meaning.error_after > 0.3


def test_folds_of_unlike_candidates_are_sorted_by_the_versions_own_calibration() -> None:
    """Fitted on one fold and told of the other, the better candidate's pictures would seem the worse ones."""
    good, poor = exam(20, 10, power=0.8, seed=3), exam(20, 10, power=3.0, seed=4)
    meaning = score_meaning([good, poor])
    assert meaning is not None
    assert meaning.sorting > 0.2


def test_sorting_shows_the_worst_first_where_the_scores_know() -> None:
    knowing, guessing = (score_meaning([exam(60, 6, seed=2, knows=knows)]) for knows in (True, False))
    assert knowing is not None
    assert guessing is not None
    assert knowing.sorting > 0.4
    assert abs(guessing.sorting) < 0.3


def test_a_picture_where_nothing_was_found_comes_first() -> None:
    """As in Label Studio: its prediction has the score 0."""
    marks = {question: np.full(20, np.nan) for question in QUESTIONS} | {"labels": np.ones(20)}
    marks["labels"][:10] = 0
    found = Found(np.linspace(0.5, 0.9, 10), np.ones(10, np.bool_), np.arange(10, 20))
    meaning = score_meaning([Marks(marks, by_label(found))])
    assert meaning is not None
    assert meaning.sorting > 0.8


def test_no_order_is_told_of_few_pictures() -> None:
    few = score_meaning([exam(19, 10)])
    assert few is not None
    assert np.isnan(few.sorting)


def test_nothing_is_made_of_nothing() -> None:
    assert score_meaning([EMPTY]) is None
    assert score_meaning([]) is None
    before = Calibration(1.5, -0.5)
    kept = score_meaning([EMPTY], before)
    assert kept is not None
    assert kept.calibration == before, "nothing speaks against what was known"
    assert np.isnan([kept.error_before, kept.error_after, kept.sorting]).all()


def test_few_things_found_change_what_was_known_by_little() -> None:
    before = Calibration(1.5, -0.5)
    few, many = (score_meaning([exam(1, count, power=0.2)], before) for count in (2, 400))
    assert few is not None
    assert many is not None
    assert abs(few.calibration.offset - before.offset) < 0.5
    assert many.calibration.offset > before.offset + 1.0


def test_each_search_has_a_meaning_of_its_own() -> None:
    sure, unsure = exam(40, 10, power=0.2).found["labels"], exam(40, 10, power=4.0).found["labels"]
    marks = {question: np.full(40, np.nan) for question in QUESTIONS}
    meanings = score_meanings([Marks(marks, {"labels": sure, "alike": unsure})], {})
    assert set(meanings) == {Task.GENERIC, Task.VGD}
    half = np.array([0.5], np.float32)
    assert meanings[Task.GENERIC].calibration(half) > 0.6
    assert meanings[Task.VGD].calibration(half) < 0.3
    assert meanings[Task.VGD].right == unsure.right.sum()
