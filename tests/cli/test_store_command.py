"""``store``: what it says, and what goes with a shared database; the rest: tests/e2e/test_backup_and_restore.py."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from xsam_backend.config import ENV_PREFIX
from xsam_backend.store.data_folder import held
from xsam_backend.store.database import HISTORIES, database_url, open_database
from xsam_backend.store.picture_files import PictureFiles

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    for history in HISTORIES:
        open_database(database_url(history, tmp_path / "data"), history).dispose()
    PictureFiles(tmp_path / "data" / "pictures").put(b"a picture")
    return tmp_path / "data"


def test_backup_says_what_is_in_it(run: Run, data_dir: Path, tmp_path: Path) -> None:
    status, out, err = run("store", "backup", tmp_path / "backup")
    assert (status, err) == (0, "")
    assert "2 databases, 1 pictures, 0 files of versions" in out
    status, _, err = run("store", "backup", tmp_path / "backup")
    assert (status, "is there already: a backup needs a new name" in err) == (1, True)


def test_beside_a_shared_database_only_files_are_copied_and_restored(
    run: Run, data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("store", "backup", tmp_path / "with")
    monkeypatch.setenv(ENV_PREFIX + "DATABASE_URL", "postgresql+psycopg://user:hunter2@host/name")
    status, out, err = run("store", "backup", tmp_path / "without")
    assert (status, "0 databases, 1 pictures" in out, "pg_dump copies that" in err) == (0, True, True)
    assert not (tmp_path / "without" / "store.sqlite3").exists()
    (picture,) = (path for path in (data_dir / "pictures").rglob("*") if path.is_file())
    picture.unlink()
    status, out, _ = run("store", "restore", tmp_path / "without")
    assert (status, "1 files were missing and are back" in out) == (0, True)
    assert picture.read_bytes() == b"a picture"
    status, _, err = run("store", "restore", tmp_path / "with", "--replace")
    assert (status, "a backup with databases, and database_url is set" in err) == (1, True)
    monkeypatch.delenv(ENV_PREFIX + "DATABASE_URL")
    status, _, err = run("store", "restore", tmp_path / "without", "--replace")
    assert (status, "a backup without databases, and database_url is not set" in err) == (1, True)
    assert "hunter2" not in err


def test_what_services_share_is_said_not_to_be_in_a_backup(
    run: Run, data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ENV_PREFIX + "ARTEFACTS_URL", "s3://bucket/folder")
    status, _, err = run("store", "backup", tmp_path / "backup")
    assert (status, "of s3://bucket/folder (artefacts_url) only what this machine has a copy of" in err) == (0, True)


def test_nothing_is_copied_from_beneath_a_restore(run: Run, data_dir: Path, tmp_path: Path) -> None:
    with held(data_dir, alone=True):
        status, _, err = run("store", "backup", tmp_path / "backup")
    assert (status, "a restore into" in err) == (1, True)
    assert list(tmp_path.glob("backup*")) == []
    assert run("store", "backup", tmp_path / "nobody", "--data-dir", tmp_path / "nothing")[0] == 1
    assert not (tmp_path / "nothing").exists()
