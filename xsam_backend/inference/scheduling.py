"""Whose turn it is on the model: one at a time, people before batches, each in order of arrival.

A batch takes a turn per stage (a look, an answer), so a click waits for one stage of it at most. Where a click waits
for something that a batch has begun, such as the encoding of its own picture, that goes as early as a click. Where
clicks leave no pause, one stage of what waits behind them gets a turn from time to time, so nothing waits for ever.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import IntEnum

from xsam_backend.errors import BusyError, SupersededError

PATIENCE_S = 5.0
"""So long clicks may keep the model from all others."""


class Priority(IntEnum):
    """Smaller goes first. ``BATCH``: somebody opened tasks and waits; ``BULK``: a whole project, in the background;
    ``AHEAD``: what nobody has asked for yet."""

    INTERACTIVE = 0
    BATCH = 1
    BULK = 2
    AHEAD = 3


@dataclass(frozen=True)
class _Ticket:
    priority: Priority
    arrival: int
    work: Hashable
    since: float


class Turns:
    """A lock with a queue ordered by priority, then arrival.

    Args:
        patience_s: so long clicks may keep it from all others, seconds.
    """

    def __init__(self, patience_s: float = PATIENCE_S) -> None:
        self._patience_s = patience_s
        self._changed = threading.Condition()
        self._arrivals = itertools.count()
        self._queue: list[_Ticket] = []
        self._hurried: list[tuple[Hashable, Priority]] = []
        self._taken = False
        self._taken_since = 0.0
        self._idle_since = self._others_since = time.monotonic()

    @contextmanager
    def take(
        self,
        priority: Priority,
        wait_limit_s: float,
        work: Hashable = None,
        is_superseded: Callable[[], bool] = lambda: False,
    ) -> Iterator[Callable[[], None]]:
        """Wait for a turn and hold it for the length of the block.

        Yields:
            Called in the block, it lets whoever comes first now have the turn and waits for another one; at once, if
            that is nobody. Raises as this does; the block must end then.

        Args:
            work: what it is for; see ``hurried``.
            is_superseded: asked while waiting and after ``notice``.

        Raises:
            BusyError: it did not come within ``wait_limit_s``.
            SupersededError: nobody wants it any more.
        """
        is_held = False

        def wait() -> None:
            nonlocal is_held
            ticket = _Ticket(priority, next(self._arrivals), work, time.monotonic())
            self._wait(ticket, wait_limit_s, is_superseded)
            is_held = True

        def end() -> None:
            nonlocal is_held
            is_held = False
            with self._changed:
                self._taken = False
                self._idle_since = time.monotonic()
                if priority is not Priority.INTERACTIVE:
                    self._others_since = self._idle_since
                self._changed.notify_all()

        def let_others() -> None:
            with self._changed:
                somebody = any(self._order(ticket)[0] <= priority for ticket in self._queue)
            if somebody:
                end()
                wait()

        wait()
        try:
            yield let_others
        finally:
            if is_held:
                end()

    @contextmanager
    def hurried(self, work: Hashable, priority: Priority) -> Iterator[None]:
        """As long as the block lasts, whatever is for this work goes at least as early as this priority would."""
        hurry = (work, priority)
        with self._changed:
            self._hurried.append(hurry)
            self._changed.notify_all()
        try:
            yield
        finally:
            with self._changed:
                self._hurried.remove(hurry)

    def notice(self) -> None:
        """Let all who wait ask whether they are superseded."""
        with self._changed:
            self._changed.notify_all()

    def _wait(self, ticket: _Ticket, wait_limit_s: float, is_superseded: Callable[[], bool]) -> None:
        deadline = ticket.since + wait_limit_s
        with self._changed:
            self._queue.append(ticket)
            try:
                while not is_superseded() and (self._taken or self._next() != ticket):
                    left_s = deadline - time.monotonic()
                    if left_s <= 0:
                        raise BusyError(
                            f"waited {wait_limit_s:.0f} s for the model, {len(self._queue) - 1} others are waiting: "
                            "try again later, or run more service processes"
                        )
                    self._changed.wait(left_s)
                if is_superseded():
                    raise SupersededError("a newer request with the same prompt has come: nobody waits for this one")
                self._taken, self._taken_since = True, time.monotonic()
            finally:
                self._queue.remove(ticket)
                self._changed.notify_all()

    def _next(self) -> _Ticket:
        """Whose turn it is: changed by the queue or the end of a turn alone, not by time, so all who wait agree."""
        first = min(self._queue, key=self._order)
        others = [ticket for ticket in self._queue if Priority.INTERACTIVE < ticket.priority < Priority.AHEAD]
        if first.priority is Priority.INTERACTIVE and others:
            other = min(others, key=self._order)
            if self._idle_since - max(self._others_since, other.since) >= self._patience_s:
                return other
        return first

    def _order(self, ticket: _Ticket) -> tuple[Priority, int]:
        hurried = [priority for work, priority in self._hurried if work == ticket.work]
        return min([ticket.priority, *hurried]), ticket.arrival

    @property
    def waiting(self) -> int:
        """How many wait for a turn."""
        with self._changed:
            return len(self._queue)

    @property
    def taken_s(self) -> float:
        """For how long the turn of now has been going on; 0 if it is nobody's."""
        with self._changed:
            return time.monotonic() - self._taken_since if self._taken else 0.0

    @property
    def idle_s(self) -> float:
        """For how long nobody has had or wanted a turn."""
        with self._changed:
            return 0.0 if self._taken or self._queue else time.monotonic() - self._idle_since
