"""Batches that are too much for a reply, over HTTP on both sides: the service's, and Label Studio's API."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
import requests
from app_parts import CONFIG, MemoryImages, click, request_of, services_of
from bulk_parts import TOKEN, UID, LabelStudioDouble
from fake_predictor import FakePredictor
from flask import Flask
from web_server import WebServer, web_server
from werkzeug.serving import make_server

from xsam_backend.server import batch_shares, bulk_worker
from xsam_backend.store.bulk_tasks import Outcome

ANSWER_S = 0.03
TASKS = 40
NAMES = [f"picture {number}" for number in range(100, 100 + TASKS)]


@pytest.fixture
def label_studio() -> Iterator[tuple[LabelStudioDouble, WebServer]]:
    with web_server() as server:
        labels = LabelStudioDouble(*range(100, 100 + TASKS))
        labels.serve(server)
        yield labels, server


@contextmanager
def listening(app: Flask) -> Iterator[str]:
    """The application at an address, many threads."""
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()


@pytest.fixture
def make(make_app: Callable[..., Flask], label_studio: tuple[LabelStudioDouble, WebServer]) -> Callable[..., Flask]:
    """An application that knows the Label Studio, and half a second for a batch."""
    _, server = label_studio
    slow = FakePredictor(before=lambda stage: time.sleep(ANSWER_S if stage == "answer" else 0))
    given = {"label_studio_url": server.url, "label_studio_token": TOKEN, "batch_limit_s": 0.3}
    return lambda **more: make_app(slow, MemoryImages(), **{**given, **more})


def post(address: str, path: str, body: Any) -> Any:
    answer = requests.post(f"{address}{path}", json=body, timeout=30)
    answer.raise_for_status()
    return answer.json()


def set_up(address: str) -> None:
    post(address, "/setup", {"project": UID, "schema": CONFIG, "hostname": ""})


def store(labels: LabelStudioDouble, entries: list[dict[str, Any]], first: int = 100) -> None:
    """As Label Studio does with a reply."""
    for number, entry in enumerate(entries):
        if "result" in entry:
            labels.predictions[first + number].append(entry)


def until(is_so: Callable[[], bool], limit_s: float = 20) -> None:
    deadline = time.monotonic() + limit_s
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def counts(app: Flask) -> dict[str, int]:
    return services_of(app).bulk_tasks.count()


def test_every_task_of_a_large_batch_gets_one_prediction(
    make: Callable[..., Flask],
    label_studio: tuple[LabelStudioDouble, WebServer],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(batch_shares, "STORED_AFTER_S", 1.0)
    labels, _ = label_studio
    app = make()
    with listening(app) as address:
        set_up(address)
        begun = time.monotonic()
        entries = post(address, "/predict", request_of(*NAMES))["results"]
        assert time.monotonic() - begun < 2
        store(labels, entries)
        answered = sum("result" in entry for entry in entries)
        assert 0 < answered < TASKS / 2
        assert all("queued: it is answered in the background" in entry["queued"] for entry in entries[answered:])
        again = post(address, "/predict", request_of(*NAMES))["results"]
        assert all("queued already" in entry["queued"] for entry in again), "pressed twice"
        (shown,) = post(address, "/predict", request_of("picture 100", context=[click(50, 50)]))["results"]
        assert shown["result"], "a click goes before them"
        until(lambda: counts(app) == {"done": TASKS})
        status = requests.get(f"{address}/status", headers={"Accept": "application/json"}, timeout=10).json()
        page = requests.get(f"{address}/", headers={"Accept": "text/html"}, timeout=10).text
        metrics = requests.get(f"{address}/metrics", timeout=10).text
    assert labels.versions() == {task_id: ["fake-1"] for task_id in range(100, 100 + TASKS)}
    assert status["bulk"][0] | {"per_second": 0} == {
        "project": f"{services_of(app).settings.instance}/{UID}",
        **dict.fromkeys(("waiting", "in reply", "working", "failed", "dropped", "cancelled"), 0),
        "done": TASKS,
        "per_second": 0,
        "eta_s": None,
    }
    assert status["problems"] == []
    assert f"{TASKS} of {TASKS} done" in page
    assert f'xsam_backend_bulk_tasks{{state="done"}} {TASKS}.0' in metrics


def test_a_reply_that_label_studio_lost_is_made_up_for(
    make: Callable[..., Flask],
    label_studio: tuple[LabelStudioDouble, WebServer],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It hung up, or was restarted: nothing of the reply was stored."""
    monkeypatch.setattr(batch_shares, "STORED_AFTER_S", 0.5)
    labels, _ = label_studio
    app = make(batch_limit_s=30)
    with listening(app) as address:
        set_up(address)
        entries = post(address, "/predict", request_of(*NAMES[:5]))["results"]
        assert all(entry["result"] for entry in entries)
        until(lambda: counts(app) == {"done": 5})
    assert [len(labels.predictions[100 + number]) for number in range(6)] == [1] * 5 + [0]


def test_a_task_that_is_opened_while_it_waits_is_answered_at_once_and_once(
    make: Callable[..., Flask],
    label_studio: tuple[LabelStudioDouble, WebServer],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    labels, _ = label_studio
    app = make()
    monkeypatch.setattr(batch_shares, "STORED_AFTER_S", 1.0)
    with listening(app) as address:
        set_up(address)
        store(labels, post(address, "/predict", request_of(*NAMES))["results"])
        last = request_of(NAMES[-1])
        last["tasks"][0]["id"] = 100 + TASKS - 1
        (entry,) = post(address, "/predict", last)["results"]
        assert entry["result"]
        store(labels, [entry], 100 + TASKS - 1)
        until(lambda: counts(app) == {"done": TASKS})
    assert labels.versions() == {task_id: ["fake-1"] for task_id in range(100, 100 + TASKS)}


def test_the_next_start_goes_on(
    make: Callable[..., Flask], label_studio: tuple[LabelStudioDouble, WebServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """After an end without a word: a request held some tasks, a worker one."""
    labels, _ = label_studio
    with monkeypatch.context() as patched:
        patched.setattr(bulk_worker.BulkWorker, "start", lambda _self: None)
        app = make()
        parts = services_of(app)
        with listening(app) as address:
            set_up(address)
            post(address, "/predict", request_of(*NAMES[:30]))
        key, until_then = f"{parts.settings.instance}/{UID}", datetime.now(timezone.utc) + timedelta(hours=1)
        held = parts.bulk_tasks.reserve(key, range(130, 100 + TASKS), "fake-1", until_then)
        assert len(held.mine) == 10
        assert parts.bulk_tasks.claim(parts.settings.instance, until_then) is not None
        replied = parts.bulk_tasks.count()["in reply"] - 10
        assert parts.folder_use is not None
        parts.folder_use.close()  # as the kernel does when a process is killed
    again = make()
    until(lambda: counts(again).get("done") == TASKS - replied)
    assert counts(again) == {"done": TASKS - replied, "in reply": replied}
    assert {len(found) for task_id, found in labels.predictions.items() if task_id >= 100 + replied} == {1}


def test_a_second_service_of_the_folder_leaves_the_firsts_tasks_alone(
    make: Callable[..., Flask], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk_worker.BulkWorker, "start", lambda _self: None)
    parts = services_of(make())
    key, later = f"{parts.settings.instance}/{UID}", datetime.now(timezone.utc) + timedelta(hours=1)
    held = parts.bulk_tasks.reserve(key, range(5), "fake-1", later)
    assert services_of(make()).bulk_tasks.upcoming(key, 5) == []
    parts.bulk_tasks.settle(held.holder, {0: Outcome("done")})
    assert parts.bulk_tasks.count() == {"done": 1, "waiting": 4}


def test_without_a_token_the_status_page_says_what_to_set(make_app: Callable[..., Flask]) -> None:
    app = make_app(images=MemoryImages(), batch_limit_s=1e-9)
    client = app.test_client()
    client.post("/setup", json={"project": UID, "schema": CONFIG, "hostname": ""})
    entries = client.post("/predict", json=request_of("a", "b")).get_json()["results"]
    assert [entry["kind"] for entry in entries] == ["BusyError"] * 2
    problems = client.get("/status").get_json()["problems"]
    assert "set label_studio_url and label_studio_token" in problems[0]["message"]
    assert counts(app) == {}


def test_a_pause_is_told_on_the_pages(
    make: Callable[..., Flask], label_studio: tuple[LabelStudioDouble, WebServer]
) -> None:
    labels, server = label_studio
    app = make(batch_limit_s=1e-9)
    client = app.test_client()
    client.post("/setup", json={"project": UID, "schema": CONFIG, "hostname": ""})
    for path in ("/api/projects/21/", "/api/current-user/whoami"):
        server.put(path, b"{}", 401)
    client.post("/predict", json=request_of(*NAMES))
    until(lambda: client.get("/status").get_json()["bulk_paused"] != "")
    until(lambda: client.get("/status").get_json()["bulk"][0]["waiting"] == TASKS)  # what was begun is put back
    for path in ("/", "/status"):
        page = client.get(path, headers={"Accept": "text/html"}).get_data(as_text=True)
        assert "aits for Label Studio" in page
        assert "refuses the token" in page
        assert f"0 of {TASKS} done, {TASKS} waiting" in page
    assert set(map(len, labels.predictions.values())) == {0}
