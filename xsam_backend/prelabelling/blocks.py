"""Blocks of work, what came of each, and what a kind of work must know."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

SIZE = 50
"""Tasks or pictures of a block, unless somebody says otherwise."""


@dataclass(frozen=True)
class Block:
    """A part of the work; ``items`` are task numbers or names of pictures."""

    number: int
    items: tuple[Any, ...]


@dataclass(frozen=True)
class Done:
    """What came of a block.

    Attributes:
        answered: so many items got their prediction now.
        known: so many had it before.
        problems: why others have none, one sentence each.
    """

    number: int
    answered: int
    known: int = 0
    problems: tuple[str, ...] = ()


class Work(Protocol):
    """A kind of work; it travels to other processes and machines."""

    def opened(self) -> Callable[[Block], Done]:
        """Load what is needed, once for each process; what comes out does a block, or does it again."""


def divided(items: Sequence[Any], size: int) -> list[Block]:
    """Blocks of so many items, numbered from 0."""
    return [
        Block(number, tuple(items[start : start + size])) for number, start in enumerate(range(0, len(items), size))
    ]
