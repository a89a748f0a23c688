"""The shipped model's marks on the rehearsal are its own, and spare jobs an exam."""

import json
import os
from collections.abc import Callable

import numpy as np
import pytest

from xsam_backend.learning.exam import QUESTIONS, Marks, sit_exam
from xsam_backend.learning.rehearsal import SCENES, rehearsal
from xsam_backend.learning.rehearsal_marks import SHIPPED_MARKS, marks_file, shipped_marks
from xsam_backend.model.predictor import load_predictor

LOOKED_AT = 3
"""So many scenes are asked about again."""


def test_they_are_those_of_the_shipped_model() -> None:
    predictor = load_predictor("tiny", "cpu")
    path = marks_file(predictor.model_version)
    update = os.environ.get("UPDATE_DOCS")
    scenes = rehearsal(SCENES)
    found = sit_exam(predictor, scenes.records[: SCENES if update else LOOKED_AT], scenes.categories)
    if update:
        SHIPPED_MARKS.mkdir(exist_ok=True)
        for old in SHIPPED_MARKS.glob("*.json"):
            old.unlink()
        path.write_text(json.dumps(found.as_json()), encoding="utf-8")
    assert list(SHIPPED_MARKS.glob("*.json")) == [path], (
        "the model has changed: UPDATE_DOCS=1 pytest tests/learning/test_rehearsal_marks.py"
    )
    shipped = shipped_marks(predictor.model_version, SCENES)
    assert shipped is not None
    for question in QUESTIONS:
        marks = shipped.by_question[question]
        assert len(marks) == SCENES
        now = found.by_question[question]
        # Processors round differently; an object that is found or not by a hair counts for less than a tenth.
        assert np.allclose(marks[: len(now)], now, atol=0.1, equal_nan=True), question


@pytest.mark.parametrize(
    ("version", "scenes", "reason"),
    [
        (lambda: "another-12345678", SCENES, "another model's marks are others"),
        (lambda: load_predictor("tiny", "cpu").model_version, SCENES - 1, "fewer scenes are another exam"),
    ],
)
def test_nothing_is_told_of_another_exam(version: Callable[[], str], scenes: int, reason: str) -> None:
    assert shipped_marks(version(), scenes) is None, reason


def test_marks_read_as_they_were_written() -> None:
    shipped = shipped_marks(load_predictor("tiny", "cpu").model_version, SCENES)
    assert shipped is not None
    again = Marks.from_json(json.loads(json.dumps(shipped.as_json())))
    assert all(np.array_equal(again.by_question[one], shipped.by_question[one], equal_nan=True) for one in QUESTIONS)
