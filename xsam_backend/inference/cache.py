"""Encoded pictures, kept while they fit. Encoding is most of a prediction's time and depends on the picture only.

Least recently used first out, counted in bytes. Two requests for one picture encode it once: the second waits for the
first. A failed encoding is forgotten, so that the next request tries again.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Generic, NamedTuple, Protocol, TypeVar

from xsam_backend.errors import BusyError


class Sized(Protocol):
    """Something that knows how much memory it holds."""

    @property
    def nbytes(self) -> int:
        """Bytes of memory, on whatever device."""


StateT = TypeVar("StateT", bound=Sized)


class StateKey(NamedTuple):
    """What a state depends on: the picture's content and the model."""

    image_sha256: str
    model_version: str


@dataclass(frozen=True)
class CacheStats:
    """Counters since the start, and what is held now."""

    hits: int
    misses: int
    evictions: int
    entries: int
    nbytes: int
    capacity_bytes: int


class StateCache(Generic[StateT]):
    """A byte-bounded LRU of states. Safe to use from several threads; states are never changed."""

    def __init__(self, capacity_bytes: int) -> None:
        if capacity_bytes < 0:
            raise ValueError(f"capacity_bytes: expected 0 or more, got {capacity_bytes}")
        self._capacity = capacity_bytes
        self._lock = threading.Lock()
        self._states: OrderedDict[StateKey, StateT] = OrderedDict()
        self._under_way: dict[StateKey, Future[StateT]] = {}
        self._nbytes = self._hits = self._misses = self._evictions = 0

    def get_or_encode(self, key: StateKey, encode: Callable[[], StateT]) -> StateT:
        """The state of ``key``, from memory or from ``encode``, which runs in one thread at a time per key.

        A state larger than the whole cache is handed out but not kept. What ``encode`` raises is raised here, and in
        every thread that waited for it; but where the other gave up waiting for its turn, this one tries itself.
        """
        while True:
            with self._lock:
                state = self._states.get(key)
                if state is not None:
                    self._states.move_to_end(key)
                    self._hits += 1
                    return state
                waiting = self._under_way.get(key)
                if waiting is None:
                    self._misses += 1
                    mine: Future[StateT] = Future()
                    self._under_way[key] = mine
                    break
            try:
                state = waiting.result()
            except BusyError:
                continue
            with self._lock:
                self._hits += 1
            return state
        try:
            state = encode()
        except BaseException as error:
            with self._lock:
                del self._under_way[key]
            mine.set_exception(error)
            raise
        with self._lock:
            del self._under_way[key]
            self._keep(key, state)
        mine.set_result(state)
        return state

    def _keep(self, key: StateKey, state: StateT) -> None:
        nbytes = state.nbytes
        if nbytes > self._capacity:
            return
        self._states[key] = state
        self._nbytes += nbytes
        while self._nbytes > self._capacity:
            _, oldest = self._states.popitem(last=False)
            self._nbytes -= oldest.nbytes
            self._evictions += 1

    def __contains__(self, key: StateKey) -> bool:
        with self._lock:
            return key in self._states

    def clear(self) -> None:
        """Forget every state."""
        with self._lock:
            self._states.clear()
            self._nbytes = 0

    @property
    def stats(self) -> CacheStats:
        """The counters at this moment."""
        with self._lock:
            return CacheStats(
                self._hits, self._misses, self._evictions, len(self._states), self._nbytes, self._capacity
            )
