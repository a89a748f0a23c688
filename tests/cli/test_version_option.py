"""``predict --version`` and ``evaluate --version`` ask a fine-tuned version."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from xsam_backend.learning.version_files import VersionFiles
from xsam_backend.model.checkpoint import model_version
from xsam_backend.model.delta import Delta, save_delta
from xsam_backend.model.folders import model_folder


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "a.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (60, 80, 3), dtype=np.uint8)).save(path)
    return path


def kept(tmp_path: Path, base: str) -> str:
    path = tmp_path / "delta.safetensors"
    save_delta(Delta(base, 1.0, {}, {"background.weight": torch.full((1, 96), 9.0)}), path)
    return VersionFiles(tmp_path / "data" / "versions").keep(path, base)


def test_a_version_answers(run: Any, picture: Path, tmp_path: Path) -> None:
    """Its word for the background drowns every other class here."""
    version = kept(tmp_path, model_version(model_folder("tiny", tmp_path)))
    asked = ("predict", picture, "--label", "cat", "--threshold", "0", "--json", "label-studio", "--data-dir")
    answers = {}
    for name, option in (("base", ()), (version, ("--version", version))):
        status, out, err = run(*asked, tmp_path / "data", *option)
        assert status == 0, err
        assert err == f"loading {'tiny' if name == 'base' else version}\n"
        ((answers[name],),) = (task["predictions"] for task in json.loads(out))
    assert answers[version]["model_version"] == version
    assert answers["base"]["score"] != answers[version]["score"]


def test_a_version_of_another_model_is_refused(run: Any, picture: Path, tmp_path: Path) -> None:
    version = kept(tmp_path, "tiny-0123abcd")
    status, _, err = run("predict", picture, "--label", "cat", "--data-dir", tmp_path / "data", "--version", version)
    assert status == 1
    assert "these changes belong to tiny-0123abcd, the model that runs is tiny-" in err


@pytest.mark.parametrize("name", ["tiny-1+00000000", "../../etc"])
def test_an_unknown_version_is_told_before_a_model_is_loaded(
    run: Any, picture: Path, tmp_path: Path, name: str, fake_model: None
) -> None:
    status, _, err = run("predict", picture, "--label", "cat", "--data-dir", tmp_path / "data", "--version", name)
    assert status == 1
    assert f"version '{name}' has no files" in err
    assert "loading" not in err
