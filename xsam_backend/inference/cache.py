"""Values that were dear to make, kept in memory while they fit.

Least recently used first out, counted in bytes. Two requests for one value make it once: the second waits for the
first. A failure is forgotten, so that the next request tries again.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from enum import Enum
from itertools import takewhile
from typing import Generic, NamedTuple, Protocol, TypeVar

from xsam_backend.errors import BusyError


class Sized(Protocol):
    """Something that knows how much memory it holds."""

    @property
    def nbytes(self) -> int:
        """Bytes of memory, on whatever device."""


ValueT = TypeVar("ValueT", bound=Sized)


class CacheKey(NamedTuple):
    """What a value depends on: the picture's content, and the model or a part of it."""

    image_sha256: str
    version: str


class Standing(Enum):
    """Who asks for a value, and what it may push out to be kept.

    ``ASKED``: somebody who waits for it; all that is used less. ``AHEAD``: whoever expects that it will be asked for;
    only what was used before the value that was asked for last, for that one is being worked on. ``GUEST``: whoever
    looks through a whole project once; nothing, and it is the first to go.
    """

    ASKED = "asked"
    AHEAD = "ahead"
    GUEST = "guest"


@dataclass(frozen=True)
class CacheStats:
    """Counters since the start, and what is held now."""

    hits: int
    misses: int
    evictions: int
    entries: int
    nbytes: int
    capacity_bytes: int


class ByteCache(Generic[ValueT]):
    """A byte-bounded LRU. Safe to use from several threads; values are never changed, but what they hold may grow."""

    def __init__(self, capacity_bytes: int) -> None:
        if capacity_bytes < 0:
            raise ValueError(f"capacity_bytes: expected 0 or more, got {capacity_bytes}")
        self._capacity = capacity_bytes
        self._lock = threading.Lock()
        self._values: OrderedDict[CacheKey, tuple[ValueT, int]] = OrderedDict()
        self._under_way: dict[CacheKey, Future[ValueT]] = {}
        self._asked_last: CacheKey | None = None
        self._nbytes = self._hits = self._misses = self._evictions = 0

    def get_or_make(
        self,
        key: CacheKey,
        make: Callable[[], ValueT],
        *,
        standing: Standing = Standing.ASKED,
        waiting: Callable[[], AbstractContextManager[object]] = nullcontext,
    ) -> ValueT:
        """The value of ``key``, from memory or from ``make``, which runs in one thread at a time per key.

        A value larger than the whole cache is handed out but not kept. What ``make`` raises is raised here, and in
        every thread that waited for it; but where the other gave up waiting for its turn, this one tries itself.

        Args:
            standing: what it may push out, in order to be kept.
            waiting: entered while another thread makes the value.
        """
        while True:
            with self._lock:
                known = self._values.get(key)
                if known is not None:
                    self._use(key, standing)
                    self._hits += 1
                    return known[0]
                under_way = self._under_way.get(key)
                if under_way is None:
                    self._misses += 1
                    mine: Future[ValueT] = Future()
                    self._under_way[key] = mine
                    break
            try:
                with waiting():
                    value = under_way.result()
            except BusyError:
                continue
            with self._lock:
                self._hits += 1
                if key in self._values:
                    self._use(key, standing)
            return value
        try:
            value = make()
        except BaseException as error:
            with self._lock:
                del self._under_way[key]
            mine.set_exception(error)
            raise
        with self._lock:
            del self._under_way[key]
            self._keep(key, value, standing)
        mine.set_result(value)
        return value

    def clear(self) -> int:
        """Forget everything; so many bytes that were. What is being made is kept when it is done."""
        with self._lock:
            freed, self._nbytes = self._nbytes, 0
            self._evictions += len(self._values)
            self._values.clear()
        return freed

    def measure(self, key: CacheKey) -> None:
        """Count a value's bytes anew: it may have grown since."""
        with self._lock:
            known = self._values.get(key)
            if known is not None:
                nbytes = known[0].nbytes
                self._values[key] = known[0], nbytes
                self._nbytes += nbytes - known[1]
                self._make_room()

    def _use(self, key: CacheKey, standing: Standing) -> None:
        if standing is not Standing.GUEST:
            self._values.move_to_end(key)
        if standing is Standing.ASKED:
            self._asked_last = key

    def _keep(self, key: CacheKey, value: ValueT, standing: Standing) -> None:
        nbytes = value.nbytes
        if nbytes > self._capacity - self._not_for(standing):
            return
        self._values[key] = value, nbytes
        self._values.move_to_end(key, last=standing is not Standing.GUEST)
        self._use(key, standing)
        self._nbytes += nbytes
        self._make_room()

    def _not_for(self, standing: Standing) -> int:
        """Bytes of what a new value may not push out."""
        if standing is Standing.GUEST:
            return self._nbytes
        last = self._asked_last
        if standing is Standing.ASKED or last is None or last not in self._values:
            return 0
        since = takewhile(lambda key: key != last, reversed(self._values))
        return self._values[last][1] + sum(self._values[key][1] for key in since)

    def _make_room(self) -> None:
        while self._nbytes > self._capacity:
            _, (_, nbytes) = self._values.popitem(last=False)
            self._nbytes -= nbytes
            self._evictions += 1

    def __contains__(self, key: CacheKey) -> bool:
        with self._lock:
            return key in self._values

    @property
    def stats(self) -> CacheStats:
        """The counters at this moment."""
        with self._lock:
            return CacheStats(
                self._hits, self._misses, self._evictions, len(self._values), self._nbytes, self._capacity
            )
