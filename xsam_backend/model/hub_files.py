"""One file of a model repository: downloaded, taken up again where it broke off, compared with its hash.

The client downloads a file anew when its process was stopped, and lets whoever answers choose its blob's name. So
bytes are kept beside its blobs, under a name of ours, until they are complete and their hash is the listed one.
"""

from __future__ import annotations

import hashlib
import io
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from huggingface_hub.file_download import http_get
from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

from xsam_backend.errors import CheckpointError

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

PARTIAL = ".xsam-backend.incomplete"
"""Ends the name of a blob that isn't complete; ``hf cache prune`` knows such files by the last part."""

SHA256 = re.compile(r"[0-9a-f]{64}")
SHA1 = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class HubFile:
    """A file of a repository and what is known of its content before it is read.

    Attributes:
        path: inside the repository, with slashes.
        size: bytes.
        sha256: of the content; None where the hub keeps the file in git itself (small ones).
        git_blob: git's SHA-1 of the content; None where ``sha256`` is given.

    Raises:
        ValueError: what can't be these. Path and hash become names on disk, and they come from outside.
    """

    path: str
    size: int
    sha256: str | None = None
    git_blob: str | None = None

    def __post_init__(self) -> None:
        if not is_inside(self.path):
            raise ValueError(f"a file of the path {self.path!r}")
        if not isinstance(self.size, int) or self.size < 0:
            raise ValueError(f"{self.path} of {self.size!r} bytes")
        for kind, digits in ((SHA256, self.sha256), (SHA1, self.git_blob)):
            if digits is not None and not kind.fullmatch(digits):
                raise ValueError(f"{self.path} with the hash {digits!r}")

    @property
    def blob(self) -> str:
        """The name of its blob in the client's cache, which is its hash."""
        name = self.sha256 or self.git_blob
        assert name is not None, "only what a cache without links holds has no hash"
        return name


class DamagedError(Exception):
    """The bytes that came are not the listed ones; says in which way."""


def is_inside(path: str) -> bool:
    """Whether a path with slashes leads nowhere but into the folder that it's relative to."""
    return not {"", ".", ".."} & set(path.split("/"))


def complete(blob: Path, file: HubFile, address: str, say: Callable[[str], None]) -> None:
    """Make the blob, or leave it if it is there and undamaged: download what is missing, compare, rename.

    Nobody else may do this at the same time.

    Raises:
        DamagedError: other bytes came; they are gone again.
        CheckpointError: no room.
        OSError, httpx2.HTTPError: the disk's or the network's fault; what came is kept.
    """
    if blob.is_file():
        fault = find_fault(blob, file, say)
        if fault is None:
            return
        say(f"{file.path} in the cache is damaged ({fault}): fetching it again")
        remove(blob)
    partial = blob.with_name(blob.name + PARTIAL)
    have = partial.stat().st_size if partial.is_file() else 0
    if have > file.size:
        partial.unlink()
        have = 0
    _require_room(partial.parent, file.size - have, file.path)
    if 0 < have < file.size:
        say(f"{file.path}: going on at {have:,} of {file.size:,} bytes")
    try:
        with io.BufferedWriter(_Bounded(partial, file.size)) as stream:
            http_get(
                address,
                stream,
                resume_size=have,
                # Not compressed, or a range would count other bytes than the file's.
                headers={**build_hf_headers(), "Accept-Encoding": "identity"},
                expected_size=file.size,
                displayed_filename=file.path.rpartition("/")[2],
            )
        fault = find_fault(partial, file, say)
        if fault is not None:
            raise DamagedError(fault)
    except DamagedError:
        partial.unlink()
        raise
    partial.replace(blob)


def find_fault(path: Path, file: HubFile, say: Callable[[str], None]) -> str | None:
    """What is wrong with a file's content, None where nothing is."""
    size = path.stat().st_size
    if size != file.size:
        return f"expected {file.size:,} bytes, got {size:,}"
    if file.sha256 is not None:
        if size > 2**30:
            say(f"{file.path}: comparing its hash")
        expected, found = file.sha256, _digest(path, hashlib.sha256())
    elif file.git_blob is not None:
        expected, found = file.git_blob, _digest(path, hashlib.sha1(b"blob %d\0" % size))
    else:
        return None
    return None if found == expected else f"expected hash {expected[:12]}…, got {found[:12]}…"


def remove(path: Path) -> None:
    """Remove a file of the cache, with all that it points to."""
    while path.is_symlink():  # snapshot -> blob -> perhaps a store that repositories share
        target = path.parent / path.readlink()
        path.unlink()
        path = target
    path.unlink(missing_ok=True)


class _Bounded(io.FileIO):
    """A file to append to, up to ``limit`` bytes: whoever sends need not stop."""

    def __init__(self, path: Path, limit: int) -> None:
        super().__init__(path, "ab")
        self._limit = limit

    def write(self, data: ReadableBuffer, /) -> int:
        """Raises DamagedError where it would become longer."""
        if self.tell() + memoryview(data).nbytes > self._limit:
            raise DamagedError(f"expected {self._limit:,} bytes, got more")
        return super().write(data)


def _digest(path: Path, digest: hashlib._Hash) -> str:
    """The hex digest after the file's content."""
    with path.open("rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()


def _require_room(folder: Path, needed: int, path: str) -> None:
    """Raises CheckpointError where a file's remaining bytes would fill the disk."""
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise CheckpointError(
            f"{path} needs {needed / 1e9:.1f} GB more, {folder} has {free / 1e9:.1f} GB free: make room, or set "
            "HF_HOME to another disk"
        )
