"""Pictures by content: a file per SHA-256, so that a vanished address can't break what was learned from it.

Where services share their files, a picture lies there too, and a service's own folder holds copies.
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from collections.abc import Iterable
from functools import partial
from pathlib import Path

from xsam_backend.errors import StoreError
from xsam_backend.store.shared_files import SharedFiles
from xsam_backend.whole_files import move_into_place

_SHA256 = re.compile(r"[0-9a-f]{64}")


class PictureFiles:
    """Encoded pictures below a folder, each under the first two digits of its hash."""

    def __init__(self, folder: Path, shared: SharedFiles | None = None) -> None:
        self._folder = folder
        self._shared = shared

    def put(self, encoded: bytes) -> str:
        """Keep a picture's bytes as they are; its hash. Once this returns, the file is whole and on the disk.

        Raises:
            StoreError: it can't be written.
        """
        sha256 = hashlib.sha256(encoded).hexdigest()
        path = self._path(sha256)
        if not (path.is_file() and path.stat().st_size == len(encoded)):
            self._write(path, encoded)
        if self._shared is not None:
            self._shared.put(path, _shared_name(sha256))
        return sha256

    def _write(self, path: Path, encoded: bytes) -> None:
        draft: str | None = None
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, draft = tempfile.mkstemp(prefix=".", suffix=".partial", dir=path.parent)
            with os.fdopen(handle, "wb") as file:
                file.write(encoded)
            move_into_place(Path(draft), path)
        except OSError as error:
            if draft is not None:
                Path(draft).unlink(missing_ok=True)
            raise StoreError(
                f"{path}: the picture ({len(encoded):,} bytes) can't be kept ({error.strerror}): free some space, or "
                "let the service's user write there"
            ) from error

    def read(self, sha256: str) -> bytes:
        """A kept picture's bytes.

        Raises:
            StoreError: there is none of that name, or it can't be read.
        """
        path = self._path(sha256)
        if not path.is_file():
            self.bring([sha256])
        try:
            return path.read_bytes()
        except OSError as error:
            raise StoreError(f"{path}: a kept picture can't be read ({error.strerror}): sync its project") from error

    def bring(self, names: Iterable[str]) -> None:
        """Have those of these hashes in the folder that services share, where the own file lacks or is damaged.

        Raises:
            StoreError: what is shared can't be asked for.
        """
        if self._shared is None:
            return
        for sha256 in names:
            path = self._path(sha256)
            if not _holds(path, sha256):
                self._shared.fetch(_shared_name(sha256), path, partial(_holds, sha256=sha256))

    def lacking(self, names: Iterable[str]) -> set[str]:
        """Those of these hashes that have no file; no file is read."""
        return {sha256 for sha256 in names if not self._path(sha256).is_file()}

    def damaged(self, names: Iterable[str]) -> set[str]:
        """Those of these hashes whose file can't be read or holds something else by now; every file is read."""
        return {sha256 for sha256 in names if self._path(sha256).exists() and not _holds(self._path(sha256), sha256)}

    def _path(self, sha256: str) -> Path:
        if not _SHA256.fullmatch(sha256):
            raise StoreError(f"expected 64 hex digits as a picture's name, got {sha256[:80]!r}")
        return self._folder / sha256[:2] / sha256


def _shared_name(sha256: str) -> str:
    return f"pictures/{sha256[:2]}/{sha256}"


def _holds(path: Path, sha256: str) -> bool:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest() == sha256
    except OSError:
        return False
