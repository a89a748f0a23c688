"""A backup back into a data folder: looked through first, then put in place by renaming, the old moved aside.

Everything is copied into the data folder's own filesystem and the databases are opened there before anything that is
in use changes place. A kill in between leaves the data folder as it was; one during the few renames leaves a mark
with which no service starts, and restoring again ends it.
"""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from datetime import datetime, timezone
from pathlib import Path, PurePosixPath
from typing import Any

from xsam_backend.errors import StoreError
from xsam_backend.store.backup import FOLDERS, FORMAT, MANIFEST, SECRET, KeptFile, Manifest, copy_file, hash_of
from xsam_backend.store.data_folder import UNFINISHED, held
from xsam_backend.store.database import HISTORIES, database_url, known_revisions, open_database
from xsam_backend.store.projects import Projects
from xsam_backend.whole_files import PARTIAL, force, move_into_place, write_whole

STAGING = ".restore" + PARTIAL
REPLACED = "replaced-"

_DATABASES = tuple(f"{history}.sqlite3" for history in HISTORIES)
_OURS = (*_DATABASES, SECRET, *FOLDERS)
"""What a backup can hold, by the first part of its path."""

_OF_THE_TIME = (*(f"{name}{end}" for name in _DATABASES for end in ("-wal", "-shm")), "jobs")
"""Belongs to the databases that are replaced: the folders of jobs would be taken for those of new jobs with their
numbers."""

_SHA256 = re.compile(r"[0-9a-f]{64}")


def checked_manifest(source: Path) -> Manifest:
    """A backup's manifest, after every file in it was read and compared with its hash.

    Raises:
        StoreError: it is no backup, one of a newer version, or damaged; names the first file that is.
    """
    manifest = read_manifest(source)
    for history, revision in manifest.databases.items():
        if history not in HISTORIES or revision not in known_revisions(history):
            raise StoreError(
                f"{source}: its {history} database is at {revision}, which this version ({manifest.made_by} made it) "
                "doesn't know: update this package"
            )
    for name, expected in manifest.files.items():
        try:
            found = hash_of(source / name)
        except OSError as error:
            raise StoreError(f"{source / name} can't be read ({error.strerror}): restore another one") from error
        if found != expected:
            raise StoreError(
                f"{source / name} is damaged: expected {expected.bytes:,} bytes with SHA-256 "
                f"{expected.sha256[:12]}…, got {found.bytes:,} with {found.sha256[:12]}…: restore another one"
            )
    return manifest


def read_manifest(source: Path) -> Manifest:
    """A backup's manifest, as it says; no other file is read.

    Raises:
        StoreError: it is none.
    """
    path = source / MANIFEST
    try:
        read: dict[str, Any] = json.loads(path.read_text("utf-8"))
        if read["format"] != FORMAT:
            raise StoreError(f"{path}: expected format {FORMAT}, got {read['format']!r}: update this package")
        files = {str(name): KeptFile(int(is_["bytes"]), str(is_["sha256"])) for name, is_ in read["files"].items()}
        manifest = Manifest(str(read["made_at"]), str(read["made_by"]), dict(read["databases"]), files)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise StoreError(f"{path}: expected the manifest of a backup, can't be read ({error!r})") from error
    for name, file in files.items():
        parts = PurePosixPath(name).parts
        is_ours = bool(parts) and name == "/".join(parts) and ".." not in parts and parts[0] in _OURS
        if not is_ours or not _SHA256.fullmatch(file.sha256):
            raise StoreError(f"{path}: {name[:200]!r} can't be in a backup")
    if {f"{history}.sqlite3" for history in manifest.databases} != set(_DATABASES) & set(files):
        raise StoreError(f"{path}: expected the databases that it names among its files")
    return manifest


def restore(source: Path, data_dir: Path, *, replace: bool) -> Path | None:
    """Make a data folder what it was when a backup with databases was made. What was in it is moved aside.

    Every project is marked to be synced, so that a service that has Label Studio's address and token fetches what
    annotators did since.

    Args:
        replace: the data folder may have something in it.

    Returns:
        Where what was in it lies now; None where there was nothing.

    Raises:
        StoreError: the backup is damaged, the folder is in use or isn't empty, or can't be written.
    """
    manifest = checked_manifest(source)
    with held(data_dir, alone=True):
        before = [name for name in (*_OURS, *_OF_THE_TIME) if (data_dir / name).exists()]
        if before and not replace:
            raise StoreError(
                f"{data_dir} isn't empty ({', '.join(before)}): --replace moves that into its folder replaced-…"
            )
        staging = data_dir / STAGING
        try:
            shutil.rmtree(staging, ignore_errors=True)
            for name in manifest.files:
                copy_file(source / name, staging / name)
            _prepare(staging)
            return _swap(staging, data_dir, before)
        except OSError as error:
            shutil.rmtree(staging, ignore_errors=True)
            raise StoreError(f"cannot write into {data_dir}: {error}") from error


def _prepare(staging: Path) -> None:
    """Open the databases where nobody needs them yet: they are brought up to date, and what can't be opened shows."""
    for history in HISTORIES:
        engine = open_database(database_url(history, staging), history)
        try:
            if history == "store":
                Projects(engine).want_sync()
        finally:
            engine.dispose()


def _swap(staging: Path, data_dir: Path, before: list[str]) -> Path | None:
    aside = Path(tempfile.mkdtemp(prefix=f"{REPLACED}{datetime.now(timezone.utc):%Y%m%d-%H%M%S}-", dir=data_dir))
    write_whole(data_dir / UNFINISHED, f"{aside.name}\n".encode())
    for name in before:
        (data_dir / name).rename(aside / name)
    for path in sorted(staging.iterdir()):
        path.rename(data_dir / path.name)
    force(data_dir)
    (data_dir / UNFINISHED).unlink()
    force(data_dir)
    shutil.rmtree(staging)
    if before:
        return aside
    aside.rmdir()
    return None


def restore_files(source: Path, data_dir: Path, *, replace: bool) -> int:
    """Put back what a backup without databases holds, where it is missing or damaged; how many files that were.

    Nobody need stop meanwhile: all but the webhook secret are named by their content.

    Args:
        replace: also a webhook secret that is another one.

    Raises:
        StoreError: the backup is damaged, another webhook secret is there, or a file can't be written.
    """
    manifest = checked_manifest(source)
    lacking = [name for name, file in manifest.files.items() if not _has(data_dir / name, file)]
    if SECRET in lacking and (data_dir / SECRET).exists() and not replace:
        raise StoreError(f"{data_dir / SECRET} is another one: --replace puts the backup's in its place")
    try:
        for name in lacking:
            target = data_dir / name
            partial = target.with_name(f".{target.name}{PARTIAL}")
            copy_file(source / name, partial)
            move_into_place(partial, target)
    except OSError as error:
        raise StoreError(f"cannot write into {data_dir}: {error}") from error
    return len(lacking)


def _has(path: Path, expected: KeptFile) -> bool:
    try:
        return hash_of(path) == expected
    except OSError:
        return False
