"""The pictures of a batch: while the model answers about one task, those of the next ones are fetched and decoded."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from types import TracebackType

from xsam_backend.labelstudio.images import FetchedImage
from xsam_backend.labelstudio.recent_images import Images

AHEAD = 2
"""Pictures at most that are there before anybody wants them: each may be large."""


class FetchingAhead:
    """Hands out pictures, as ``Images`` does. Within a ``with`` block, for the threads that its ``readers`` are.

    Args:
        images: where they come from; from several threads at once.
        expected: value and task of those that will be wanted, in about this order. Some may be passed over, others
            come.
        ahead: so many at most are there before anybody wants them.
        most_bytes: of these, decoded; None: any number, 0: nothing comes ahead. What is under way counts as large as
            the largest so far; until that is known, one alone does.
        readers: so many threads fetch. What the others are about to want isn't passed over.
    """

    def __init__(
        self,
        images: Images,
        expected: Iterable[tuple[str, int | None]],
        ahead: int = AHEAD,
        most_bytes: int | None = None,
        readers: int = 1,
    ) -> None:
        self._images = images
        self._expected = list(dict.fromkeys(expected))
        self._number = {wanted: number for number, wanted in enumerate(self._expected)}
        self._ahead, self._most_bytes, self._readers = ahead, most_bytes, readers
        self._lock = threading.Lock()
        self._next = 0  # the first that wasn't begun
        self._largest = 0  # bytes
        self._begun: dict[int, Future[FetchedImage]] = {}
        self._pool = ThreadPoolExecutor(ahead, thread_name_prefix="fetching ahead")

    def __enter__(self) -> FetchingAhead:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    def fetch(self, url: str, task_id: int | None = None) -> FetchedImage:
        """See ``ImageSource.fetch``; an error of a picture that was fetched ahead comes here."""
        number = self._number.get((url, task_id))
        if number is None:
            return self._images.fetch(url, task_id)
        with self._lock:
            for passed in [one for one in self._begun if one <= number - self._readers]:
                self._begun.pop(passed).cancel()
            begun = self._begun.pop(number, None)
            self._next = max(self._next, number + 1)
            while self._next < len(self._expected) and self._has_room():
                wanted = self._expected[self._next]
                self._begun[self._next] = self._pool.submit(copy_context().run, partial(self._images.fetch, *wanted))
                self._next += 1
        fetched = self._images.fetch(url, task_id) if begun is None else begun.result()
        with self._lock:
            self._largest = max(self._largest, fetched.pixels.nbytes)
        return fetched

    def _has_room(self) -> bool:
        """For one more."""
        if len(self._begun) >= self._ahead:
            return False
        if self._most_bytes is None:
            return True
        there = [one.result().pixels.nbytes for one in self._begun.values() if one.done() and not one.exception()]
        self._largest = max([self._largest, *there])
        under_way = len(self._begun) - len(there)
        if not self._largest:
            return under_way == 0 and self._most_bytes > 0
        return sum(there) + (under_way + 1) * self._largest <= self._most_bytes
