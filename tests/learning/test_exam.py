"""Marks of predictors that know the truth, nothing, or too much."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from knowing_predictor import KnowingPredictor
from measured_pictures import NAMES, SIZE_HW, Given, dataset_of, labelled

from xsam_backend.ground_truth import GroundTruth
from xsam_backend.instances import Answer, Instances
from xsam_backend.learning.exam import QUESTIONS, Found, Marks, sit_exam

EMPTY = labelled(
    1,
    masks=np.zeros((0, *SIZE_HW), np.bool_),
    names=(),
    is_thing=np.zeros(0, np.bool_),
    is_crowd=np.zeros(0, np.bool_),
    referring=(),
    questions=(),
    captions=(),
)


class Says:
    """Answers everything with the same instances."""

    def __init__(self, *labels: str) -> None:
        masks = np.zeros((len(labels), *SIZE_HW), np.bool_)
        masks[:, :4, :4] = True
        self.instances = Instances.of(masks, np.ones(len(labels), np.float32), labels)

    def encode(self, image: Any, *, keeps_looks: bool = False) -> Any:
        return image

    def answer(self, state: Any, prompt: Any) -> Answer:
        return Answer(self.instances)


def marks(predictor: Any, *truths: GroundTruth) -> dict[str, float]:
    dataset = dataset_of([Given(truth) for truth in truths])
    found = sit_exam(predictor, dataset.records, dataset.categories)
    return {question: found.mean(question) for question in QUESTIONS}


def test_whoever_knows_everything_has_full_marks() -> None:
    truth = labelled(0, referring=labelled(0).referring[:1])
    assert marks(KnowingPredictor([truth]), truth) == pytest.approx(dict.fromkeys(QUESTIONS, 1.0))


def test_whoever_knows_nothing_has_none() -> None:
    assert marks(Says(), labelled(0)) == dict.fromkeys(QUESTIONS, 0.0)


def test_nothing_found_where_nothing_is_is_right_and_anything_is_wrong() -> None:
    """Otherwise a candidate could make things up on empty pictures and nobody would count it."""
    quiet, loud = marks(Says(), EMPTY), marks(Says("dog"), EMPTY)
    assert (quiet["labels"], loud["labels"]) == (1.0, 0.0)
    for question in set(QUESTIONS) - {"labels"}:
        assert np.isnan([quiet[question], loud[question]]).all(), f"{question} asks about something that is there"


def test_what_cannot_be_known_is_not_asked() -> None:
    assert np.isnan(marks(Says("dog"), replace(EMPTY, complete_for=frozenset()))["labels"])


@pytest.mark.parametrize("predictor", [Says(), Says("dog"), Says(*NAMES)])
def test_which_questions_a_picture_asks_depends_on_the_truth_alone(predictor: Says) -> None:
    """So that two models are compared on the same pictures."""
    dataset = dataset_of([Given(labelled(0)), Given(EMPTY), Given(replace(EMPTY, complete_for=frozenset()))])
    found = sit_exam(predictor, dataset.records, dataset.categories)
    asked = {question: np.isfinite(found.by_question[question]).tolist() for question in QUESTIONS}
    assert asked == {question: [True, question == "labels", False] for question in QUESTIONS}


def test_what_was_found_is_kept_with_what_was_right() -> None:
    """Two dogs, a cat and the sky are there, with examples of the first three; the second predictor puts one dog
    where there is none."""
    pictures = [Given(labelled(0)), Given(replace(EMPTY, complete_for=frozenset())), Given(labelled(2))]
    dataset = dataset_of(pictures)
    knowing = sit_exam(KnowingPredictor([one.truth for one in pictures]), dataset.records, dataset.categories).found
    for question, each in (("labels", 4), ("alike", 3)):
        assert knowing[question].right.tolist() == [True] * 2 * each
        assert knowing[question].pictures.tolist() == [0] * each + [2] * each
        assert knowing[question].scores.tolist() == [1.0] * 2 * each
    wrong = sit_exam(Says("dog"), dataset.records, dataset.categories).found
    for found in wrong.values():
        assert (found.right.tolist(), found.pictures.tolist()) == ([False, False], [0, 2]), "the second asks nothing"


def test_pictures_asked_about_at_once_get_the_same_marks() -> None:
    truths = [labelled(number) for number in range(6)]
    dataset = dataset_of([Given(truth) for truth in truths])
    predictor, told = Says("cat", "dog"), list[int]()
    alone = sit_exam(predictor, dataset.records, dataset.categories)
    together = sit_exam(predictor, dataset.records, dataset.categories, told.append, at_once=3)
    assert json.dumps(together.as_json()) == json.dumps(alone.as_json())
    assert told == [1, 2, 3, 4, 5, 6]


def test_marks_come_back_from_json() -> None:
    found = Found(np.array([0.75, 0.5]), np.array([True, False]), np.array([0, 1]))
    kept = Marks({question: np.array([0.5, np.nan]) for question in QUESTIONS}, {"labels": Found(), "alike": found})
    again = Marks.from_json(json.loads(json.dumps(kept.as_json(), allow_nan=False)))
    for question in QUESTIONS:
        np.testing.assert_array_equal(again.by_question[question], [0.5, np.nan])
    for name, values in vars(found).items():
        np.testing.assert_array_equal(getattr(again.found["alike"], name), values)
