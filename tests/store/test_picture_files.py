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


def test_a_picture_lies_under_its_hash_and_is_kept_once(files: PictureFiles, tmp_path: Path) -> None:
    other = "b" * 64
    assert files.lacking([SHA256, other]) == {SHA256, other}
    assert files.put(PICTURE) == files.put(PICTURE) == SHA256
    assert files.lacking([SHA256, other]) == {other}
    (path,) = (path for path in tmp_path.rglob("*") if path.is_file())
    assert path.name == SHA256
    assert path.read_bytes() == PICTURE


def test_a_half_written_file_is_no_picture(files: PictureFiles, tmp_path: Path) -> None:
    files.put(PICTURE)
    (path,) = (path for path in tmp_path.rglob("*") if path.is_file())
    path.write_bytes(PICTURE[:5])
    files.put(PICTURE)
    assert path.read_bytes() == PICTURE


def test_file_and_name_are_on_the_disk_before_anybody_hears_of_it(
    files: PictureFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    forced: list[str] = []
    force = os.fsync
    monkeypatch.setattr(
        os, "fsync", lambda handle: (forced.append(os.readlink(f"/proc/self/fd/{handle}")), force(handle))
    )
    files.put(PICTURE)
    assert [Path(name).suffix for name in forced] == [".partial", ""]
    assert Path(forced[1]).name == SHA256[:2]


def test_a_full_disk_leaves_nothing_behind(
    files: PictureFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError, match=r"14 bytes.*No space left.*free some space"):
        files.put(PICTURE)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("name", ["../../etc/passwd", "", "A" * 64, SHA256 + "0"])
def test_only_hashes_name_pictures(files: PictureFiles, name: str) -> None:
    with pytest.raises(StoreError, match=r"64 hex digits"):
        files.lacking([name])


def test_a_file_that_holds_something_else_by_now_is_damaged(files: PictureFiles, tmp_path: Path) -> None:
    whole, broken = files.put(PICTURE), files.put(b"another")
    next(tmp_path.rglob(broken)).write_bytes(b"anothe")
    assert files.damaged([whole, broken, "0" * 64]) == {broken}, "what is gone is another matter"
