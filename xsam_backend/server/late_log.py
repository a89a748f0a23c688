"""What the prediction log couldn't take at once, because the database was held or out of reach, written later."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence

from xsam_backend.errors import StoreBusyError, StoreError
from xsam_backend.server.monitor import Monitor
from xsam_backend.server.rounds import Rounds
from xsam_backend.store.predictions import Logged, PredictionLog

TRY_EVERY_S = 5.0

REGIONS_LIMIT = 20_000
"""Most regions that wait, in memory; with their outlines, some tens of megabytes."""


class LateLog(Rounds):
    """Holds regions until the log takes them, in their order; a stop of the service tries once more."""

    def __init__(self, log: PredictionLog, monitor: Monitor) -> None:
        super().__init__("prediction log", monitor, TRY_EVERY_S)
        self._log = log
        self._lock = threading.Lock()
        self._waiting = deque[Sequence[Logged]]()
        self._regions = 0

    def keep(self, records: Sequence[Logged]) -> bool:
        """Write these as soon as it can be; False if there is no room for them. Returns at once."""
        with self._lock:
            if self._regions + len(records) > REGIONS_LIMIT:
                return False
            self._waiting.append(records)
            self._regions += len(records)
        self.wake()
        return True

    def close(self) -> None:
        """Write what waits, if it can be now; else say how much is lost."""
        super().close()
        self._guarded("prediction log", self._round)
        if self._regions:
            self._monitor.note("NotLogged", "prediction log", f"{self._regions} regions are not in it")

    def _round(self) -> None:
        while self._waiting:  # only this thread takes from it
            records = self._waiting[0]
            try:
                self._log.add(records)
            except StoreBusyError:
                raise
            except StoreError as error:  # it would say the same again
                self._monitor.problem(error, f"prediction log, {len(records)} regions")
            with self._lock:
                self._waiting.popleft()
                self._regions -= len(records)
