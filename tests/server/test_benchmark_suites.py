"""The suites that need a service run to their end, here with few clicks, pictures and seconds."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import nullcontext

import pytest

from benchmarks import batch, growth, load, memory, startup
from benchmarks.growth import with_growth
from benchmarks.servers import serving


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One service for all suites; it may read what is in the test's temporary folders."""
    root = tmp_path_factory.mktemp("suites")
    (root / "data").mkdir()
    with (
        pytest.MonkeyPatch.context() as patched,
        serving(root / "data", root / "serve.log", local_files_root=root) as found,
    ):
        patched.setattr(tempfile, "tempdir", str(root))
        for suite in (batch, growth, load):
            patched.setattr(suite, "serving", lambda *_, **__: nullcontext(found))
        yield found


def test_growth_is_that_of_time_by_that_of_size() -> None:
    rows = with_growth([(1, 10.0), (2, 20.0), (8, 20.0), (80, 2000.0)])
    assert rows[0] == (1, 10.0, "-")
    assert [row[2] for row in rows[1:]] == pytest.approx([1, 0, 2])


@pytest.mark.usefixtures("address")
def test_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch, "PICTURES", 2)
    monkeypatch.setattr(batch, "WARMING", 1)
    monkeypatch.setattr(batch, "IN_A_REQUEST", (1, 2))
    (table,) = batch.suite((), "cpu")
    assert [row[0] for row in table.rows] == ["the model alone", "1 tasks in a request", "2 tasks in a request"]
    assert all(float(row[1]) > 0 for row in table.rows)


@pytest.mark.usefixtures("address")
def test_growth(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, values in {"MEGAPIXELS": (0.1, 0.3), "REGIONS": (1, 3), "LABELS": (1, 2), "KEPT": (1, 2)}.items():
        monkeypatch.setattr(growth, name, values)
    monkeypatch.setattr(growth, "ROUNDS", 1)
    monkeypatch.setattr(growth, "LARGE", 0.4)
    tables = growth.suite((), "cpu")
    assert [len(table.rows) for table in tables] == [2, 2, 2, 2, 2]
    assert all(len(row) == len(table.columns) for table in tables for row in table.rows)


@pytest.mark.usefixtures("address")
def test_load(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"ANNOTATORS": {2: 2.0}, "ROUNDS": 2, "PICTURES": 2, "BATCHED": 80, "THINK_S": 0.2}.items():
        monkeypatch.setattr(load, name, value)
    clicks, rises = load.suite((), "cpu")
    assert [row[:2] for row in clicks.rows] == [(2, "no"), (2, "yes")]
    assert all(float(row[2]) > 0 for row in clicks.rows), "clicks were answered"
    assert [float(row[-1]) > 0 for row in clicks.rows] == [False, True], "and the batch's pictures beside them only"
    ((annotators, _, stage, stage_ms, _),) = rises.rows
    assert (annotators, stage in load.OF_A_BATCH) == (2, True)
    assert float(stage_ms) > 0


def test_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"CLICKS": 8, "PICTURES": 2, "OF_ONE": 2, "TENTHS": 2, "DRAWN": 2}.items():
        monkeypatch.setattr(memory, name, value)
    (growing,) = memory.suite((), "cpu")
    assert [row[0] for row in growing.rows] == [4, 8]


def test_startup(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(startup, "STARTS", 1)
    (table,) = startup.suite((), "cpu")
    (ready, ready_s, *_), (answered, answered_s, *_) = table.rows
    assert (ready, answered) == ("ready", "first click answered")
    assert 0 < float(ready_s) < float(answered_s)
