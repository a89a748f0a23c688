"""A version's files, in a folder of one machine and where several machines share them."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from xsam_backend.errors import CheckpointError, StoreError
from xsam_backend.learning.version_files import VersionFiles
from xsam_backend.store.shared_files import SharedFiles


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"file://{tmp_path}/shared"


def files(tmp_path: Path, machine: str, url: str | None) -> VersionFiles:
    return VersionFiles(tmp_path / machine / "versions", SharedFiles(url) if url else None)


def kept(tmp_path: Path, url: str | None, content: bytes = b"delta") -> str:
    delta, shown = tmp_path / "new.safetensors", tmp_path / "before-after-1-gain.jpg"
    delta.write_bytes(content)
    shown.write_bytes(b"jpeg")
    return files(tmp_path, "here", url).keep(delta, "tiny-1", [shown])


def test_a_version_of_another_machine_is_fetched(tmp_path: Path, url: str) -> None:
    name = kept(tmp_path, url)
    assert name == f"tiny-1+{hashlib.sha256(b'delta').hexdigest()[:8]}"
    there = files(tmp_path, "there", url)
    assert there.pictures(name) == ["before-after-1-gain.jpg"]
    assert there.delta(name).read_bytes() == b"delta"
    assert there.delta(name).is_relative_to(tmp_path / "there")
    shown = there.picture(name, "before-after-1-gain.jpg")
    assert shown is not None
    assert shown.read_bytes() == b"jpeg"


def test_without_a_shared_place_the_words_say_what_to_set(tmp_path: Path) -> None:
    name = kept(tmp_path, None)
    with pytest.raises(CheckpointError, match=r"another machine made it, set artefacts_url"):
        files(tmp_path, "there", None).delta(name)


def test_a_damaged_one_is_not_taken(tmp_path: Path, url: str) -> None:
    name = kept(tmp_path, url)
    (tmp_path / "shared" / "versions" / name / "delta.safetensors").write_bytes(b"DELTA")
    with pytest.raises(CheckpointError, match=r"has no files in"):
        files(tmp_path, "there", url).delta(name)
    assert not (tmp_path / "there" / "versions" / name / "delta.safetensors").exists()


def test_a_version_that_a_kill_left_unshared_is_shared_by_the_next_try(tmp_path: Path, url: str) -> None:
    name = kept(tmp_path, None)
    assert kept(tmp_path, url) == name
    assert files(tmp_path, "there", url).delta(name).read_bytes() == b"delta"


def test_pruning_frees_both_places(tmp_path: Path, url: str) -> None:
    name = kept(tmp_path, url)
    assert files(tmp_path, "here", url).prune(name) == 2 * len(b"delta" + b"jpeg")
    assert files(tmp_path, "here", url).prune(name) == 0
    with pytest.raises(CheckpointError):
        files(tmp_path, "there", url).delta(name)
    assert list((tmp_path / "shared" / "versions").glob("*/*")) == []


def test_a_place_out_of_reach_is_no_missing_version(tmp_path: Path) -> None:
    (tmp_path / "shared").write_text("")
    with pytest.raises((StoreError, CheckpointError)):
        files(tmp_path, "there", f"file://{tmp_path}/shared").delta("tiny-1+12345678")
