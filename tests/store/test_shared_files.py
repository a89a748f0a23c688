"""What services share, on filesystems that fsspec knows: whole or not there, and what its name says or not taken."""

from __future__ import annotations

import hashlib
import logging
import uuid
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from xsam_backend.errors import StoreError
from xsam_backend.store.picture_files import PictureFiles
from xsam_backend.store.shared_files import SharedFiles


@pytest.fixture(params=["file", "memory", "s3"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A new place on each filesystem."""
    if request.param == "s3":
        yield f"{request.getfixturevalue('s3_bucket')}/shared"
    elif request.param == "file":
        yield f"file://{tmp_path}/shared"
    else:
        yield f"memory://{uuid.uuid4().hex}"
        fsspec.filesystem("memory").store.clear()


def written(folder: Path, content: bytes) -> Path:
    path = folder / uuid.uuid4().hex
    path.write_bytes(content)
    return path


def test_what_one_machine_puts_another_fetches(url: str, tmp_path: Path) -> None:
    SharedFiles(url).put(written(tmp_path, b"content"), "versions/a+1/delta")
    there = SharedFiles(url)
    assert there.names("versions/a+1") == ["delta"]
    assert there.fetch("versions/a+1/delta", tmp_path / "other" / "delta", lambda _: True)
    assert (tmp_path / "other" / "delta").read_bytes() == b"content"
    assert not there.fetch("versions/a+1/none", tmp_path / "other" / "none", lambda _: True)
    assert there.remove("versions/a+1") == 7
    assert (there.names("versions/a+1"), there.remove("versions/a+1")) == ([], 0)
    assert sorted(path.name for path in (tmp_path / "other").iterdir()) == ["delta"], "nothing half fetched is left"


def test_a_place_is_tried_out_and_left_as_it_was(url: str) -> None:
    files = SharedFiles(url)
    files.try_out()
    assert files.names("") == []


def test_what_is_not_what_its_name_says_is_not_taken(
    url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    files = SharedFiles(url)
    files.put(written(tmp_path, b"damaged"), "a")
    with caplog.at_level(logging.WARNING):
        assert not files.fetch("a", tmp_path / "a", lambda path: path.read_bytes() == b"content")
    assert "a is damaged" in caplog.text
    assert not (tmp_path / "a").exists()


def test_a_copy_that_fails_halfway_leaves_no_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = SharedFiles(f"file://{tmp_path}/shared")

    def fails(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files._files, "mv", fails)
    with pytest.raises(StoreError, match=r"can't be written .*No space left"):
        files.put(written(tmp_path, b"content"), "pictures/aa")
    monkeypatch.undo()
    assert list((tmp_path / "shared" / "pictures").iterdir()) == []


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ("nosuch://bucket/x", "a URL that fsspec knows"),
        ("sftp://user:hunter2@host/x", "no password"),
        ("dropbox://x", "install that package"),
    ],
    ids=["unknown", "password", "package missing"],
)
def test_a_url_that_cannot_work_is_said(wrong: str, words: str) -> None:
    with pytest.raises(StoreError, match=words) as error:
        SharedFiles(wrong)
    assert "hunter2" not in str(error.value)


def test_a_place_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"tried-.* can't be tried out .*rights"):
        SharedFiles(f"file://{tmp_path}/file").try_out()


def test_kept_pictures_come_from_where_they_are_shared(url: str, tmp_path: Path) -> None:
    here = PictureFiles(tmp_path / "here", SharedFiles(url))
    there = PictureFiles(tmp_path / "there", SharedFiles(url))
    sha256, other = here.put(b"one"), here.put(b"two")
    assert there.lacking([sha256]) == {sha256}
    assert there.read(sha256) == b"one"
    there.bring([sha256, other, "f" * 64])
    assert there.lacking([sha256, other, "f" * 64]) == {"f" * 64}
    (tmp_path / "there" / other[:2] / other).write_bytes(b"spoilt")
    assert there.damaged([sha256, other]) == {other}
    there.bring([sha256, other])
    assert there.damaged([sha256, other]) == set(), "the shared one took its place"
    assert hashlib.sha256(there.read(other)).hexdigest() == other


def test_a_picture_is_shared_also_where_a_kill_left_it_in_the_folder_alone(url: str, tmp_path: Path) -> None:
    sha256 = PictureFiles(tmp_path / "here").put(b"one")
    assert PictureFiles(tmp_path / "here", SharedFiles(url)).put(b"one") == sha256
    assert PictureFiles(tmp_path / "there", SharedFiles(url)).read(sha256) == b"one"
