"""``store``: what it says, and what goes with a shared database; the rest: tests/e2e/test_backup_and_restore.py."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from sqlalchemy import update

from xsam_backend.config import ENV_PREFIX
from xsam_backend.store.data_folder import held
from xsam_backend.store.database import HISTORIES, database_url, open_database
from xsam_backend.store.inbox import Inbox
from xsam_backend.store.inbox_reading import InboxReader
from xsam_backend.store.jobs import Jobs
from xsam_backend.store.picture_files import PictureFiles
from xsam_backend.store.predictions import LoggedRegion, PredictionLog
from xsam_backend.store.tables import EventRow, JobRow

REGION = LoggedRegion(
    region_id="",
    project_key="here/1.2",
    task_id="5",
    model_version="v",
    from_name="poly",
    region_type="polygonlabels",
    label="cat",
    score=0.5,
    interactive=True,
    prompt={"task": "intseg"},
    value={"points": [[1.5, 2.5]]},
    image_sha256="f" * 64,
    image_size_hw=(3, 4),
    created_at=datetime(2026, 1, 1, tzinfo=timezone.utc),
)

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


def test_what_is_old_is_deleted_when_one_says_so(run: Run, data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of three events two are read and one of those is old; of two regions and two jobs one each."""
    now = datetime.now(timezone.utc)
    old, new = now - timedelta(days=400), now - timedelta(days=300)
    store, kept = (open_database(database_url(history, data_dir), history) for history in ("store", "inbox"))
    inbox, log, jobs = Inbox(kept), PredictionLog(store), Jobs(store)
    for number in range(3):
        inbox.put({"action": "X", "tasks": [{"id": number}]}, None, verified=False)
    reader = InboxReader(inbox, store, "collecting")
    reader._keep_place(2)
    with kept.begin() as connection:
        for number, at in ((1, old), (2, new), (3, old)):
            connection.execute(update(EventRow).where(EventRow.id == number).values(received_at=at))
    log.add([replace(REGION, region_id="old", created_at=old), replace(REGION, region_id="new", created_at=new)])
    for number, at in ((1, old), (2, new)):
        jobs.queue(f"here/{number}.2", "command")
        jobs.cancel(number)
        (data_dir / "jobs" / str(number)).mkdir(parents=True)
        with store.begin() as connection:
            connection.execute(update(JobRow).where(JobRow.id == number).values(ended_at=at))

    def left() -> tuple[list[int], list[str], list[str]]:
        folders = sorted(path.name for path in (data_dir / "jobs").iterdir() if path.is_dir())
        return [event.id for event in inbox.after()], sorted(log.find(["old", "new"])), folders

    amount = "1 events, 1 predicted regions, 1 folders of fine-tunings"
    status, out, err = run("store", "prune", "--older-than", "365")
    assert (status, f"to be deleted with --yes: {amount}" in out) == (0, True), err
    assert left() == ([1, 2, 3], ["new", "old"], ["1", "2"])
    status, out, err = run("store", "prune", "--older-than", "365", "--yes")
    assert (status, f"and deleted: {amount}" in out) == (0, True), err
    assert left() == ([2, 3], ["new"], ["2"])
    inbox.put({"action": "X", "tasks": [{"id": 9}]}, None, verified=False)
    assert [event.id for event in inbox.after(3)] == [4], "numbers are not used again"
    for engine in (store, kept):
        engine.dispose()
