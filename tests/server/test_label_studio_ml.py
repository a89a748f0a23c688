"""The adapter under a double of its host: the same answers as our own application, opened once, errors in words."""

from __future__ import annotations

import importlib
import json
import os
import re
import runpy
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import label_studio_ml_double as double
import pytest
from app_parts import CONFIG, MakeApp, MemoryImages, click, request_of
from bulk_parts import TOKEN, UID
from fake_predictor import FakePredictor
from flask import Flask
from flask.testing import FlaskClient

from xsam_backend.errors import StoreError
from xsam_backend.server import services as services_module
from xsam_backend.server.auth import WEBHOOK_HEADER, WebhookSecrets
from xsam_backend.server.services import Services
from xsam_backend.store.projects import ProjectKey

RECORDED = Path(__file__).parents[1] / "recorded" / "label_studio"
REQUESTS = sorted(path.stem for path in RECORDED.glob("*.json") if path.stem.startswith(("predict_", "interactive_")))
ROOT_SECRET = "r" * 32
PROJECT = {
    "id": 21,
    "created_at": "2026-11-22T11:38:17.732496Z",
    "title": "cells",
    "label_config": CONFIG,
    "token": "SECRET",
}
EVENT = {"action": "ANNOTATION_CREATED", "annotation": {"id": 3, "result": []}, "task": {"id": 4}, "project": PROJECT}


class Host:
    """The adapter module, its host and a client of it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.api = double.install(monkeypatch)
        monkeypatch.delitem(sys.modules, "xsam_backend.server.label_studio_ml", raising=False)
        self.adapter: ModuleType = importlib.import_module("xsam_backend.server.label_studio_ml")

    def start(self, **auth: str) -> FlaskClient:
        app: Flask = self.adapter.prepare(self.api.init_app(self.adapter.XSam, **auth))
        return app.test_client()

    @property
    def parts(self) -> Services:
        parts: Services = self.adapter.services()
        return parts


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Each loading of weights, which here are the fake predictor."""
    loaded: list[str] = []

    def load(name_or_path: str, *_: object, **_options: object) -> FakePredictor:
        loaded.append(name_or_path)
        return FakePredictor()

    monkeypatch.setitem(sys.modules, "xsam_backend.model.predictor", SimpleNamespace(load_predictor=load))
    return loaded


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch, loads: list[str]) -> Iterator[Host]:
    monkeypatch.setenv("XSAM_BACKEND_WEBHOOK_SECRET", ROOT_SECRET)
    monkeypatch.setenv("XSAM_BACKEND_TRAIN_WORKER", "false")
    monkeypatch.setattr(services_module, "ImageSource", lambda policy, client: MemoryImages())
    host = Host(monkeypatch)
    yield host
    if host.adapter._opened is not None:
        host.adapter._opened[1].close()
    sys.modules.pop("xsam_backend.server.label_studio_ml", None)


def without_ids(results: Any) -> Any:
    """Region ids are new in every reply."""
    fresh = {"id", "parentID"}
    return json.loads(json.dumps(results), object_hook=lambda one: {k: v for k, v in one.items() if k not in fresh})


@pytest.mark.parametrize("name", REQUESTS)
def test_recorded_requests_are_answered_as_by_our_own_application(host: Host, make_app: MakeApp, name: str) -> None:
    request = json.loads((RECORDED / f"{name}.json").read_text("utf-8"))["request"]
    ours = make_app(images=MemoryImages()).test_client().post("/predict", json=request["body"])
    theirs = host.start().post("/predict", json=request["body"])
    assert theirs.status_code == ours.status_code == 200
    expected = without_ids(ours.json["results"])
    for entry in expected:  # the host's response type has these two in any case
        entry.setdefault("model_version", "fake-1")
        entry.setdefault("score", 0.0)
    assert without_ids(theirs.json["results"]) == expected


def test_the_class_is_built_per_request_and_the_weights_are_loaded_once(host: Host, loads: list[str]) -> None:
    client = host.start()
    for _ in range(3):
        assert client.post("/predict", json=request_of("a.png")).status_code == 200
    assert double.LabelStudioMLBase.built == 3
    assert loads == ["tiny"]


def test_the_hosts_store_is_written_only_when_something_changed(host: Host) -> None:
    client = host.start()
    client.post("/predict", json=request_of("a.png"))
    before = double.LabelStudioMLBase.store.writes
    client.post("/predict", json=request_of("a.png"))
    assert double.LabelStudioMLBase.store.writes == before


def test_a_forked_process_opens_its_own(host: Host, loads: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    first = host.parts
    assert host.parts is first
    monkeypatch.setattr(os, "getpid", lambda: -1)
    second = host.parts
    assert second is not first
    assert len(loads) == 2
    first.close()


def test_setup(host: Host) -> None:
    client = host.start()
    body = {"project": "21.1795347497", "schema": CONFIG, "hostname": "http://localhost:8080", "access_token": "x"}
    assert client.post("/setup", json=body).json == {"model_version": "fake-1"}
    project = host.parts.projects.of("local/21.1795347497")
    assert project is not None
    assert project.label_config == CONFIG
    assert host.parts.monitor.setups_heard == 1


def test_a_config_that_cannot_work_is_connected_and_told(host: Host) -> None:
    body = {"project": "21.1", "schema": '<View><Image name="i" value="$i"/></View>', "hostname": ""}
    assert host.start().post("/setup", json=body).json == {"model_version": "fake-1"}
    assert "no control tag can take masks" in host.parts.monitor.last_problems[0].message


def test_a_setup_without_a_project_of_the_known_form_is_told_and_does_not_fail(host: Host) -> None:
    assert host.start().post("/setup", json={"project": "x", "schema": CONFIG}).status_code == 200
    assert "<id>.<creation second>" in host.parts.monitor.last_problems[0].message


def test_regions_are_logged_under_the_whole_project_key(host: Host) -> None:
    """The host gives its model the id alone; two projects of one id, before and after a reset, must not mix."""
    reply = host.start().post("/predict", json=request_of("a.png", context=[click(50, 50)]))
    (region,) = reply.json["results"][0]["result"]
    (record,) = host.parts.predictions.find([region["id"]]).values()
    assert record.project_key == "local/21.1795347497"


def test_in_a_batch_a_failed_task_costs_only_itself(host: Host) -> None:
    good, bad, crash = (
        host.start().post("/predict", json=request_of("a.png", "missing.png", "crash.png")).json["results"]
    )
    assert good["result"]
    assert "HTTP 404" in bad["error"]
    assert "result" not in bad, "result: null would lose Label Studio the whole batch"
    assert crash["error"] == "unexpected error, see the log"
    assert crash["id"]


def test_what_takes_too_long_is_queued_and_says_so(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """The host's own response would refuse such an entry, and the whole batch with it."""
    monkeypatch.setenv("XSAM_BACKEND_LABEL_STUDIO_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("XSAM_BACKEND_LABEL_STUDIO_TOKEN", TOKEN)
    monkeypatch.setenv("XSAM_BACKEND_BATCH_LIMIT_S", "1e-9")
    client = host.start()
    client.post("/setup", json={"project": UID, "schema": CONFIG, "hostname": ""})
    entries = client.post("/predict", json=request_of("a.png", "b.png")).json["results"]
    assert [list(entry) for entry in entries] == [["queued"], ["queued"]]
    assert sum(host.parts.bulk_tasks.count().values()) == 2


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (request_of("missing.png", context=[click(50, 50)]), "HTTP 404"),
        (request_of("crash.png", context=[click(50, 50)]), "unexpected error, see the log"),
        (request_of("a.png", context=[click(50, 50, "unicorn")]), "label 'unicorn' cannot be written"),
        ({**request_of("a.png"), "tasks": None}, "tasks: expected a list, got nothing"),
        ({**request_of("a.png"), "project": "x"}, "project: expected '<id>.<creation second>'"),
    ],
    ids=["picture gone", "a bug of ours", "label not in the config", "no tasks", "a strange project"],
)
def test_the_caller_gets_words_and_no_traceback(host: Host, body: dict[str, Any], said: str) -> None:
    reply = host.start().post("/predict", json=body)
    assert reply.status_code == 200
    assert "Traceback" not in reply.text
    (entry,) = reply.json["results"]
    assert said in entry["error"]
    assert ("result" in entry) is ((body["params"]["context"]) is not None)


def test_more_than_the_service_takes_on_is_said(host: Host) -> None:
    client = host.start()
    slots = host.parts.prediction_slots
    taken = [slots.acquire(blocking=False) for _ in range(host.parts.settings.prediction_slots)]
    (entry,) = client.post("/predict", json=request_of("a.png")).json["results"]
    assert entry["kind"] == "BusyError"
    for _ in taken:
        slots.release()


def test_no_context_at_all_is_a_batch(host: Host) -> None:
    """The host makes an empty object of it, which isn't the empty list that Label Studio sends."""
    body = request_of("a.png")
    del body["params"]["context"]
    assert host.start().post("/predict", json=body).json["results"][0]["result"]


def test_the_model_can_be_asked_without_a_request(host: Host) -> None:
    """``--check`` of the host's start script, and tests."""
    model = host.adapter.XSam(project_id="21", label_config=CONFIG)
    response = model.predict([{"id": 1, "data": {"image": "a.png"}}])
    assert isinstance(response, double.ModelResponse)
    assert response.model_version == "fake-1"
    assert response.predictions[0].result


@pytest.mark.parametrize(
    ("headers", "verified"),
    [({}, False), ({WEBHOOK_HEADER: WebhookSecrets(ROOT_SECRET).of(ProjectKey("local", 21, 1795347497))}, True)],
    ids=["without the secret", "with it"],
)
def test_fit_writes_the_event_down_and_trains_nothing(host: Host, headers: dict[str, str], verified: bool) -> None:
    reply = host.start().post("/webhook", json=EVENT, headers=headers)
    assert (reply.status_code, reply.json) == (201, {"result": {"kept": "ANNOTATION_CREATED"}, "status": "ok"})
    (event,) = host.parts.inbox.after()
    assert (event.action, event.project_key, event.verified) == (
        "ANNOTATION_CREATED",
        "local/21.1795347497",
        verified,
    )
    assert "SECRET" not in json.dumps(event.body)


def test_the_training_button_counts_when_the_host_demands_a_login(host: Host) -> None:
    client = host.start(basic_auth_user="u", basic_auth_pass="p")
    body = {"action": "START_TRAINING", "project": PROJECT}
    assert client.post("/webhook", json=body).status_code == 401
    assert client.post("/webhook", json=body, auth=("u", "p")).status_code == 201
    (event,) = host.parts.inbox.after()
    assert event.verified


def test_an_event_that_cannot_be_kept_is_not_acknowledged(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise StoreError("disk full")

    client = host.start()
    monkeypatch.setattr(type(host.parts.inbox), "put", fail)
    reply = client.post("/webhook", json=EVENT)
    assert reply.status_code == 503
    assert "could not be kept" in reply.text


def test_an_event_of_no_project_is_refused_in_words(host: Host) -> None:
    project = {"id": 21, "label_config": CONFIG}
    reply = host.start().post("/webhook", json={"action": "ANNOTATION_CREATED", "project": project})
    assert reply.status_code == 400
    assert "created_at" in reply.text


def test_the_status_page_is_there_and_has_the_reasons(host: Host) -> None:
    client = host.start()
    client.post("/predict", json=request_of("missing.png"))
    facts = client.get("/status", headers={"Accept": "application/json"}).json
    assert "HTTP 404" in facts["problems"][0]["message"]
    assert "HTTP 404" in client.get("/status", headers={"Accept": "text/html"}).text


def test_the_example_starts_it(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """``label-studio-ml start FOLDER`` runs FOLDER/_wsgi.py; gunicorn imports it."""
    folder = Path(__file__).parents[2] / "examples" / "label-studio-ml"
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delitem(sys.modules, "model", raising=False)
    app = runpy.run_path(str(folder / "_wsgi.py"))["app"]
    sys.modules.pop("model")
    assert app.test_client().get("/health").json == {"status": "UP", "model_class": "XSam"}
    assert app.test_client().get("/status").status_code == 200


def test_its_requirement_is_the_published_address() -> None:
    (line,) = [
        line
        for line in (Path(__file__).parents[2] / "requirements-label-studio-ml.txt").read_text("utf-8").splitlines()
        if not line.startswith("#")
    ]
    name, _, address = line.partition(" @ ")
    assert name == "label-studio-ml"
    assert re.fullmatch(r"git\+https://github\.com/HumanSignal/label-studio-ml-backend\.git@[0-9a-f]{7,40}", address)
