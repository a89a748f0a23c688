"""The "convert" suite runs to its end, here on small masks, and measures the memory that is taken."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import TypeVar

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import convert
from benchmarks.convert import Shortest
from benchmarks.process_memory import peak_growth_bytes
from benchmarks.report import Table

MIB = 2**20

T = TypeVar("T")


def test_conversions(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"SIZE_HW": (60, 80), "REPETITIONS": 1}.items():
        monkeypatch.setattr(convert, name, value)
    memory = Table("Memory", (), ())
    monkeypatch.setattr(convert, "memory_table", lambda: memory)
    monkeypatch.setattr(convert, "photo_masks", lambda _: np.ones((2, 60, 80), np.bool_))
    table, other = convert.suite((), "cpu")
    assert other is memory
    assert [row[0] for row in table.rows][-2:] == ["2 masks to JSON, PolygonLabels", "2 masks to JSON, BrushLabels"]
    assert len(table.rows) == 5 * len(convert.KINDS) + 2
    assert all(len(row) == len(table.columns) for row in table.rows)
    assert all(float(row[2]) > 0 for row in table.rows), "the clock goes on"
    with_sdk = [row[0] for row in table.rows if row[3] != ""]
    assert with_sdk == [f"brush RLE, {way}, {kind}" for kind in convert.KINDS for way in ("encode", "decode")]


@given(st.lists(st.tuples(st.floats(0.1, 9), st.floats(0.1, 9)), min_size=1))
def test_the_shortest_of_each(times: list[tuple[float, float]]) -> None:
    shortest = Shortest()
    for processor_s, clock_s in times:
        shortest = shortest.or_this(processor_s, clock_s)
    assert shortest == Shortest(min(one for one, _ in times), min(other for _, other in times))


def _after_larger_blocks() -> int:
    for size in (24 * MIB, 16 * MIB, 16 * MIB):  # malloc keeps blocks as large as those that were freed before
        np.ones(size, np.uint8)
    return peak_growth_bytes(lambda: np.ones(12 * MIB, np.uint8))


def _twice_and_nothing() -> tuple[int, int]:
    def work() -> None:
        np.ones(64 * MIB, np.uint8)

    peak_growth_bytes(work)  # what the first use of anything takes
    return peak_growth_bytes(work), peak_growth_bytes(lambda: None)


def alone(work: Callable[[], T]) -> T:
    """In a process of its own, as the suite measures: of this one the system may take pages back meanwhile."""
    with ProcessPoolExecutor(1, get_context("spawn")) as process:
        return process.submit(work).result()


def test_what_was_freed_before_hides_no_growth() -> None:
    assert alone(_after_larger_blocks) > 11 * MIB


def test_memory_that_was_given_back_before_the_end_counts() -> None:
    grown, grown_by_nothing = alone(_twice_and_nothing)
    assert 60 * MIB < grown < 100 * MIB
    assert grown_by_nothing < 8 * MIB, "an earlier peak is not this one's"
