"""The thread that sees promotions and rollbacks, made here or by another process, and has the versions loaded."""

from __future__ import annotations

import logging

from xsam_backend.inference.deployed import Deployed
from xsam_backend.server.monitor import Monitor
from xsam_backend.server.rounds import Rounds

logger = logging.getLogger(__name__)

LOOK_EVERY_S = 2.0


class VersionWatch(Rounds):
    """Keeps what answers each project as the store says."""

    def __init__(self, deployed: Deployed, monitor: Monitor) -> None:
        super().__init__("versions", monitor, LOOK_EVERY_S)
        self._deployed = deployed

    def start(self) -> None:
        """Load what is deployed now, before the first request; then watch."""
        self._round()
        super().start()

    def _round(self) -> None:
        if self._deployed.refresh():
            logger.info("deployed now: %s", ", ".join(self._deployed.versions))
