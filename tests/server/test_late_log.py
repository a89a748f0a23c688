"""Regions wait for a database that is held or gone, in order and within bounds, and none is lost."""

from __future__ import annotations

from typing import Any

import pytest

from xsam_backend.errors import StoreBusyError, StoreError
from xsam_backend.server import late_log
from xsam_backend.server.late_log import LateLog
from xsam_backend.server.monitor import Monitor


class Log:
    """Takes anything, unless it has an error."""

    def __init__(self) -> None:
        self.taken: list[Any] = []
        self.error: StoreError | None = StoreBusyError("the server is gone")

    def add(self, records: list[Any]) -> None:
        if self.error:
            raise self.error
        self.taken.append(records)


def late(log: Any, monitor: Monitor | None = None) -> LateLog:
    return LateLog(log, monitor or Monitor())


def keep(made: LateLog, *records: Any) -> bool:
    return made.keep(list(records))


def test_what_waits_is_written_in_its_order_however_long_that_takes() -> None:
    log = Log()
    made = late(log)
    assert keep(made, "a", "b")
    assert keep(made, "c")
    for _ in range(100):
        with pytest.raises(StoreBusyError):
            made._round()
    log.error = None
    made._round()
    made._round()
    assert log.taken == [["a", "b"], ["c"]]


def test_it_fills_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(late_log, "REGIONS_LIMIT", 3)
    log = Log()
    made = late(log)
    assert keep(made, "a", "b")
    assert not keep(made, "c", "d")
    assert keep(made, "e")
    log.error = None
    made._round()
    assert keep(made, "f", "g", "h"), "there is room again"


def test_what_can_never_be_written_holds_nobody_up() -> None:
    log, monitor = Log(), Monitor()
    made = late(log, monitor)
    keep(made, "a")
    log.error = StoreError("known already")
    made._round()
    log.error = None
    keep(made, "b")
    made._round()
    assert log.taken == [["b"]]
    (problem,) = monitor.last_problems
    assert problem.message == "known already"


def test_a_stop_tries_once_more_and_says_what_is_lost() -> None:
    log, monitor = Log(), Monitor()
    made = late(log, monitor)
    keep(made, "a", "b")
    made.close()
    assert "2 regions are not in it" in monitor.last_problems[0].message
    log.error = None
    made.close()
    assert log.taken == [["a", "b"]]
