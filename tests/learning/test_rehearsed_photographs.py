"""What the base answers on the shipped photographs: whole files, masks worth learning from, and whose pictures."""

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
    LARGEST_SHARE,
    LEAST_SHARE,
    PHOTOGRAPHS,
    answered_photographs,
    photographs,
)
from xsam_backend.model.predictor import load_predictor
from xsam_backend.prompts import Task
from xsam_backend.training.questions import Asking, ask


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("job")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rehearsed_photographs, "photographs", lambda: (PHOTOGRAPHS / "coffee.jpg",))
        return answered_photographs(load_predictor("tiny", "cpu"), folder)


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


def test_all_photographs_may_be_passed_on_and_are_credited() -> None:
    credits = (PHOTOGRAPHS / "CREDITS.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| (\S+\.jpg) \| (.+?) \|", credits, re.MULTILINE))
    assert set(rows) == {path.name for path in photographs()}
    assert all(re.search(r"CC0|public domain|on Flickr \(\d+\), CC BY 2\.0", whose) for whose in rows.values())
