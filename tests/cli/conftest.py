from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from fake_predictor import FakePredictor

from xsam_backend.cli import main
from xsam_backend.errors import CheckpointError

Run = Callable[..., tuple[int, str, str]]


def load_fake(
    name_or_path: str, device: str = "auto", dtype: str = "auto", models: Path | None = None
) -> FakePredictor:
    """Stands in for ``load_predictor``; knows no model but tiny."""
    if name_or_path != "tiny":
        raise CheckpointError(f"no model '{name_or_path}': expected tiny or a folder")
    return FakePredictor()


@pytest.fixture
def fake_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fake predictor wherever the model's door is opened; torch is not even imported."""
    door = SimpleNamespace(load_predictor=load_fake)
    monkeypatch.setitem(sys.modules, "xsam_backend.model.predictor", door)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """``run("predict", ...)`` is (exit status, stdout, stderr)."""

    def run_verb(*arguments: object) -> tuple[int, str, str]:
        try:
            main([str(argument) for argument in arguments])
            status = 0
        except SystemExit as stop:
            status = int(stop.code or 0)
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run_verb
