"""The recorded hash: believed only of the file that it was taken of."""

from __future__ import annotations

import errno
import json
import logging
import os
import shutil
from pathlib import Path

import pytest
from small_models import small_model

from xsam_backend.errors import CheckpointError
from xsam_backend.model import version
from xsam_backend.model.checkpoint import model_version, save_model
from xsam_backend.model.folders import CONFIG, WEIGHTS
from xsam_backend.model.version import RECORD, hash_file, read_record, verify_weights, weights_sha256, write_record


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """A saved model's weights with their record."""
    save_model(small_model(), tmp_path / "model")
    path = tmp_path / "model" / WEIGHTS
    write_record(path, hash_file(path), "a test")
    return path


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that were read to be hashed."""
    seen: list[Path] = []

    def listen(path: Path) -> str:
        seen.append(path)
        return hash_file(path)

    monkeypatch.setattr(version, "hash_file", listen)
    return seen


def flip(path: Path, *, keep_time: bool = False) -> None:
    """One bit of the file, which stays as long."""
    stat, content = path.stat(), path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    times = (stat.st_atime_ns, stat.st_mtime_ns if keep_time else stat.st_mtime_ns + 1)
    os.utime(path, ns=times)


def test_the_version_is_that_of_the_bytes_and_costs_no_reading(weights: Path, hashed: list[Path]) -> None:
    assert model_version(weights.parent) == f"small-{hash_file(weights)[:8]}"
    assert hashed == []


def test_other_weights_are_another_version_though_the_record_stays(
    weights: Path, hashed: list[Path], caplog: pytest.LogCaptureFixture
) -> None:
    before = model_version(weights.parent)
    flip(weights)
    with caplog.at_level(logging.WARNING):
        after = model_version(weights.parent)
    assert hashed == [weights]
    assert after != before
    assert after == f"small-{hash_file(weights)[:8]}"
    assert "not the weights that weights.json was written for" in caplog.text
    with pytest.raises(CheckpointError, match="not the weights that were converted"):
        verify_weights(weights)


def test_a_copy_is_hashed_once(weights: Path, hashed: list[Path], tmp_path: Path) -> None:
    shutil.copytree(weights.parent, tmp_path / "copy", copy_function=shutil.copy)
    copy = tmp_path / "copy" / WEIGHTS
    os.utime(copy, (1, 1))
    assert weights_sha256(copy) == weights_sha256(copy) == weights_sha256(weights)
    assert hashed == [copy]
    record = read_record(copy)
    assert record is not None
    assert record.source == "a test"


def test_verifying_reads_the_bytes_whatever_the_time_says(weights: Path) -> None:
    assert verify_weights(weights) == hash_file(weights)
    flip(weights, keep_time=True)
    with pytest.raises(CheckpointError, match="pull or convert them again"):
        verify_weights(weights)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"sha256": "0"}', json.dumps({"surprise": 1})])
def test_a_record_that_cannot_be_read_is_none(weights: Path, content: str) -> None:
    weights.with_name(RECORD).write_text(content)
    assert read_record(weights) is None
    assert weights_sha256(weights) == hash_file(weights)
    with pytest.raises(CheckpointError, match=r"no weights\.json to compare with"):
        verify_weights(weights)


def test_a_full_disk_costs_no_record(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The weights were copied, so that the record is to be written anew; half of it is written."""
    os.utime(weights, (1, 1))
    write_text = Path.write_text

    def full(path: Path, text: str, encoding: str) -> int:
        write_text(path, text[:20], encoding)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    assert weights_sha256(weights) == hash_file(weights)
    record = read_record(weights)
    assert record is not None
    assert record.source == "a test"
    assert {path.name for path in weights.parent.iterdir()} == {CONFIG, WEIGHTS, RECORD}


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="takes a file of Linux's that can't be read")
def test_weights_that_cannot_be_read(weights: Path) -> None:
    weights.unlink()
    weights.symlink_to("/proc/self/mem")
    with pytest.raises(
        CheckpointError, match=r"model\.safetensors: cannot be read \(\[Errno 5\].*: is the disk well"
    ):
        model_version(weights.parent)
