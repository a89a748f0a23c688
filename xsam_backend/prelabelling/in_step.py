"""Answers are made ahead of whoever writes them: while one is written, the next ones are under way."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

ItemT = TypeVar("ItemT")
AnswerT = TypeVar("AnswerT")

ANSWERING = 2
"""Threads: while one has the model, the other turns masks into shapes and logs them."""

UNWRITTEN = 4
"""So many answers at most, made or under way, wait behind the one that is written."""


@contextmanager
def answered_ahead(
    answer: Callable[[ItemT], AnswerT], items: Sequence[ItemT]
) -> Iterator[Iterator[tuple[ItemT, Future[AnswerT]]]]:
    """Items in order, each with the answer that is made of it; an item's error comes with its own answer.

    Whoever takes them writes in the meantime: the bound holds since an answer is begun only when another is taken.
    The end of the block, an error's too, waits for the answers under way and begins no others.
    """
    pool = ThreadPoolExecutor(ANSWERING, thread_name_prefix="answering")

    def in_order() -> Iterator[tuple[ItemT, Future[AnswerT]]]:
        begun: deque[tuple[ItemT, Future[AnswerT]]] = deque()
        for item in items:
            begun.append((item, pool.submit(answer, item)))
            if len(begun) > UNWRITTEN:
                yield begun.popleft()
        while begun:
            yield begun.popleft()

    try:
        yield in_order()
    finally:
        pool.shutdown(cancel_futures=True)
