"""The benchmark's stages on a small model; the full size is for the one who runs it."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner
from released_models import released_config

from benchmarks.full_size import (
    CONFIG,
    CONVERTED,
    RELEASED,
    Watch,
    main,
    needed_bytes,
    stage_answer,
    stage_convert,
    stage_learn,
    stage_make,
)
from xsam_backend.model.checkpoint import load_tokenizer
from xsam_backend.model.config import XSamConfig
from xsam_backend.model.precision import choose_dtype


def test_stages_in_order(tmp_path: Path) -> None:
    pytest.importorskip("bitsandbytes", reason="bitsandbytes is not installed: pip install '.[four-bits]'")
    config = XSamConfig.from_json(released_config().to_json().replace('"vocab_size": 528', '"vocab_size": 9000'))
    (tmp_path / CONFIG).write_text(config.to_json())
    watch = Watch()
    with watch.watching():
        stage_make(tmp_path, watch, shard_bytes=100_000)
        stage_convert(tmp_path, watch)
        stage_answer(tmp_path, watch, device="cpu")
        stage_learn(tmp_path, watch, device="cpu")
    assert len(list((tmp_path / RELEASED).glob("*.safetensors"))) > 2
    assert len(load_tokenizer(tmp_path / CONVERTED)) == 9000
    names = [step.name for step in watch.steps]
    assert names == [
        "make random weights",
        "convert",
        "load",
        f"look at a picture (cpu, {choose_dtype('auto', 'BF16', 'cpu', 1)})",
        "state",
        "prefix",
        "first click",
        "the same click",
        "a click elsewhere",
        "a phrase",
        "5 labels",
        "load, the language model in four bits",
        "one step of fine-tuning (4 pictures)",
    ]
    assert all(0 < step.anonymous < step.resident for step in watch.steps)


def test_full_size_needs_two_copies_on_disk() -> None:
    assert needed_bytes(XSamConfig.variant("phi3")) == pytest.approx(2 * 2 * 4_624_248_065)


def test_too_small_a_disk_is_told_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        free = 10**9

    monkeypatch.setattr("benchmarks.full_size.shutil.disk_usage", lambda _folder: Full())
    done = CliRunner().invoke(main, ["--folder", str(tmp_path / "new")])
    assert done.exit_code == 1
    assert "18.5 GB needed, 1.0 GB free" in done.output
    assert not (tmp_path / "new").exists()


def test_a_folder_that_is_there_is_left_alone(tmp_path: Path) -> None:
    """What it makes it removes again: that must be its own."""
    (tmp_path / "mine").write_text("mine")
    done = CliRunner().invoke(main, ["--folder", str(tmp_path)])
    assert done.exit_code == 1
    assert "is there already: name a new one" in done.output
    assert (tmp_path / "mine").read_text() == "mine"
