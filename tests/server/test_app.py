from __future__ import annotations

import base64
import json
import logging
from typing import Any

import pytest
from app_parts import CONFIG, MemoryImages, click, request_of, services_of
from fake_predictor import FakePredictor
from flask import Flask

from xsam_backend.errors import StoreBusyError, StoreError

SETUP = {
    "project": "21.1795347497",
    "schema": CONFIG,
    "hostname": "http://127.0.0.1:8080",
    "access_token": "0123456789abcdef0123456789abcdef01234567",
    "extra_params": None,
}


def login(user: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


@pytest.mark.parametrize("path", ["/", "/health", "/health/"])
def test_health(make_app: Any, path: str) -> None:
    answer = make_app().test_client().get(path)
    assert answer.status_code == 200
    assert answer.get_json()["status"] == "UP"


def test_setup_answers_the_version_that_predictions_carry(make_app: Any) -> None:
    client = make_app(images=MemoryImages()).test_client()
    version = client.post("/setup", json=SETUP).get_json()["model_version"]
    (entry,) = client.post("/predict", json=request_of("a")).get_json()["results"]
    assert entry["model_version"] == version == "fake-1"
    assert client.get("/versions").get_json() == {"versions": [version]}


def test_setup_remembers_the_project_once(make_app: Any) -> None:
    app = make_app()
    for _ in range(3):
        app.test_client().post("/setup", json=SETUP)
    (listed,) = services_of(app).projects.all()
    project = services_of(app).projects.of(listed.key)
    assert (project.key, project.label_config, project.confirmed) == ("local/21.1795347497", CONFIG, False)


def test_a_config_that_cannot_be_read_is_not_kept(make_app: Any) -> None:
    """It may be anything, of any size, from anybody."""
    app = make_app()
    client = app.test_client()
    for config in ("x" * 2_000_000, CONFIG + " " * 1_000_000, "<View/>"):
        assert client.post("/setup", json={**SETUP, "schema": config}).status_code == 200
        assert services_of(app).projects.of("local/21.1795347497").label_config is None


def test_setup_uses_neither_model_nor_network(make_app: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("setup must not open a connection")

    client = make_app(FakePredictor(before=pytest.fail)).test_client()
    monkeypatch.setattr("socket.socket.connect", refuse)
    assert client.post("/setup", json=SETUP).status_code == 200
    assert client.get("/health").status_code == 200


@pytest.mark.parametrize(
    ("config", "said"),
    [("<View/>", "no picture"), ("not XML", "not well-formed"), ("", "empty")],
    ids=["no image", "not XML", "none yet"],
)
def test_setup_does_not_fail_over_a_label_config_but_says_so(make_app: Any, config: str, said: str) -> None:
    app = make_app()
    answer = app.test_client().post("/setup", json={**SETUP, "schema": config})
    assert answer.status_code == 200
    assert any(said in problem.message for problem in services_of(app).monitor.last_problems)


def test_setup_works_while_the_store_does_not(make_app: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    app = make_app()

    def broken(*_: object, **__: object) -> None:
        raise StoreError("disk full")

    monkeypatch.setattr(services_of(app).projects, "hear_of", broken)
    assert app.test_client().post("/setup", json=SETUP).status_code == 200
    assert "disk full" in services_of(app).monitor.last_problems[-1].message


def test_the_operator_is_told_where_label_studio_says_it_is(make_app: Any) -> None:
    app = make_app()
    app.test_client().post("/setup", json=SETUP)
    (problem,) = services_of(app).monitor.last_problems
    assert "says it is at http://127.0.0.1:8080" in problem.message


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/", None),
        ("GET", "/health", None),
        ("POST", "/setup", SETUP),
        ("POST", "/predict", request_of()),
        ("GET", "/versions", None),
        ("GET", "/status", None),
        ("GET", "/metrics", None),
        ("GET", "/jobs", None),
        ("POST", "/webhook", {"action": "START_TRAINING"}),
    ],
)
def test_where_a_login_is_set_it_is_demanded(make_app: Any, method: str, path: str, body: Any) -> None:
    client = make_app(basic_auth_user="u1", basic_auth_password="p1").test_client()
    odd = {"Authorization": "Basic a\x85b"}  # letters that no login has
    for headers in ({}, login("u1", "wrong"), {"Authorization": "Bearer p1"}, odd):
        answer = client.open(path, method=method, json=body, headers=headers)
        assert answer.status_code == 401
        assert answer.headers["WWW-Authenticate"].lower().startswith("basic")
        assert "user name or password" in answer.get_json()["error"]
    assert client.open(path, method=method, json=body, headers=login("u1", "p1")).status_code < 300


def test_other_webhooks_come_without_a_login(make_app: Any) -> None:
    client = make_app(basic_auth_user="u1", basic_auth_password="p1").test_client()
    assert client.post("/webhook", json={"action": "TASKS_CREATED"}).status_code == 201


def test_a_press_that_names_no_project_is_answered_in_words(make_app: Any) -> None:
    app = make_app()
    answer = app.test_client().post("/webhook", json={"action": "START_TRAINING"})
    assert answer.status_code == 201
    assert "nothing is queued" in answer.get_json()["message"]
    assert "job" not in answer.get_json(), "Label Studio would wait for a job that does not exist"
    assert services_of(app).inbox.count() == {"START_TRAINING": 1}


def test_an_event_that_cannot_be_kept_is_not_acknowledged(make_app: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    app = make_app()

    def full(*_: object, **__: object) -> None:
        raise StoreError("disk full")

    monkeypatch.setattr(services_of(app).inbox, "put", full)
    assert app.test_client().post("/webhook", json={"action": "TASKS_CREATED"}).status_code == 500


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/validate", {"config": CONFIG}, 200),
        ("/validate", {"config": "<View/>"}, 422),
        ("/validate", {}, 422),
        ("/train", {"annotations": []}, 410),
        ("/job_status", {"job": "x"}, 200),
        ("/delete", {"project": "1.2"}, 200),
        ("/duplicate_model", {"project_src": "1.2", "project_dst": "2.3"}, 200),
    ],
)
def test_calls_that_label_studio_has_but_does_not_make(make_app: Any, path: str, body: Any, status: int) -> None:
    answer = make_app().test_client().post(path, json=body)
    assert answer.status_code == status
    assert isinstance(answer.get_json(), dict)


def test_validate_names_the_outputs(make_app: Any) -> None:
    assert make_app().test_client().post("/validate", json={"config": CONFIG}).get_json()["outputs"] == ["poly"]


def test_an_empty_context_is_answered_without_any_work(make_app: Any) -> None:
    client = make_app(FakePredictor(before=pytest.fail), MemoryImages()).test_client()
    answer = client.post("/predict", json=request_of("crash", context=[]))
    assert answer.get_json() == {"results": [{"result": []}]}


def test_no_tasks_no_results(make_app: Any) -> None:
    assert make_app().test_client().post("/predict", json=request_of()).get_json() == {"results": []}


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/nothing", 404), ("GET", "/predict", 405), ("POST", "/predict/predict", 404)],
)
def test_a_wrong_address_is_answered_in_json(make_app: Any, method: str, path: str, status: int) -> None:
    answer = make_app().test_client().open(path, method=method)
    assert answer.status_code == status
    assert answer.get_json()["error"]


def test_an_error_of_ours_has_an_id_and_no_details(make_app: Any, caplog: pytest.LogCaptureFixture) -> None:
    client = make_app(images=MemoryImages()).test_client()
    answer = client.post("/predict", json=request_of("crash", context=[click(50, 50)]))
    assert answer.status_code == 500
    assert "bug in a decoder" not in answer.text
    assert any(answer.get_json()["id"] in record.getMessage() for record in caplog.records)


def test_a_full_service_says_so_and_when_to_come_back(make_app: Any) -> None:
    app = make_app(images=MemoryImages(), threads=5)  # one slot
    with services_of(app).prediction_slot():
        answer = app.test_client().post("/predict", json=request_of("a"))
        assert answer.status_code == 429
        assert int(answer.headers["Retry-After"]) > 0
        assert "try again later" in answer.get_json()["error"]
        assert app.test_client().get("/health").status_code == 200
        assert app.test_client().post("/webhook", json={"action": "X"}).status_code == 201
    assert app.test_client().post("/predict", json=request_of("a")).status_code == 200


def test_batches_leave_room_for_clicks(make_app: Any) -> None:
    app = make_app(images=MemoryImages(), threads=6)  # two predictions, one of them a batch
    client = app.test_client()
    with services_of(app).batch_slot():
        answer = client.post("/predict", json=request_of("a"))
        assert answer.status_code == 429
        assert "1 batches are under way" in answer.get_json()["error"]
        assert client.post("/predict", json=request_of("a", context=[click(50, 50)])).status_code == 200
    assert client.post("/predict", json=request_of("a")).status_code == 200


def test_a_failed_click_is_told_with_its_task(make_app: Any) -> None:
    app = make_app(images=MemoryImages())
    app.test_client().post("/predict", json=request_of("missing", context=[click(50, 50)]))
    (problem,) = services_of(app).monitor.last_problems
    assert problem.where == "project 21.1795347497, task 100"


def test_metrics_and_status_tell_what_happened(make_app: Any) -> None:
    app = make_app(images=MemoryImages())
    client = app.test_client()
    client.post("/setup", json=SETUP)
    client.post("/predict", json=request_of("a", "missing"))
    client.post("/webhook", json={"action": "TASKS_CREATED"})
    metrics = client.get("/metrics").text
    assert 'xsam_backend_requests_total{endpoint="predict",status="200"} 1.0' in metrics
    assert 'xsam_backend_problems_total{kind="ImageError"} 1.0' in metrics
    assert 'xsam_backend_stage_seconds_count{stage="look"} 1.0' in metrics
    status = client.get("/status").get_json()
    assert status["model_version"] == "fake-1"
    assert status["cache"]["outputs"]["misses"] == 1
    assert status["events"] == {"TASKS_CREATED": 1}
    assert status["regions"] == {"fake-1": 2}
    assert [problem["message"] for problem in status["problems"] if problem["kind"] == "ImageError"] == [
        "missing: HTTP 404"
    ]


@pytest.mark.parametrize("accept", ["application/json", "text/html"])
def test_status_tells_what_it_can_while_the_databases_cannot_be_read(
    make_app: Any, monkeypatch: pytest.MonkeyPatch, accept: str
) -> None:
    app = make_app()
    parts = services_of(app)
    parts.monitor.note("Sign", "here", "what the operator looks for")

    def gone(*_: object) -> None:
        raise StoreBusyError("the database server can't be had now")

    for kept, name in ((parts.inbox, "count"), (parts.jobs, "latest"), (parts.bulk_tasks, "progress")):
        monkeypatch.setattr(kept, name, gone)
    answer = app.test_client().get("/status", headers={"Accept": accept})
    assert answer.status_code == 200
    assert "what the operator looks for" in answer.text
    assert answer.text.count("server can") == 1


def test_the_status_page_escapes_what_strangers_send(make_app: Any) -> None:
    client = make_app().test_client()
    client.post("/setup", json={**SETUP, "hostname": "http://<script>alert(1)</script>"})
    page = client.get("/status", headers={"Accept": "text/html,application/xhtml+xml"})
    assert page.mimetype == "text/html"
    assert "<script>" not in page.text
    assert "&lt;script&gt;" in page.text


def test_secrets_reach_neither_log_nor_store(make_app: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Everything that recorded bodies and settings call a secret, looked for in all that is kept."""
    secrets = ("SECRET-token", "SECRET-project", "SECRET-password", "SECRET-configured", "SECRET-basic")
    caplog.set_level(logging.DEBUG)
    app: Flask = make_app(
        images=MemoryImages(),
        label_studio_token=None,
        webhook_secret="SECRET-configured" * 2,
        basic_auth_user="u",
        basic_auth_password="SECRET-basic",
    )
    client, headers = app.test_client(), login("u", "SECRET-basic")
    client.post("/setup", json={**SETUP, "access_token": "SECRET-token"}, headers=headers)
    body = request_of("missing", context=[click(1, 1)])
    body["params"] |= {"login": "x", "password": "SECRET-password"}
    client.post("/predict", json=body, headers=headers)
    project = {"id": 1, "created_at": "2026-11-22T11:38:17Z", "token": "SECRET-project"}
    project["task_data_password"] = "SECRET-password"
    client.post("/webhook", json={"action": "START_TRAINING", "project": project}, headers=headers)
    client.post("/webhook", json={"action": "TASKS_CREATED", "project": project})
    kept = b"".join(
        file.read_bytes() for file in services_of(app).settings.data_dir.iterdir() if file.name != "webhook-secret"
    )
    shown = client.get("/status", headers=headers).data + client.get("/metrics", headers=headers).data
    logged = caplog.text.encode()
    for secret in secrets:
        for where in (kept, shown, logged):
            assert secret.encode() not in where


def test_replies_are_plain_json(make_app: Any) -> None:
    answer = make_app(images=MemoryImages()).test_client().post("/predict", json=request_of("a"))
    assert answer.mimetype == "application/json"

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    json.loads(answer.text, parse_constant=refuse)


def test_a_setups_hostname_forges_no_line_of_the_log(make_app: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Anybody can send one; a password in it is nobody's business either."""
    app = make_app()
    with caplog.at_level(logging.WARNING):
        app.test_client().post("/setup", json={**SETUP, "hostname": "http://me:s3cret@ls\nERROR all is lost"})
    (problem,) = [one for one in services_of(app).monitor.last_problems if one.kind.startswith("LabelStudioUrl")]
    assert "http://…@ls?ERROR all is lost" in problem.message
    assert "\nERROR" not in caplog.text + problem.message
    assert "s3cret" not in caplog.text + problem.message
