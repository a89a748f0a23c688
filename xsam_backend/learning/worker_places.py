"""One worker per device and machine: a lock on a file below the data folder, which the kernel frees with the process.

Each lock file holds a random word. With the host's name it is the *place* of whoever holds the lock, so that a job
which was running there has certainly lost its worker, however its process ended, and needs no heartbeat to tell.
"""

from __future__ import annotations

import fcntl
import os
import platform
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from xsam_backend.errors import JobError, StoreError

_PATIENCE_S = 2.0
"""Whoever looks whether a lock is free holds it for a moment."""


def device_name(device: str) -> str:
    """The same for each spelling of a device: "cpu", "cuda:1". ``auto`` is the first GPU where there is one."""
    if device == "auto":
        import torch  # seconds, but whoever asks is about to train

        return "cuda:0" if torch.cuda.is_available() else "cpu"
    return "cuda:0" if device == "cuda" else device


@contextmanager
def held_place(folder: Path, device: str) -> Iterator[str]:
    """Hold the place of ``device`` (see :func:`device_name`) on this machine for as long as the block runs.

    Processes that are forked inside hold it too, until the last of them has ended.

    Raises:
        JobError: another process holds it.
        StoreError: the lock file cannot be written.
    """
    path = folder / f"worker-{device.replace(':', '-')}.lock"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise StoreError(
            f"cannot open the lock file {path}: {error}; check that the folder may be written"
        ) from error
    try:
        until = time.monotonic() + _PATIENCE_S
        while not _locked(handle):
            if time.monotonic() > until:
                raise JobError(f"another process fine-tunes on {device} already ({path}): it takes the queue's jobs")
            time.sleep(0.05)
        yield _place(handle, make=True)
    except OSError as error:
        raise StoreError(f"cannot write the lock file {path}: {error}") from error
    finally:
        os.close(handle)


def places(folder: Path) -> dict[str, bool]:
    """The places below a data folder, and whether each is free: no worker holds it."""
    found = {}
    for path in sorted(folder.glob("worker-*.lock")):
        handle = os.open(path, os.O_RDWR)
        try:
            is_free = _locked(handle)
            found[_place(handle)] = is_free
        finally:
            os.close(handle)
    return found


def _locked(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _place(handle: int, make: bool = False) -> str:
    word = os.pread(handle, 64, 0).decode("ascii", "replace")
    if not word and make:
        word = secrets.token_hex(8)
        os.pwrite(handle, word.encode(), 0)
    return f"{platform.node()}/{word}"
