"""Pictures by content."""

import errno
import hashlib
import os
from pathlib import Path

import pytest

from xsam_backend.errors import StoreError
from xsam_backend.store.picture_files import PictureFiles

PICTURE = b"\x89PNG any bytes"
SHA256 = hashlib.sha256(PICTURE).hexdigest()


@pytest.fixture
def files(tmp_path: Path) -> PictureFiles:
    return PictureFiles(tmp_path / "pictures")


def test_a_picture_comes_back_by_its_hash_and_is_kept_once(files: PictureFiles, tmp_path: Path) -> None:
    assert not files.has(SHA256)
    assert files.put(PICTURE) == files.put(PICTURE) == SHA256
    assert files.has(SHA256)
    assert files.get(SHA256) == PICTURE
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == [SHA256]


def test_a_half_written_file_is_no_picture(files: PictureFiles, tmp_path: Path) -> None:
    files.put(PICTURE)
    (path,) = (path for path in tmp_path.rglob("*") if path.is_file())
    path.write_bytes(PICTURE[:5])
    with pytest.raises(StoreError, match=r"damaged.*sync the project"):
        files.get(SHA256)
    files.put(PICTURE)
    assert files.get(SHA256) == PICTURE


def test_a_full_disk_leaves_nothing_behind(
    files: PictureFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError, match=r"14 bytes.*No space left.*free some space"):
        files.put(PICTURE)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_picture_that_is_not_there_is_said(files: PictureFiles) -> None:
    with pytest.raises(StoreError, match=r"can't be read.*backup"):
        files.get(SHA256)


@pytest.mark.parametrize("name", ["../../etc/passwd", "", "A" * 64, SHA256 + "0"])
def test_only_hashes_name_pictures(files: PictureFiles, name: str) -> None:
    with pytest.raises(StoreError, match=r"64 hex digits"):
        files.get(name)
