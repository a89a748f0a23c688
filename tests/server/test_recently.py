"""Counting a large table at every request would be most of what the service does."""

from __future__ import annotations

import threading

import pytest

from xsam_backend.errors import StoreError
from xsam_backend.server.recently import FREE_S, Recently


class Table:
    """Takes its time to be counted, by a clock of its own."""

    def __init__(self, takes_s: float) -> None:
        self.now, self.takes_s, self.counted = 0.0, takes_s, 0
        self.error: Exception | None = None

    def count(self) -> int:
        self.now += self.takes_s
        if self.error:
            raise self.error
        self.counted += 1
        return self.counted


@pytest.mark.parametrize(("takes_s", "most"), [(0.05, 1000), (0.5, 21), (20.0, 2)])
def test_a_large_table_takes_a_hundredth_of_the_time_and_a_small_one_is_read_each_time(
    takes_s: float, most: int
) -> None:
    table = Table(takes_s)
    recently = Recently(table.count, lambda: table.now)
    for second in range(1000):
        table.now = max(table.now, float(second))
        assert recently() == table.counted
    assert 0 < table.counted <= most
    assert table.counted == most or takes_s > FREE_S


def test_an_error_is_told_and_not_remembered() -> None:
    table = Table(1.0)
    recently = Recently(table.count, lambda: table.now)
    for error in (StoreError("gone"), StoreError("still gone"), None):
        table.error = error
        if error is None:
            assert recently() == 1
        else:
            with pytest.raises(StoreError, match=str(error)):
                recently()


def test_who_asks_meanwhile_gets_the_last() -> None:
    table, reading, go_on = Table(1.0), threading.Event(), threading.Event()

    def count() -> int:
        if table.counted:
            reading.set()
            assert go_on.wait(30)
        return table.count()

    recently = Recently(count, lambda: table.now)
    assert recently() == 1
    table.now += 1000
    slow = threading.Thread(target=recently)
    slow.start()
    assert reading.wait(30)
    assert recently() == 1
    go_on.set()
    slow.join()
    assert recently() == 2
