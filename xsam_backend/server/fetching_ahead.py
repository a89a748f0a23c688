"""The pictures of a batch: while the model answers about one task, those of the next ones are fetched and decoded."""

from __future__ import annotations

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
    """Hands out pictures, as ``Images`` does. For one thread, within a ``with`` block.

    Args:
        images: where they come from.
        expected: value and task of those that will be wanted, in this order. Some may be passed over, others come.
    """

    def __init__(self, images: Images, expected: Iterable[tuple[str, int | None]]) -> None:
        self._images = images
        self._expected = list(dict.fromkeys(expected))
        self._number = {wanted: number for number, wanted in enumerate(self._expected)}
        self._next = 0  # the first that wasn't begun
        self._begun: dict[int, Future[FetchedImage]] = {}
        self._pool = ThreadPoolExecutor(AHEAD, thread_name_prefix="fetching ahead")

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
        for passed in [one for one in self._begun if one < number]:
            self._begun.pop(passed).cancel()
        begun = self._begun.pop(number, None)
        self._next = max(self._next, number + 1)
        while self._next < len(self._expected) and len(self._begun) < AHEAD:
            wanted = self._expected[self._next]
            self._begun[self._next] = self._pool.submit(copy_context().run, partial(self._images.fetch, *wanted))
            self._next += 1
        return self._images.fetch(url, task_id) if begun is None else begun.result()
