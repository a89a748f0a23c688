"""What the base answers on the shipped photographs: whole files, masks worth learning from, and whose pictures."""

import os
import re
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from xsam_backend.evaluation.datasets.opening import open_dataset
from xsam_backend.geometry.masks import mask_iou
from xsam_backend.learning import rehearsed_photographs
from xsam_backend.learning.rehearsed_photographs import (
    ALIKE,
    ANSWERS,
    LARGEST_SHARE,
    LEAST_SHARE,
    PHOTOGRAPHS,
    answered_photographs,
    photographs,
    shipped_answers,
    write_answers,
)
from xsam_backend.model.predictor import load_predictor
from xsam_backend.prompts import Task
from xsam_backend.training.questions import Asking, ask


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("job")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rehearsed_photographs, "photographs", lambda: (PHOTOGRAPHS / "coffee.jpg",))
        path = folder / ANSWERS
        write_answers(load_predictor("tiny", "cpu"), path)
        return path


def test_answers_are_worth_rehearsing(answers: Path) -> None:
    (record,) = open_dataset(answers, "coco", images=PHOTOGRAPHS).records
    masks = record.load().masks
    assert len(masks) >= 3
    assert all(LEAST_SHARE <= mask.mean() <= LARGEST_SHARE for mask in masks)
    assert all(mask_iou(first, second) <= ALIKE for first, second in combinations(masks, 2))


def test_they_can_be_pointed_at_and_nothing_else(answers: Path) -> None:
    """Nobody knows their names, nor whether something else on the picture is like them."""
    (record,) = open_dataset(answers, "coco", images=PHOTOGRAPHS).records
    truth = record.load()
    rng = np.random.default_rng(0)
    assert ask(truth, {Task.INTERACTIVE: 2}, rng, Asking(("something",), 1))
    assert not ask(truth, {Task.GENERIC: 2, Task.REFERRING: 2, Task.VGD: 2}, rng, Asking(("something",), 1))


def test_a_job_that_goes_on_keeps_its_answers(answers: Path) -> None:
    predictor = None  # it isn't asked again
    assert answered_photographs(predictor, answers.parent) == answers  # type: ignore[arg-type]


def test_the_shipped_answers_are_those_of_the_shipped_model(answers: Path) -> None:
    predictor = load_predictor("tiny", "cpu")
    shipped = shipped_answers(predictor.model_version)
    if os.environ.get("UPDATE_DOCS"):
        for old in PHOTOGRAPHS.glob("*.json"):
            old.unlink()
        write_answers(predictor, shipped)
    assert list(PHOTOGRAPHS.glob("*.json")) == [shipped], (
        "the model has changed: UPDATE_DOCS=1 pytest tests/learning/test_rehearsed_photographs.py"
    )
    records = {record.path.name: record for record in open_dataset(shipped, "coco", images=PHOTOGRAPHS).records}
    assert set(records) == {path.name for path in photographs()}
    masks = records["coffee.jpg"].load().masks
    (record,) = open_dataset(answers, "coco", images=PHOTOGRAPHS).records
    found = record.load().masks
    assert len(masks) == len(found)
    assert all(mask_iou(old, new) > 0.95 for old, new in zip(masks, found, strict=True)), (
        "processors round differently"
    )


def test_the_shipped_models_answers_are_not_asked_for_again(tmp_path: Path) -> None:
    predictor = load_predictor("tiny", "cpu")
    assert answered_photographs(predictor, tmp_path) == shipped_answers(predictor.model_version)
    assert not list(tmp_path.iterdir())


def test_all_photographs_may_be_passed_on_and_are_credited() -> None:
    credits = (PHOTOGRAPHS / "CREDITS.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| (\S+\.jpg) \| (.+?) \|", credits, re.MULTILINE))
    assert set(rows) == {path.name for path in photographs()}
    assert all(re.search(r"CC0|public domain|on Flickr \(\d+\), CC BY 2\.0", whose) for whose in rows.values())
