"""Several pictures at once, on a CPU: one thread each is faster than all threads for one after the other.

A model's single operations are too small to keep several threads busy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")

MOST = 4
"""At once, whatever the number of threads: each picture takes memory."""


def at_once(device: torch.device) -> int:
    """How many pictures to work on at once: a GPU has one queue of its own."""
    return min(torch.get_num_threads(), MOST) if device.type == "cpu" else 1


def side_by_side(function: Callable[[Item], Result], items: Sequence[Item], count: int) -> Iterator[Result]:
    """The results, in order. PyTorch's threads are shared out among those that run at once.

    What one raises is raised in its place, and where nobody wants more, those not yet begun never are.
    """
    if count == 1:
        yield from map(function, items)
        return
    threads = torch.get_num_threads()
    pool = ThreadPoolExecutor(count, initializer=torch.set_num_threads, initargs=(max(threads // count, 1),))
    try:
        yield from pool.map(function, items)
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(threads)  # also what threads get that come later
