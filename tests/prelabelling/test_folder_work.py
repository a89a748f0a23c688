"""What can't be a picture is final; what may pass leaves its block for the next run."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1] / "server"))

from app_parts import CONFIG
from fake_predictor import FakePredictor

from xsam_backend.config import Settings
from xsam_backend.errors import BusyError, DeviceMemoryError, JobError, SettingsError, StoreError
from xsam_backend.prelabelling import folder_work
from xsam_backend.prelabelling.answering import Answering
from xsam_backend.prelabelling.blocks import Block, Done
from xsam_backend.prelabelling.folder_work import FolderWork
from xsam_backend.server.protocol import TaskItem
from xsam_backend.store.data_folder import Hold

TORN = "3.png"


@pytest.fixture
def work(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FolderWork:
    """Five pictures, of which one is none, two a block."""
    monkeypatch.setattr(folder_work, "load", lambda _settings, _version: FakePredictor())
    monkeypatch.setattr(folder_work, "AGAIN_AFTER_S", (0.0, 0.0))
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for number in range(5):
        Image.fromarray(np.full((6, 8, 3), number, np.uint8)).save(pictures / f"{number}.png")
    (pictures / TORN).write_bytes(b"no picture")
    return FolderWork(settings, None, CONFIG, f"file://{pictures}", f"file://{tmp_path / 'out'}", "/data/?d=")


def left(work: FolderWork) -> list[Block]:
    return work.blocks(2)[0]


def written(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "out").glob("*-*"))


def run(work: FolderWork) -> list[Done]:
    do = work.opened()
    return [do(block) for block in left(work)]


def failing(monkeypatch: pytest.MonkeyPatch, error: Exception, times: int) -> list[int]:
    """The question about the second picture fails so often; how often it did."""
    failed = [0]
    answer: Callable[..., Any] = Answering.prediction

    def prediction(self: Answering, project: None, task: TaskItem, *more: Any) -> Any:
        if task.data["image"].endswith("1.png") and failed[0] < times:
            failed[0] += 1
            raise error
        return answer(self, project, task, *more)

    monkeypatch.setattr(Answering, "prediction", prediction)
    return failed


def test_what_is_no_picture_is_final(work: FolderWork, tmp_path: Path) -> None:
    assert [(done.answered, len(done.problems)) for done in run(work)] == [(2, 0), (1, 1), (1, 0)]
    assert written(tmp_path) == ["failed-00001.json", *(f"tasks-0000{number}.json" for number in range(3))]
    assert json.loads((tmp_path / "out" / "failed-00001.json").read_text())[0].startswith(TORN)
    assert left(work) == []


ERRORS = [StoreError("the bucket says 503"), BusyError("others wait"), DeviceMemoryError("no memory left")]


@pytest.mark.parametrize("error", ERRORS)
def test_what_passes_is_waited_for(work: FolderWork, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    failed = failing(monkeypatch, error, 2)
    assert [(done.answered, len(done.problems)) for done in run(work)] == [(2, 0), (1, 1), (1, 0)]
    assert failed == [2]


@pytest.mark.parametrize("error", ERRORS)
def test_what_does_not_pass_ends_the_run_which_can_be_gone_on_with(
    work: FolderWork, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    failing(monkeypatch, error, 3)
    with pytest.raises(JobError, match=rf"1\.png: .*{error}; the run ends here, .* the same command goes on"):
        run(work)
    assert written(tmp_path) == [], "the block is not done"
    assert sum(done.answered for done in run(work)) == 4
    assert left(work) == []


def test_a_source_that_is_out_of_reach_makes_no_picture_final(work: FolderWork, tmp_path: Path) -> None:
    """A disk that was unmounted, a bucket that is gone."""
    blocks, do = left(work), work.opened()
    (tmp_path / "pictures").rename(tmp_path / "elsewhere")
    with pytest.raises(JobError, match=r"0\.png can't be read \(FileNotFoundError"):
        do(blocks[0])
    (tmp_path / "elsewhere").rename(tmp_path / "pictures")
    assert sum(done.answered for done in run(work)) == 4


def test_a_password_in_the_source_is_refused(settings: Settings, tmp_path: Path) -> None:
    for source in ("ftp://me:hush@host/photos", "simplecache::ftp://me:hush@host/photos"):
        work = FolderWork(settings, None, CONFIG, source, f"file://{tmp_path / 'out'}", "x/")
        with pytest.raises(SettingsError, match="expected no password") as caught:
            work.blocks(2)
        assert "hush" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_nobody_restores_beneath_a_run(work: FolderWork) -> None:
    do = work.opened()
    with pytest.raises(StoreError, match="is in use"):
        Hold(work.settings.data_dir, alone=True)
    do(left(work)[0])
