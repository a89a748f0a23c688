"""Who uses a data folder: everybody who works in it shares a lock, and a restore needs it for itself alone.

The kernel frees the lock with the process, however that ends.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from xsam_backend.errors import StoreError

LOCK = "in-use.lock"

UNFINISHED = "restore-unfinished"
"""A file that is there while a restore moves things: with it the folder is half old, half new."""


class Hold:
    """A place among those who use a data folder, until it is closed.

    Args:
        alone: nobody else may use it meanwhile.

    Raises:
        StoreError: somebody does, a restore was never finished, or the folder can't be written.
    """

    def __init__(self, data_dir: Path, *, alone: bool = False) -> None:
        try:
            data_dir.mkdir(parents=True, exist_ok=True)
            self._handle: int | None = os.open(data_dir / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise StoreError(
                f"cannot open {data_dir / LOCK}: {error}; check that the folder exists and may be written"
            ) from error
        try:
            fcntl.flock(self._handle, (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | fcntl.LOCK_NB)
        except OSError as error:
            self.close()
            raise StoreError(
                f"{data_dir} is in use: stop every service and worker of it first"
                if alone
                else f"a restore into {data_dir} is under way: try again when it has ended"
            ) from error
        if not alone and (data_dir / UNFINISHED).exists():
            self.close()
            raise StoreError(
                f"{data_dir}: a restore into it was begun and never finished, so it is half old, half new: "
                "run `xsam-backend store restore BACKUP --replace` again"
            )

    def close(self) -> None:
        """Let it go. Again, it changes nothing."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None


@contextmanager
def held(data_dir: Path, *, alone: bool = False) -> Iterator[None]:
    """A hold for the length of a block. Raises StoreError as ``Hold`` does."""
    hold = Hold(data_dir, alone=alone)
    try:
        yield
    finally:
        hold.close()
