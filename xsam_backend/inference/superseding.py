"""Which requests nobody waits for any more: the next click on the same object asks for everything anew."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import NamedTuple


class Topic(NamedTuple):
    """What a request is about, and how far it goes: one with the same subject that goes further makes it pointless.
    Equal requests don't: who sends the same twice may wait for both."""

    subject: Hashable
    extent: int


class Newest:
    """Knows how far the requests under way go. Safe to use from several threads.

    Args:
        on_change: called when there is one more.
    """

    def __init__(self, on_change: Callable[[], None]) -> None:
        self._on_change = on_change
        self._lock = threading.Lock()
        self._extents: dict[Hashable, list[int]] = {}

    @contextmanager
    def asked(self, topic: Topic | None) -> Iterator[Callable[[], bool]]:
        """For the time of a request: whether one that goes further is under way. None: no request can."""
        if topic is None:
            yield lambda: False
            return
        with self._lock:
            extents = self._extents.setdefault(topic.subject, [])
            extents.append(topic.extent)
        self._on_change()
        try:
            yield lambda: max(extents) > topic.extent
        finally:
            with self._lock:
                extents.remove(topic.extent)
                if not extents:
                    self._extents.pop(topic.subject, None)
