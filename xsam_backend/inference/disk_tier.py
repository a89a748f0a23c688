"""Values that were dear to make, kept on disk across restarts: the ones used last, as many as a budget allows.

One file each, with its name and a hash of its bytes in it, so that nothing else is ever taken for it. Whatever is
wrong with a file or disk costs time only: the value is made again. Several processes may share a folder.
"""

from __future__ import annotations

import hashlib
import logging
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Generic, TypeVar

from xsam_backend.inference.cache import CacheStats
from xsam_backend.whole_files import PARTIAL, write_whole

logger = logging.getLogger(__name__)

SUFFIX = ".kept"

PENDING = 4
"""So many files may wait to be written: each is held in memory until it is. Others aren't kept."""

AGAIN_AFTER_S = 60.0
"""Where writing failed, nothing is tried before: each try of a full disk would cost time, and a line in the log."""

LEFT_BEHIND_S = 3600.0
"""A file that was begun so long ago is nobody's any more: its process was killed."""

EMPTIED_TO = 0.9
"""Share of the budget that is left when it was passed: looking through thousands of files takes a while."""

ValueT = TypeVar("ValueT")


class DiskTier(Generic[ValueT]):
    """Files of a folder, bounded in bytes. Safe to use from several threads.

    Args:
        pack, unpack: value -> bytes -> value; ``unpack`` raises ValueError for others' bytes. What has been through
            both is handed out from the first time on, so that nothing depends on whether a file was there.
        later: takes the writing of a file, which nobody need wait for; False where it has no room.
    """

    def __init__(
        self,
        folder: Path,
        capacity_bytes: int,
        pack: Callable[[ValueT], bytes],
        unpack: Callable[[bytes], ValueT],
        later: Callable[[Callable[[], None]], object] = lambda write: write(),
    ) -> None:
        self._folder, self._capacity = folder, capacity_bytes
        self._pack, self._unpack, self._later = pack, unpack, later
        self._lock = threading.Lock()
        self._room = threading.BoundedSemaphore(PENDING)
        self._not_before = 0.0
        self._hits = self._misses = self._evictions = 0
        self._sweep()
        sizes = [size for _, size, _ in self._files()]
        self._nbytes, self._entries = sum(sizes), len(sizes)

    def get_or_make(self, name: str, make: Callable[[], ValueT], *, is_guest: bool = False) -> ValueT:
        """The value of that name, from its file or from ``make``. What a guest makes isn't written: whoever looks
        through a whole project once must not push out what people work on."""
        path = self._folder / (hashlib.sha256(name.encode()).hexdigest() + SUFFIX)
        found = self._read(path, name)
        with self._lock:
            self._hits += found is not None
            self._misses += found is None
        if found is not None:
            return found
        packed = self._pack(make())
        if not is_guest and time.monotonic() >= self._not_before:
            self._write_later(path, name, packed)
        return self._unpack(packed)

    @property
    def stats(self) -> CacheStats:
        """Counters of this process. What is held now is as it knows: others that share the folder add to it, until
        the folder is looked through because it's full."""
        with self._lock:
            return CacheStats(self._hits, self._misses, self._evictions, self._entries, self._nbytes, self._capacity)

    def _write_later(self, path: Path, name: str, packed: bytes) -> None:
        if not self._room.acquire(blocking=False):
            return

        def write() -> None:
            try:
                self._write(path, _title(name, packed) + packed)
            finally:
                self._room.release()

        if self._later(write) is False:
            self._room.release()

    def _read(self, path: Path, name: str) -> ValueT | None:
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            logger.warning("%s can't be read, its picture is encoded again (%s)", path, error)
            return None
        try:
            head, _, packed = data.partition(b"\n")
            if head + b"\n" != _title(name, packed):
                raise ValueError("its name or its hash is another one")
            value = self._unpack(packed)
        except ValueError as error:
            logger.warning("%s is damaged, its picture is encoded again (%s)", path, error)
            with suppress(OSError):
                path.unlink()
            return None
        with suppress(OSError):  # a folder that can only be read is of use, too
            os.utime(path)
        return value

    def _write(self, path: Path, data: bytes) -> None:
        if len(data) > self._capacity:
            return
        try:
            write_whole(path, data)
        except OSError as error:
            self._not_before = time.monotonic() + AGAIN_AFTER_S
            logger.warning("%s: nothing is kept for the next minute (%s)", self._folder, error)
            return
        with self._lock:
            self._nbytes += len(data)
            self._entries += 1
            if self._nbytes > self._capacity:
                self._make_room()

    def _make_room(self) -> None:
        files = sorted(self._files())
        self._nbytes, self._entries = sum(size for _, size, _ in files), len(files)
        for _, size, path in files:
            if self._nbytes <= EMPTIED_TO * self._capacity:
                break
            with suppress(OSError):
                path.unlink()
            self._nbytes -= size
            self._entries -= 1
            self._evictions += 1

    def _sweep(self) -> None:
        for path in self._folder.glob(f"*{SUFFIX}{PARTIAL}"):
            with suppress(OSError):
                if time.time() - path.stat().st_mtime > LEFT_BEHIND_S:
                    path.unlink()

    def _files(self) -> list[tuple[float, int, Path]]:
        """When each was used last, its size, its path; those that vanish meanwhile are left out."""
        found = []
        for path in self._folder.glob(f"*{SUFFIX}"):
            try:
                facts = path.stat()
            except FileNotFoundError:
                continue
            found.append((facts.st_mtime, facts.st_size, path))
        return found


def _title(name: str, packed: bytes) -> bytes:
    return f"{hashlib.sha256(packed).hexdigest()} {name}\n".encode()
