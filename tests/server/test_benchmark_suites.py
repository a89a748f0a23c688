"""The suites that need a service run to their end, here with few clicks, pictures and seconds."""

from __future__ import annotations

import pytest

from benchmarks import batch, growth, load, memory
from benchmarks.growth import with_growth


def test_growth_is_that_of_time_by_that_of_size() -> None:
    rows = with_growth([(1, 10.0), (2, 20.0), (8, 20.0), (80, 2000.0)])
    assert rows[0] == (1, 10.0, "-")
    assert [row[2] for row in rows[1:]] == pytest.approx([1, 0, 2])


def test_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch, "PICTURES", 2)
    monkeypatch.setattr(batch, "WARMING", 1)
    monkeypatch.setattr(batch, "IN_A_REQUEST", (1, 2))
    (table,) = batch.suite((), "cpu")
    assert [row[0] for row in table.rows] == ["the model alone", "1 tasks in a request", "2 tasks in a request"]
    assert all(float(row[1]) > 0 for row in table.rows)


def test_growth(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, values in {"MEGAPIXELS": (0.1, 0.3), "REGIONS": (1, 3), "LABELS": (1, 2), "KEPT": (1, 2)}.items():
        monkeypatch.setattr(growth, name, values)
    monkeypatch.setattr(growth, "ROUNDS", 1)
    tables = growth.suite((), "cpu")
    assert [len(table.rows) for table in tables] == [2, 2, 2, 2]
    assert all(len(row) == len(table.columns) for table in tables for row in table.rows)


def test_load(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"ANNOTATORS": (2,), "SECONDS": 2.0, "PICTURES": 2, "BATCHED": 40, "THINK_S": 0.2}.items():
        monkeypatch.setattr(load, name, value)
    (table,) = load.suite((), "cpu")
    assert [row[:2] for row in table.rows] == [(2, "no"), (2, "yes")]
    assert all(float(row[2]) > 0 for row in table.rows), "clicks were answered"


def test_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"CLICKS": 8, "PICTURES": 2, "OF_ONE": 2, "TENTHS": 2, "DRAWN": 2}.items():
        monkeypatch.setattr(memory, name, value)
    growing, start = memory.suite((), "cpu")
    assert [row[0] for row in growing.rows] == [4, 8]
    assert 0 < float(start.rows[0][0]) < float(start.rows[0][1])
