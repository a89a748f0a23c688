"""The suites that need a service run to their end, here with few clicks, pictures and seconds."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from small_models import small_predictor
from torch import nn

from benchmarks import batch, compiled, devices, growth, load, memory, restart, sizes, startup
from benchmarks.growth import with_growth
from benchmarks.predict_requests import predict
from benchmarks.servers import serving
from xsam_backend.model.predictor import load_predictor


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
        for suite in (growth, load):
            patched.setattr(suite, "serving", lambda *_, **__: nullcontext(found))
        yield found


def test_growth_is_that_of_time_by_that_of_size() -> None:
    rows = with_growth([(1, 10.0), (2, 20.0), (8, 20.0), (80, 2000.0)])
    assert rows[0] == (1, 10.0, "-")
    assert [row[2] for row in rows[1:]] == pytest.approx([1, 0, 2])


def test_batch(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each row has the same pictures, of the size that is asked for, in a service of its own."""
    services: list[dict[str, Any]] = []
    asked: list[list[Any]] = []

    def serving(data_dir: Path, _log: Path, **settings: Any) -> AbstractContextManager[str]:
        services.append({"data_dir": data_dir, **settings})
        asked.append([])
        return nullcontext(address)

    def noted(to: str, body: dict[str, Any]) -> list[dict[str, Any]]:
        asked[-1].append([task["data"]["image"] for task in body["tasks"]])
        return predict(to, body)

    monkeypatch.setattr(batch, "serving", serving)
    monkeypatch.setattr(batch, "predict", noted)
    monkeypatch.setattr(batch, "predictor_of_size", lambda _size, _device: small_predictor())
    monkeypatch.setattr(batch, "model_folder_of_size", lambda size, _folder: f"a {size} one")
    monkeypatch.setattr(batch, "PICTURES", {"tiny": 2, "mid": 1})
    monkeypatch.setattr(batch, "WARMING", {"tiny": 1, "mid": 1})
    monkeypatch.setattr(batch, "IN_A_REQUEST", (1, 2))
    monkeypatch.setattr(batch, "IN_A_PASS", (1, 2))
    monkeypatch.setattr(batch, "PASSES", 1)
    table, in_one_pass = batch.suite(("tiny", "mid"), "cpu")
    assert [row[0] for row in in_one_pass.rows] == ["1", "2"]
    assert all(float(row[1]) > 0 for row in in_one_pass.rows)
    assert [row[:2] for row in table.rows] == [
        ("tiny", "the model alone"),
        ("tiny", "1 tasks in a request"),
        ("tiny", "2 tasks in a request"),
        ("mid", "the model alone"),
        ("mid", "1 tasks in a request"),
    ]
    assert all(float(row[2]) > 0 for row in table.rows)
    assert [service["model"] for service in services] == ["a tiny one", "a tiny one", "a mid one"]
    assert len({service["data_dir"] for service in services}) == 3
    (warming, first, second), (warming_too, both) = asked[:2]
    assert warming == warming_too
    assert [*first, *second] == both
    assert warming[0] not in both


def test_a_model_of_a_size_is_served_from_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert sizes.model_folder_of_size("tiny", tmp_path / "none") == "tiny"
    monkeypatch.setattr(sizes, "predictor_of_size", lambda _size, _device: small_predictor())
    folder = sizes.model_folder_of_size("mid", tmp_path / "mid")
    state = load_predictor(folder, "cpu").model.state_dict()
    assert all(torch.equal(state[name], tensor) for name, tensor in small_predictor().model.state_dict().items())


def test_a_task_without_a_prediction_is_no_result(address: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"expected a prediction for each task, got \{'error'"):
        batch.served(address, [(1, tmp_path / "none.jpg")], 1)


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


def test_restart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(restart, "ROUNDS", {"tiny": 1})
    (table,) = restart.suite(("tiny",), "cpu")
    ((size, without, with_disk, _, megabytes),) = table.rows
    assert size == "tiny"
    assert min(float(without), float(with_disk), float(megabytes)) > 0


def test_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "PRODUCT_ROUNDS", 1)
    monkeypatch.setattr(devices, "ROUNDS", {"tiny": 1})
    monkeypatch.setattr(devices, "WIDE", 64)
    formats, layouts, four_bits = devices.suite(("tiny",), "cpu")
    assert len(formats.rows) == len(devices.ROWS) + 1
    assert [row[0] for row in layouts.rows] == ["tiny"]
    assert [row[0] for row in four_bits.rows][:2] == ["float32", "bfloat16"]
    assert len(four_bits.rows) == 3 or "bitsandbytes" in four_bits.note
    assert all(float(cell) > 0 for row in (*formats.rows, *layouts.rows, *four_bits.rows) for cell in row[1:])


def test_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the compiler, which takes minutes: code runs as it is and counts as compiled; or nothing does."""
    monkeypatch.setattr(compiled, "ROUNDS", {"tiny": 1})

    def compiles(part: nn.Module, **_options: object) -> None:
        part._compiled_call_impl = part._call_impl

    def fails(part: nn.Module, **_options: object) -> None:
        raise RuntimeError("no compiler")

    for compile_it in (compiles, fails):
        monkeypatch.setattr(nn.Module, "compile", compile_it)
        (table,) = compiled.suite(("tiny",), "cpu")
        (row,) = table.rows
        assert len(row) == len(table.columns)
        assert (row[1] == "not compiled") is (compile_it is fails)
