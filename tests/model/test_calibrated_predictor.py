"""A version's calibration: it changes what scores say, never which regions are found, and it comes with the files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from small_models import noise_picture, small_model, small_predictor, tokenizer

from xsam_backend.inference.deployed import Deployed
from xsam_backend.learning.version_files import VersionFiles
from xsam_backend.model import predictor as predictor_module
from xsam_backend.model.delta import Delta, save_delta
from xsam_backend.model.predictor import Predictor
from xsam_backend.model.score_calibration import Calibration
from xsam_backend.model.versions import predictor_with_delta
from xsam_backend.prompts import Box, Category, Point, Prompt, Task

NAMES = (Category("red ball", "Ball"), Category("sky", "Sky", is_thing=False), Category("dog", "Dog"))
UNSURE = Calibration(slope=1.5, offset=-1.0)
BASE = small_predictor()
STATE = BASE.encode(noise_picture())


def calibrated(calibration: Calibration) -> Predictor:
    return Predictor(BASE.model, BASE.tokenizer, "small-1+00000001", calibration)


@pytest.mark.parametrize("task", [Task.GENERIC, Task.OPEN_VOCABULARY])
def test_the_default_threshold_keeps_the_same_regions(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    """So the gate's exam measures what is served, whether or not the scores are calibrated."""
    every = BASE.answer(STATE, Prompt(task, categories=NAMES, score_threshold=0.0)).instances
    middle = float(np.median(every.scores))
    monkeypatch.setitem(predictor_module.DEFAULT_THRESHOLDS, task, middle)
    asked = Prompt(task, categories=NAMES)
    raw, meant = (one.answer(STATE, asked).instances for one in (BASE, calibrated(UNSURE)))
    assert 0 < len(raw) < len(every)
    np.testing.assert_array_equal(meant.masks, raw.masks)
    assert meant.labels == raw.labels
    np.testing.assert_array_equal(meant.scores, UNSURE(raw.scores))
    assert meant.scores.max() < middle, "they were too sure"


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
        pytest.param(Prompt(Task.VGD, (Box(5, 5, 20, 20),), score_threshold=0.0), id="all like one"),
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
        save_delta(Delta("small-1", 1.0, {}, {name: parameter.detach() + 0.01}, calibration), path)
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
