"""Whether a service is the only one of its data folder: a lock on a file, which the kernel frees with the process.

On SQLite files, the only service may take what a killed one has left in hand; beside others it must not.
"""

from __future__ import annotations

import fcntl
import logging
import os
import time
from pathlib import Path

from xsam_backend.errors import StoreError

logger = logging.getLogger(__name__)

PATIENCE_S = 3.0
"""A service that was killed and is started again may find its old process about to end."""


class FolderUse:
    """One service's use of a data folder, from the first moment until ``close``.

    Raises:
        StoreError: the lock's file can't be written.
    """

    def __init__(self, folder: Path, patience_s: float = PATIENCE_S) -> None:
        path = folder / "service.lock"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._handle: int | None = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            self.is_alone = self._is_ours_alone(time.monotonic() + patience_s)
            """No other service uses the folder, and none begins to until ``share``."""
        except OSError as error:
            raise StoreError(f"cannot lock {path}: {error}; check that the folder may be written") from error
        if not self.is_alone:
            logger.warning("another service uses %s as well: if it is one of another version, stop it", folder)
            self.share()

    def _is_ours_alone(self, until: float) -> bool:
        assert self._handle is not None
        while True:
            try:
                fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return True
            except BlockingIOError:
                if time.monotonic() >= until:
                    return False
                time.sleep(0.1)

    def share(self) -> None:
        """Let others begin to use the folder beside this one."""
        assert self._handle is not None
        fcntl.flock(self._handle, fcntl.LOCK_SH)

    def close(self) -> None:
        """It is used no more. Again, it changes nothing."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None
