"""A version's calibration: what scores say, which regions are too likely wrong; and it comes with the files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.special import logit
from small_models import noise_picture, small_model, small_predictor, tokenizer

from xsam_backend.inference.deployed import Deployed
from xsam_backend.learning.version_files import VersionFiles
from xsam_backend.model import predictor as predictor_module
from xsam_backend.model.delta import Delta, save_delta
from xsam_backend.model.predictor import Predictor
from xsam_backend.model.score_calibration import Calibration
from xsam_backend.model.versions import predictor_with_delta
from xsam_backend.prompts import Box, Category, Form, Point, Prompt, Task

NAMES = (Category("red ball", "Ball"), Category("sky", "Sky", is_thing=False), Category("dog", "Dog"))
UNSURE = Calibration(slope=1.5, offset=-1.0)
SURE = Calibration(slope=1.0, offset=20.0)
BASE = small_predictor()
STATE = BASE.encode(noise_picture())


def calibrated(calibration: Calibration) -> Predictor:
    return Predictor(
        BASE.model, BASE.tokenizer, "small-1+00000001", {Task.GENERIC: calibration, Task.VGD: calibration}
    )


SEARCHES = [
    pytest.param(Prompt(Task.GENERIC, categories=NAMES), id="labels"),
    pytest.param(Prompt(Task.OPEN_VOCABULARY, categories=NAMES), id="open vocabulary"),
    pytest.param(Prompt(Task.VGD, (Box(5, 5, 20, 20), Box(2, 20, 9, 9)), label="Dog"), id="all like one"),
]


@pytest.mark.parametrize("asked", SEARCHES)
def test_without_a_stated_threshold_what_is_likely_wrong_is_left_out(
    asked: Prompt, monkeypatch: pytest.MonkeyPatch
) -> None:
    every = BASE.answer(STATE, replace(asked, score_threshold=0.0)).instances
    ordered = np.sort(every.scores)
    default, unsure = float(ordered[len(ordered) // 4]) + 1e-6, float(ordered[len(ordered) // 2]) + 1e-6
    assert (every.scores >= default).sum() > (every.scores >= unsure).sum() > 0
    monkeypatch.setitem(predictor_module.DEFAULT_THRESHOLDS, asked.task, default)
    a_third_there = Calibration(slope=1.0, offset=float(logit(1 / 3) - logit(unsure)))
    served = calibrated(a_third_there).answer(STATE, asked).instances
    likely = every.select(np.flatnonzero(every.scores >= unsure))
    np.testing.assert_array_equal(served.masks, likely.masks)
    assert served.labels == likely.labels
    np.testing.assert_array_equal(served.scores, a_third_there(likely.scores))


def test_the_default_threshold_still_holds_where_all_is_likely_right(monkeypatch: pytest.MonkeyPatch) -> None:
    every = BASE.answer(STATE, Prompt(Task.GENERIC, categories=NAMES, score_threshold=0.0)).instances
    monkeypatch.setitem(predictor_module.DEFAULT_THRESHOLDS, Task.GENERIC, float(np.median(every.scores)))
    raw, sure = (one.answer(STATE, Prompt(Task.GENERIC, categories=NAMES)) for one in (BASE, calibrated(SURE)))
    assert 0 < len(raw.instances) < len(every)
    np.testing.assert_array_equal(sure.instances.masks, raw.instances.masks)


def test_nothing_likely_enough_is_told() -> None:
    """Not the score as the decoder gives it, which nobody sees."""
    answer = calibrated(Calibration(slope=1.0, offset=-30.0)).answer(STATE, Prompt(Task.GENERIC, categories=NAMES))
    assert answer.reason == "nothing scored 0.33 or more"


def test_a_stated_threshold_is_one_on_what_scores_mean() -> None:
    predictor = calibrated(UNSURE)
    every = predictor.answer(STATE, Prompt(Task.GENERIC, categories=NAMES, score_threshold=0.0)).instances
    middle = float(np.median(every.scores)) + 1e-5
    kept = predictor.answer(STATE, Prompt(Task.GENERIC, categories=NAMES, score_threshold=middle)).instances
    assert 0 < len(kept) < len(every)
    assert kept.scores.min() >= middle
    assert len(kept) == (every.scores >= middle).sum()
    nothing = predictor.answer(STATE, Prompt(Task.GENERIC, categories=NAMES, score_threshold=0.99))
    assert nothing.reason == "nothing scored 0.99 or more"


@pytest.mark.parametrize(
    "prompt",
    [
        pytest.param(Prompt(Task.INTERACTIVE, (Point(30, 20),), score_threshold=0.0), id="click"),
        pytest.param(Prompt(Task.REFERRING, phrase="the red ball", score_threshold=0.0), id="phrase"),
    ],
)
def test_scores_of_another_kind_stay(prompt: Prompt) -> None:
    raw, same = (one.answer(STATE, prompt).instances for one in (BASE, calibrated(UNSURE)))
    assert len(raw)
    np.testing.assert_array_equal(same.scores, raw.scores)


def test_a_rollback_brings_the_same_scores_back(tmp_path: Path) -> None:
    """The changes are the same in both versions: the calibration alone tells them apart."""
    base = Predictor(small_model(), tokenizer(), "small-1")
    files = VersionFiles(tmp_path / "versions")
    names = []
    for number, calibration in enumerate((UNSURE, Calibration(0.5, 0.25))):
        path = tmp_path / f"{number}.safetensors"
        name, parameter = next(iter(base.model.named_parameters()))
        save_delta(Delta("small-1", 1.0, {}, {name: parameter.detach() + 0.01}, {Task.GENERIC: calibration}), path)
        names.append(files.keep(path, "small-1"))
    assert names[0] != names[1], "a version is named by all that it answers with"
    wanted: dict[str, str | None] = {}
    problems: list[Exception] = []

    def load(name: str) -> Predictor:
        return predictor_with_delta(base, files.delta(name), name)

    deployed = Deployed(base, load, lambda: wanted, lambda error, _project: problems.append(error))

    def scores(version: str | None) -> np.ndarray:
        wanted["p"] = version
        deployed.refresh()
        predictor = deployed.predictor_of("p")
        state = predictor.encode(noise_picture())
        return predictor.answer(state, Prompt(Task.GENERIC, categories=NAMES, score_threshold=0.0)).instances.scores

    with torch.inference_mode():
        first, second, again = scores(names[0]), scores(names[1]), scores(names[0])
        assert len(first)
        assert not np.array_equal(first, second)
        np.testing.assert_array_equal(again, first)
        assert problems == []


def test_what_labels_mean_tells_nothing_of_what_is_alike() -> None:
    prompt = Prompt(Task.VGD, (Box(5, 5, 20, 20),), score_threshold=0.0)
    named = Predictor(BASE.model, BASE.tokenizer, "small-1+00000001", {Task.GENERIC: UNSURE})
    raw, same = (one.answer(STATE, prompt).instances for one in (BASE, named))
    assert len(raw)
    np.testing.assert_array_equal(same.scores, raw.scores)


@pytest.mark.parametrize("predictor", [BASE, calibrated(UNSURE)], ids=["as decoded", "calibrated"])
def test_a_label_has_its_own_threshold(predictor: Predictor) -> None:
    every = predictor.answer(STATE, Prompt(Task.GENERIC, categories=NAMES, score_threshold=0.0)).instances
    of_ball = every.scores[[label == "Ball" for label in every.labels]]
    stricter = float(np.median(of_ball)) + 1e-5
    names = (replace(NAMES[0], score_threshold=stricter), *NAMES[1:])
    found = predictor.answer(STATE, Prompt(Task.GENERIC, categories=names, score_threshold=0.0)).instances
    kept = found.scores[[label == "Ball" for label in found.labels]]
    assert 0 < len(kept) == (of_ball >= stricter).sum() < len(of_ball)
    assert found.labels.count("Dog") >= every.labels.count("Dog") > 0, "what is no ball may now be a dog"


def test_an_area_has_its_labels_threshold() -> None:
    """Of the area's pixels; semantic scores aren't calibrated."""
    prompt = Prompt(Task.GENERIC, categories=NAMES, score_threshold=0.0, form=Form.SEMANTIC)
    (whole,) = BASE.answer(STATE, prompt).instances.masks
    names = (replace(NAMES[0], score_threshold=0.4), *NAMES[1:])
    (part,) = calibrated(UNSURE).answer(STATE, replace(prompt, categories=names)).instances.masks
    assert 0 < part.sum() < whole.sum()


def test_the_least_threshold_is_told_where_nothing_is_found() -> None:
    names = (Category("red ball", "Ball", score_threshold=0.999), Category("dog", "Dog", score_threshold=0.99))
    answer = calibrated(UNSURE).answer(STATE, Prompt(Task.GENERIC, categories=names))
    assert answer.reason == "nothing scored 0.99 or more"


def test_an_examples_label_has_its_own_threshold() -> None:
    prompt = Prompt(Task.VGD, (Box(5, 5, 20, 20),), (Category("dog", "Dog"),), score_threshold=0.0)
    assert len(BASE.answer(STATE, prompt).instances)
    own = replace(prompt, categories=(Category("dog", "Dog", score_threshold=1.0),))
    assert not len(BASE.answer(STATE, own).instances)
