"""First answers: where they lie in their window, that files keep them, and that what is there isn't asked again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from xsam_backend.errors import DatasetError
from xsam_backend.evaluation.datasets.drawn_scenes import SceneRecord
from xsam_backend.model.kept_cells import FINER
from xsam_backend.model.predictor import Predictor, load_predictor
from xsam_backend.training.clicks import first_answers as module
from xsam_backend.training.clicks.first_answers import (
    COMPONENTS,
    FirstAnswer,
    asked_pictures,
    first_answers,
    load_answers,
    save_answers,
)

RECORD = SceneRecord(7)


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return load_predictor("tiny", "cpu")


@pytest.fixture(scope="module")
def answers(predictor: Predictor) -> list[FirstAnswer]:
    return first_answers(predictor, RECORD, np.random.default_rng(1))


def test_each_object_is_hinted_at_by_a_click_in_its_middle_and_in_another_way(answers: list[FirstAnswer]) -> None:
    assert len(answers) >= 4
    assert len(answers) % 2 == 0
    for middle, other in zip(answers[::2], answers[1::2], strict=True):
        assert len(middle.clicks) == 1
        assert len(other.clicks) <= 1
        ((across, down),) = middle.clicks
        rows, columns = middle.truth.shape
        assert middle.truth[int(down * rows), int(across * columns)], "in the same window as the truth"


def test_they_are_cells_of_one_window(answers: list[FirstAnswer]) -> None:
    good = 0
    for answer in answers:
        height, width = answer.log_odds.shape
        assert answer.features.shape == (COMPONENTS, height, width)
        assert answer.truth.shape == answer.pixels.shape[:2] == (height * FINER, width * FINER)
        shown = np.kron(answer.log_odds > 0, np.ones((FINER, FINER), bool))
        good += (shown & answer.truth).sum() / (shown | answer.truth).sum() > 0.5
    assert good >= len(answers) / 2, "mask and truth lie on each other"


def test_few_components_keep_the_distances(predictor: Predictor) -> None:
    answer = first_answers(predictor, RECORD, np.random.default_rng(1))[0]
    squares = np.square(answer.features.astype(np.float32)).sum(0).mean()
    assert 0.9 < squares <= 1.01, "of comparable features it is 1"


def test_files_keep_them(answers: list[FirstAnswer], tmp_path: Path) -> None:
    path = tmp_path / "one.safetensors"
    save_answers(path, answers)
    for before, after in zip(answers, load_answers(path), strict=True):
        for name, array in vars(before).items():
            kept = getattr(after, name)
            assert kept.dtype == array.dtype
            assert np.array_equal(kept, array), name
    save_answers(path, [])
    assert load_answers(path) == []


def test_a_damaged_file_says_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "one.safetensors"
    path.write_bytes(b"half of")
    with pytest.raises(DatasetError, match=r"one\.safetensors.*delete it"):
        load_answers(path)


def test_what_is_there_is_not_asked_again(
    predictor: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = list(asked_pictures(predictor, [RECORD], tmp_path, seed=0))
    assert [path.name for path in paths] == ["000000.safetensors"]
    monkeypatch.setattr(module, "first_answers", None)
    assert list(asked_pictures(predictor, [RECORD], tmp_path, seed=0)) == paths
