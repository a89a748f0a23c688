"""Threads beside the requests: woken, patient, and not to be ended by an error."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest

from xsam_backend.errors import StoreError
from xsam_backend.server.monitor import Monitor
from xsam_backend.server.rounds import Rounds

PATIENCE_S = 10


class Counted(Rounds):
    """Does ``work`` and counts the rounds that it has begun."""

    def __init__(self, work: Callable[[], None], every_s: float | None, threads: int = 1) -> None:
        self.monitor = Monitor()
        super().__init__("counted", self.monitor, every_s, threads=threads, patience_s=PATIENCE_S)
        self._work = work
        self.begun = threading.Semaphore(0)

    def _round(self) -> None:
        self.begun.release()
        self._work()


@pytest.fixture
def started() -> Iterator[Callable[[Counted], Counted]]:
    running: list[Counted] = []

    def start(rounds: Counted) -> Counted:
        running.append(rounds)
        rounds.start()
        return rounds

    yield start
    for one in running:
        one.close()
        assert not one.is_running


@pytest.mark.parametrize("error", [StoreError("the disk is full"), RuntimeError("a bug")], ids=["ours", "a bug"])
def test_an_error_is_told_and_the_next_round_comes(error: Exception, started: Callable[[Counted], Counted]) -> None:
    def fail() -> None:
        raise error

    rounds = started(Counted(fail, 0.01))
    for _ in range(3):
        assert rounds.begun.acquire(timeout=PATIENCE_S)
    assert rounds.is_running
    (problem,) = {(one.kind, one.where) for one in rounds.monitor.last_problems}
    assert problem == (type(error).__name__, "counted")


def test_without_a_clock_a_round_comes_when_it_is_woken(started: Callable[[Counted], Counted]) -> None:
    rounds = started(Counted(lambda: None, None))
    assert rounds.begun.acquire(timeout=PATIENCE_S), "one at the start: something may wait already"
    assert not rounds.begun.acquire(timeout=0.1)
    rounds.wake()
    assert rounds.begun.acquire(timeout=PATIENCE_S)


def test_several_go_rounds_beside_one_another(started: Callable[[Counted], Counted]) -> None:
    together = threading.Barrier(2)

    def meet() -> None:
        together.wait(PATIENCE_S)

    rounds = started(Counted(meet, None, threads=2))
    for _ in range(2):
        assert rounds.begun.acquire(timeout=PATIENCE_S)
    rounds.close()
    assert not together.broken


def test_a_close_waits_for_the_round_under_way(started: Callable[[Counted], Counted]) -> None:
    goes_on, ended = threading.Event(), threading.Event()

    def work() -> None:
        goes_on.wait(PATIENCE_S)
        ended.set()

    rounds = started(Counted(work, None))
    assert rounds.begun.acquire(timeout=PATIENCE_S)
    threading.Timer(0.1, goes_on.set).start()
    rounds.close()
    assert ended.is_set()
