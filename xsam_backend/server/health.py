"""Whether a restart would help, and whether the service should be sent requests: two questions, two answers.

``/health`` is Label Studio's and only says that somebody answers. Here a thread looks every few seconds at what
requests need; whoever asks gets what it saw last, so that an answer never waits for a database or a disk.
"""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from sqlalchemy import Engine as DatabaseEngine
from sqlalchemy.exc import SQLAlchemyError

LOOK_EVERY_S = 5.0

OLD_S = 30.0
"""What was seen so long ago counts for nothing: whatever is looked at doesn't answer."""

STUCK_S = 600.0
"""No stage of the model takes so long: the device hangs."""

LEAST_FREE_BYTES = 64 * 2**20
"""With less, the disk is as good as full."""

Look = Callable[[], str]
"""What is wrong, in words; empty where nothing is. May raise: that is wrong, too."""


class Health:
    """Looks until it is closed.

    Args:
        needs: what requests need, by name.
        threads: name -> whether a thread that must live on does.
        stage_s: for how long the model's stage under way has been going on.
    """

    def __init__(
        self,
        needs: Mapping[str, Look],
        threads: Mapping[str, Callable[[], bool]],
        stage_s: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self._needs, self._threads, self._stage_s = needs, threads, stage_s
        self._seen: dict[str, str] = {}
        self._at: dict[str, float] = {}
        self._closing = threading.Event()
        self._lookers = [
            threading.Thread(target=self._run, args=(name,), name=f"health: {name}", daemon=True) for name in needs
        ]

    def start(self) -> None:
        """Look once, so that the first answer is a true one; then go on, at each need in a thread of its own: one
        that hangs mustn't hide the others."""
        for name in self._needs:
            self._look(name)
        for thread in self._lookers:
            thread.start()

    def close(self) -> None:
        """Look no more."""
        self._closing.set()
        for thread in self._lookers:
            if thread.is_alive():
                thread.join(timeout=10)

    def _run(self, name: str) -> None:
        while not self._closing.wait(LOOK_EVERY_S):
            self._look(name)

    def _look(self, name: str) -> None:
        try:
            words = self._needs[name]()
        except Exception as error:  # whatever it is, the need isn't met
            words = str(getattr(error, "orig", None) or error) or type(error).__name__
        self._seen[name], self._at[name] = words, time.monotonic()

    @property
    def lacking(self) -> dict[str, str]:
        """Why it shouldn't be sent requests, by need; empty where it should."""
        now = time.monotonic()
        found = {}
        for name in self._needs:
            age_s = now - self._at.get(name, now)
            words = f"no answer for {age_s:.0f} s" if age_s > OLD_S else self._seen.get(name, "")
            if words:
                found[name] = words
        return found | self.ailing

    @property
    def ailing(self) -> dict[str, str]:
        """Why it should be restarted; empty where it needn't be."""
        found = {name: "its thread has ended" for name, lives in self._threads.items() if not lives()}
        stage_s = self._stage_s()
        if stage_s > STUCK_S:
            found["model"] = f"has been at one stage for {stage_s:.0f} s: does the device hang?"
        return found

    @property
    def names(self) -> list[str]:
        """Of all that may be wrong."""
        return [*self._needs, *self._threads, "model"]


def database_need(engine: DatabaseEngine) -> Look:
    """That a database takes writes: not held by somebody, not read-only, not gone."""

    def look() -> str:
        try:
            with engine.connect() as connection:
                if engine.dialect.name == "sqlite":
                    connection.exec_driver_sql("BEGIN IMMEDIATE")
                elif connection.exec_driver_sql("SHOW transaction_read_only").scalar() == "on":
                    return "the server takes no writes: is it a standby?"
                connection.rollback()
        except SQLAlchemyError as error:
            return f"can't be written: {getattr(error, 'orig', None) or error}"
        return ""

    return look


def disk_need(folder: Path) -> Look:
    """That there is some room on a folder's disk."""

    def look() -> str:
        free = shutil.disk_usage(folder).free
        return f"{folder}: {free / 1e6:.0f} MB free, which is as good as none" if free < LEAST_FREE_BYTES else ""

    return look
