from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from xsam_backend.config import Settings
from xsam_backend.demo import running
from xsam_backend.demo.progress import Progress
from xsam_backend.demo.running import Wishes
from xsam_backend.errors import DemoError


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Settings, Wishes]]:
    """What the demo was started with, in place of starting it."""
    calls: list[tuple[Settings, Wishes]] = []

    def run_demo(settings: Settings, wishes: Wishes, _progress: Progress) -> None:
        calls.append((settings, wishes))

    monkeypatch.setattr(running, "run_demo", run_demo)
    return calls


def test_without_options(run: Any, started: list[tuple[Settings, Wishes]]) -> None:
    assert run("demo") == (0, "", "")
    ((settings, wishes),) = started
    assert settings.model == "tiny"
    assert wishes == Wishes(opens_browser=False), "no browser where nobody looks"


def test_with_all(run: Any, started: list[tuple[Settings, Wishes]], tmp_path: Path) -> None:
    script = tmp_path / "label-studio"
    script.touch(mode=0o755)
    arguments = ["--fresh", "--open", "--port", 9191, "--label-studio-port", 8181, "--label-studio", script]
    run("demo", *arguments, "--data-dir", tmp_path, "--device", "cpu")
    ((settings, wishes),) = started
    assert wishes == Wishes(script, 8181, 9191, fresh=True, opens_browser=True)
    assert (settings.data_dir, settings.device) == (tmp_path, "cpu")


@pytest.mark.parametrize(
    "arguments",
    [["--port", "0"], ["--label-studio-port", "70000"], ["--label-studio", "/no/such/file"], ["--no-such-option"]],
)
def test_misuse_is_exit_2(run: Any, started: list[tuple[Settings, Wishes]], arguments: list[str]) -> None:
    status, out, err = run("demo", *arguments)
    assert (status, out, started) == (2, "", [])
    assert "Usage" in err


def test_a_setting_that_cannot_work_is_exit_1(
    run: Any, started: list[tuple[Settings, Wishes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XSAM_BACKEND_IMAGE_MAX_MB", "x")
    status, _, err = run("demo")
    assert (status, started) == (1, [])
    assert "image_max_mb" in err


def test_what_cannot_go_on_is_exit_1_in_words(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise DemoError("the disk is full: make room")

    monkeypatch.setattr(running, "run_demo", fails)
    assert run("demo") == (1, "", "error: the disk is full: make room\n")
