"""The thread that sees promotions and rollbacks, made here or by another process, and has the versions loaded."""

from __future__ import annotations

import logging
import threading

from xsam_backend.inference.deployed import Deployed

logger = logging.getLogger(__name__)

LOOK_EVERY_S = 2.0


class VersionWatch:
    """Keeps what answers each project as the store says, until it is closed."""

    def __init__(self, deployed: Deployed) -> None:
        self._deployed = deployed
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="versions", daemon=True)

    def start(self) -> None:
        """Load what is deployed now, before the first request; then watch."""
        self._look()
        self._thread.start()

    @property
    def is_running(self) -> bool:
        """Whether it still works."""
        return self._thread.is_alive()

    def close(self) -> None:
        """Look no more."""
        self._closing.set()
        if self._thread.is_alive():
            self._thread.join(timeout=30)

    def _run(self) -> None:
        while not self._closing.wait(LOOK_EVERY_S):
            self._look()

    def _look(self) -> None:
        if self._deployed.refresh():
            logger.info("deployed now: %s", ", ".join(self._deployed.versions))
