"""A consistent copy of everything that can't be had again, made while the service runs.

A backup is a folder: the databases, the kept pictures, the files of versions, the webhook secret, and a manifest with
the hash of each. Left out is what can be fetched or made again: models, encoded pictures, the fine-tunings' folders.

The order matters. The store is copied before the inbox, since it knows how far the inbox was read: the other way
round it could have read events that the copy lacks, and new ones would get their numbers and never be read. Both are
copied before the files, since rows name files and files are written first.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, nullcontext
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote

import xsam_backend
from xsam_backend.errors import StoreError
from xsam_backend.store.data_folder import held
from xsam_backend.store.database import HISTORIES, VERSION_TABLES, damaged
from xsam_backend.whole_files import PARTIAL, force, write_whole

MANIFEST = "manifest.json"
FORMAT = 1
SECRET = "webhook-secret"
FOLDERS = ("pictures", "versions")
_CHUNK_BYTES = 2**20


@dataclass(frozen=True)
class KeptFile:
    """One file of a backup."""

    bytes: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """What a backup holds.

    Attributes:
        databases: family -> revision of its tables; empty where a shared database has them.
        files: path in the backup -> what it must be.
        left_out: damaged pictures, by their paths.
    """

    made_at: str
    made_by: str
    databases: dict[str, str]
    files: dict[str, KeptFile] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()

    def count(self, folder: str) -> int:
        """How many files are below a folder of the backup."""
        return sum(name.startswith(f"{folder}/") for name in self.files)

    @property
    def total_bytes(self) -> int:
        """Of all files."""
        return sum(file.bytes for file in self.files.values())


def back_up(data_dir: Path, destination: Path, *, has_databases: bool) -> Manifest:
    """Copy a data folder to ``destination``, which must not be there yet: it appears when it is whole.

    Args:
        has_databases: they are files of the data folder; else somebody else copies them.

    Raises:
        StoreError: something can't be read or written, a database is damaged, or a restore into the data folder is
            under way or was never finished. Nothing is left at ``destination``.
    """
    if destination.exists():
        raise StoreError(f"{destination} is there already: a backup needs a new name, to leave the last one whole")
    partial = destination.with_name(destination.name + PARTIAL)
    try:
        shutil.rmtree(partial, ignore_errors=True)  # of a backup that was killed
        partial.mkdir(parents=True, mode=0o700)
        with held(data_dir) if has_databases and data_dir.is_dir() else nullcontext():
            manifest = _copy_all(data_dir, partial, has_databases)
        write_whole(partial / MANIFEST, json.dumps(_as_json(manifest), indent=1).encode())
        partial.rename(destination)
        force(destination.parent)
    except OSError as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise StoreError(f"cannot write the backup {destination}: {error}") from error
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return manifest


def _copy_all(data_dir: Path, partial: Path, has_databases: bool) -> Manifest:
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    manifest = Manifest(now, f"xsam-backend {xsam_backend.__version__}", {})
    if has_databases:
        for history in HISTORIES:
            name = f"{history}.sqlite3"
            manifest.databases[history] = _copy_database(data_dir / name, partial / name, VERSION_TABLES[history])
            manifest.files[name] = hash_of(partial / name)
    left_out = []
    for name in (SECRET, *_names_of_files(data_dir)):
        try:
            copied = copy_file(data_dir / name, partial / name)
        except FileNotFoundError:  # no secret of its own, or a version that was pruned meanwhile
            continue
        if name.startswith("pictures/") and copied.sha256 != Path(name).name:
            (partial / name).unlink()
            left_out.append(name)
            continue
        manifest.files[name] = copied
    return Manifest(manifest.made_at, manifest.made_by, manifest.databases, manifest.files, tuple(left_out))


def _names_of_files(data_dir: Path) -> Iterator[str]:
    """Whole files of the folders that are kept, as paths in the data folder."""
    for folder in FOLDERS:
        for path in sorted((data_dir / folder).rglob("*")):
            if path.is_file() and not path.name.startswith(".") and not path.name.endswith(PARTIAL):
                yield path.relative_to(data_dir).as_posix()


def _copy_database(source: Path, target: Path, version_table: str) -> str:
    """Copy a database as it is at one moment, without stopping those who write; its revision."""
    if not source.is_file():
        raise StoreError(f"{source} is not there: expected the data folder of a service that has run")
    try:
        with (
            closing(sqlite3.connect(f"file:{quote(str(source))}?mode=rw", uri=True, timeout=30)) as reading,
            closing(sqlite3.connect(target)) as writing,
        ):
            reading.backup(writing)
            writing.execute("PRAGMA journal_mode=DELETE")  # one file, which can also be read where nothing is written
            (found,) = writing.execute("PRAGMA integrity_check(1)").fetchone()
            if found != "ok":
                raise damaged(source, found)
            (revision,) = writing.execute(f"SELECT version_num FROM {version_table}").fetchone()
    except sqlite3.OperationalError as error:  # locked, full
        raise StoreError(f"cannot copy {source}: {error}") from error
    except sqlite3.DatabaseError as error:
        raise damaged(source, str(error)) from error
    target.chmod(0o600)
    force(target)
    return str(revision)


def copy_file(source: Path, target: Path) -> KeptFile:
    """Copy a file onto the disk, with its rights; what was copied.

    Raises:
        OSError: it can't be read or written.
    """
    with source.open("rb") as reading:
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("wb") as writing:
            copied = _read(reading, writing)
    shutil.copymode(source, target)
    force(target)
    return copied


def hash_of(path: Path) -> KeptFile:
    """A file's size and hash. Raises OSError where it can't be read."""
    with path.open("rb") as reading:
        return _read(reading)


def _read(reading: BinaryIO, writing: BinaryIO | None = None) -> KeptFile:
    digest, size = hashlib.sha256(), 0
    while chunk := reading.read(_CHUNK_BYTES):
        digest.update(chunk)
        size += len(chunk)
        if writing is not None:
            writing.write(chunk)
    return KeptFile(size, digest.hexdigest())


def _as_json(manifest: Manifest) -> dict[str, object]:
    return {"format": FORMAT, **asdict(manifest)}
