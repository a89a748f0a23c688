"""What a backup holds, what is refused, and that a restore changes nothing until it can change everything."""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import stat
from pathlib import Path
from typing import Any

import pytest

from xsam_backend.errors import StoreError
from xsam_backend.store import backup as backup_module
from xsam_backend.store import restoring
from xsam_backend.store.backup import back_up
from xsam_backend.store.data_folder import UNFINISHED, Hold, held
from xsam_backend.store.database import database_url, open_database, opened_store
from xsam_backend.store.inbox import Inbox
from xsam_backend.store.picture_files import PictureFiles
from xsam_backend.store.projects import ProjectKey, Projects
from xsam_backend.store.restoring import checked_manifest, restore, restore_files

KEY = ProjectKey("here", 1, 2)


def events(data_dir: Path) -> list[int]:
    engine = open_database(database_url("inbox", data_dir), "inbox")
    try:
        return [event.body["number"] for event in Inbox(engine).after()]
    finally:
        engine.dispose()


def put_event(data_dir: Path, number: int) -> None:
    engine = open_database(database_url("inbox", data_dir), "inbox")
    try:
        Inbox(engine).put({"action": "X", "number": number}, None, verified=True)
    finally:
        engine.dispose()


def snapshot(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.endswith((".lock", "-shm"))
    }


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """A data folder with something of everything in it."""
    folder = tmp_path / "data"
    put_event(folder, 1)
    with opened_store(folder, None) as engine:
        Projects(engine).remember(KEY, title="as it was")
    PictureFiles(folder / "pictures").put(b"a picture")
    (folder / "versions" / "v1").mkdir(parents=True)
    (folder / "versions" / "v1" / "delta.safetensors").write_bytes(b"numbers")
    (folder / "versions" / "v1" / "delta.safetensors.partial").write_bytes(b"half")
    (folder / "webhook-secret").write_text("s" * 64)
    (folder / "webhook-secret").chmod(0o600)
    for left_out in ("models", "encoded", "jobs/7"):
        (folder / left_out).mkdir(parents=True)
        (folder / left_out / "file").write_text("can be made again")
    return folder


def test_a_backup_brings_all_back_and_moves_aside_what_was_there(data_dir: Path, tmp_path: Path) -> None:
    manifest = back_up(data_dir, tmp_path / "backup", has_databases=True)
    assert (manifest.count("pictures"), manifest.count("versions"), manifest.left_out) == (1, 1, ())
    put_event(data_dir, 2)
    with opened_store(data_dir, None) as engine:
        Projects(engine).remember(KEY, title="spoilt")
    aside = restore(tmp_path / "backup", data_dir, replace=True)
    assert events(data_dir) == [1]
    with opened_store(data_dir, None) as engine:
        assert [project.title for project in Projects(engine).all()] == ["as it was"]
        assert [key for key, _ in Projects(engine).sync_wanted()] == [str(KEY)], "what came since is to be fetched"
    assert (data_dir / "webhook-secret").read_text() == "s" * 64
    assert stat.S_IMODE((data_dir / "webhook-secret").stat().st_mode) == 0o600
    assert (data_dir / "models" / "file").exists(), "nobody replaces those"
    assert not (data_dir / "jobs").exists(), "a new job 7 would take it for its own"
    assert aside is not None
    assert events(aside) == [1, 2]
    assert (aside / "jobs" / "7" / "file").exists()
    assert not [name for name in os.listdir(data_dir) if "partial" in name or name == UNFINISHED]


def test_a_backup_is_for_its_owner_alone(data_dir: Path, tmp_path: Path) -> None:
    back_up(data_dir, tmp_path / "backup", has_databases=True)
    assert stat.S_IMODE((tmp_path / "backup").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "backup" / "store.sqlite3").stat().st_mode) == 0o600


def test_into_an_empty_folder_nothing_need_be_replaced(data_dir: Path, tmp_path: Path) -> None:
    back_up(data_dir, tmp_path / "backup", has_databases=True)
    assert restore(tmp_path / "backup", tmp_path / "elsewhere", replace=False) is None
    assert events(tmp_path / "elsewhere") == [1]


def test_the_inbox_is_never_older_than_what_was_read_of_it(
    data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An event comes and is read between the two copies. Restored, the next event must still get a new number."""
    copy = backup_module._copy_database

    def with_news_in_between(source: Path, target: Path, table: str) -> str:
        revision = copy(source, target, table)
        put_event(data_dir, len(events(data_dir)) + 1)
        with sqlite3.connect(data_dir / "store.sqlite3") as store:
            store.execute("INSERT OR REPLACE INTO cursors VALUES ('collecting', ?)", [len(events(data_dir))])
        return revision

    monkeypatch.setattr(backup_module, "_copy_database", with_news_in_between)
    back_up(data_dir, tmp_path / "backup", has_databases=True)
    restore(tmp_path / "backup", tmp_path / "new", replace=False)
    with sqlite3.connect(tmp_path / "new" / "store.sqlite3") as store:
        read_up_to = store.execute("SELECT coalesce(max(event_id), 0) FROM cursors").fetchone()[0]
    assert read_up_to <= len(events(tmp_path / "new"))


def test_a_damaged_database_is_not_backed_up(data_dir: Path, tmp_path: Path) -> None:
    path = data_dir / "store.sqlite3"
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * 8192)
    with pytest.raises(StoreError, match=r"store\.sqlite3 is damaged .*xsam-backend store restore"):
        back_up(data_dir, tmp_path / "backup", has_databases=True)
    assert not list(tmp_path.glob("backup*"))


def test_a_damaged_picture_is_left_out_and_named(data_dir: Path, tmp_path: Path) -> None:
    name = f"pictures/{hashlib.sha256(b'a picture').hexdigest()[:2]}/{hashlib.sha256(b'a picture').hexdigest()}"
    (data_dir / name).write_bytes(b"another")
    manifest = back_up(data_dir, tmp_path / "backup", has_databases=True)
    assert manifest.left_out == (name,)
    assert checked_manifest(tmp_path / "backup").count("pictures") == 0


def test_a_backup_has_a_new_name_and_nothing_half_stays(
    data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    back_up(data_dir, tmp_path / "backup", has_databases=True)
    before = snapshot(tmp_path / "backup")
    with pytest.raises(StoreError, match="is there already"):
        back_up(data_dir, tmp_path / "backup", has_databases=True)
    assert snapshot(tmp_path / "backup") == before

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(backup_module, "copy_file", full)
    with pytest.raises(StoreError, match="No space left"):
        back_up(data_dir, tmp_path / "another", has_databases=True)
    assert not list(tmp_path.glob("another*"))


def test_what_never_ran_cannot_be_backed_up(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="expected the data folder of a service that has run"):
        back_up(tmp_path / "nothing", tmp_path / "backup", has_databases=True)


def spoil(backup: Path, what: str) -> None:
    manifest: dict[str, Any] = json.loads((backup / "manifest.json").read_text())
    picture = next(name for name in manifest["files"] if name.startswith("pictures/"))
    if what == "a byte":
        (backup / "inbox.sqlite3").write_bytes((backup / "inbox.sqlite3").read_bytes()[:-1] + b"?")
    elif what == "a file":
        (backup / picture).unlink()
    elif what == "newer":
        manifest["databases"]["store"] = "store_9999"
    elif what == "format":
        manifest["format"] = 2
    elif what == "outside":
        manifest["files"]["../evil"] = manifest["files"][picture]
    elif what == "another folder":
        manifest["files"]["models/x"] = manifest["files"][picture]
    elif what == "no database":
        del manifest["files"]["inbox.sqlite3"]
    else:
        (backup / "manifest.json").write_text("[" * 10**5 if what == "depth" else "{")
        return
    (backup / "manifest.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("a byte", r"inbox\.sqlite3 is damaged: expected .* bytes with SHA-256"),
        ("a file", r"can't be read \(No such file"),
        ("newer", r"is at store_9999, which this version .* doesn't know: update"),
        ("format", r"expected format 1, got 2"),
        ("outside", r"'\.\./evil' can't be in a backup"),
        ("another folder", r"'models/x' can't be in a backup"),
        ("no database", r"expected the databases that it names"),
        ("manifest", r"expected the manifest of a backup"),
        ("depth", r"expected the manifest of a backup"),
    ],
)
def test_a_bad_backup_changes_nothing(data_dir: Path, tmp_path: Path, what: str, said: str) -> None:
    back_up(data_dir, tmp_path / "backup", has_databases=True)
    before = snapshot(data_dir)
    spoil(tmp_path / "backup", what)
    with pytest.raises(StoreError, match=said):
        restore(tmp_path / "backup", data_dir, replace=True)
    assert snapshot(data_dir) == before


def test_a_folder_in_use_or_with_something_in_it_is_refused(data_dir: Path, tmp_path: Path) -> None:
    back_up(data_dir, tmp_path / "backup", has_databases=True)
    before = snapshot(data_dir)
    with pytest.raises(StoreError, match=r"isn't empty \(.*--replace"):
        restore(tmp_path / "backup", data_dir, replace=False)
    with held(data_dir), pytest.raises(StoreError, match="in use: stop every service"):
        restore(tmp_path / "backup", data_dir, replace=True)
    assert snapshot(data_dir) == before


def test_while_a_restore_runs_nobody_starts(data_dir: Path) -> None:
    with held(data_dir, alone=True):
        with pytest.raises(StoreError, match=r"a restore into .* is under way"):
            Hold(data_dir)
        with pytest.raises(StoreError, match="under way"), opened_store(data_dir, None):
            pass


def test_a_full_disk_leaves_everything_in_place(
    data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    back_up(data_dir, tmp_path / "backup", has_databases=True)
    before = snapshot(data_dir)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(restoring, "copy_file", full)
    with pytest.raises(StoreError, match="No space left"):
        restore(tmp_path / "backup", data_dir, replace=True)
    assert snapshot(data_dir) == before


def test_killed_among_the_renames_it_is_noticed_and_mended_by_another_run(
    data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    back_up(data_dir, tmp_path / "backup", has_databases=True)
    rename = Path.rename

    class Killed(BaseException):
        pass

    def killed_at_the_picture_folder(self: Path, target: Path) -> Path:
        if self.name == "pictures" and restoring.STAGING in str(self):
            raise Killed
        return rename(self, target)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", killed_at_the_picture_folder)
        with pytest.raises(Killed):
            restore(tmp_path / "backup", data_dir, replace=True)
    with pytest.raises(StoreError, match=r"never finished.*store restore BACKUP --replace"):
        Hold(data_dir)
    restore(tmp_path / "backup", data_dir, replace=True)
    assert events(data_dir) == [1]
    hold = Hold(data_dir)
    hold.close()
    hold.close()  # by then the number may be another file's


def test_files_beside_a_shared_database_come_back_where_they_lack(data_dir: Path, tmp_path: Path) -> None:
    back_up(data_dir, tmp_path / "backup", has_databases=False)
    sha256 = hashlib.sha256(b"a picture").hexdigest()
    (data_dir / "pictures" / sha256[:2] / sha256).unlink()
    (data_dir / "versions" / "v1" / "delta.safetensors").write_bytes(b"damaged")
    with held(data_dir):
        assert restore_files(tmp_path / "backup", data_dir, replace=False) == 2
    assert PictureFiles(data_dir / "pictures").read(sha256) == b"a picture"
    assert (data_dir / "versions" / "v1" / "delta.safetensors").read_bytes() == b"numbers"
    (data_dir / "webhook-secret").write_text("another")
    with pytest.raises(StoreError, match="another one: --replace"):
        restore_files(tmp_path / "backup", data_dir, replace=False)
    assert restore_files(tmp_path / "backup", data_dir, replace=True) == 1
