"""Start Training, and where jobs are seen: /jobs, /status, /metrics, /job_status."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from app_parts import CONFIG, services_of
from sqlalchemy import text

from xsam_backend.errors import SettingsError, StoreError
from xsam_backend.server.auth import WEBHOOK_HEADER, WebhookSecrets
from xsam_backend.store.jobs import Job, Worker
from xsam_backend.store.projects import ProjectKey

KEY = ProjectKey("local", 21, 1795347497)
PRESS = {"action": "START_TRAINING", "project": {"id": 21, "created_at": "2026-11-22T11:38:17.732496Z"}}
SETUP = {"project": "21.1795347497", "schema": CONFIG, "hostname": "", "access_token": ""}
ROOT = "root" * 8


def claimed(app: Any) -> Job:
    job = services_of(app).jobs.claim(Worker("here/cpu", "here", 1, datetime.now(timezone.utc)))
    assert job is not None
    return job


def test_the_button_of_a_project_that_has_called_queues_one_job(make_app: Any) -> None:
    app = make_app()
    client = app.test_client()
    client.post("/setup", json=SETUP)
    for _ in range(3):
        answer = client.post("/webhook", json=PRESS)
        assert answer.status_code == 201
        assert answer.get_json()["job"] == "1"
        assert "queued as job 1" in answer.get_json()["message"]
    (job,) = services_of(app).jobs.latest()
    assert (job.project_key, job.reason, job.state) == (str(KEY), "button", "queued")


@pytest.mark.parametrize(
    ("settings", "headers", "auth", "queues"),
    [
        ({}, {}, None, False),
        ({}, {WEBHOOK_HEADER: "forged"}, None, False),
        ({"webhook_secret": ROOT}, {WEBHOOK_HEADER: WebhookSecrets(ROOT).of(KEY)}, None, True),
        ({"basic_auth_user": "u", "basic_auth_password": "p"}, {}, ("u", "p"), True),
    ],
    ids=["nobody known", "a wrong secret", "the project's secret", "a login"],
)
def test_a_project_that_never_called_needs_a_proof(
    make_app: Any, settings: dict[str, str], headers: dict[str, str], auth: Any, queues: bool
) -> None:
    app = make_app(**settings)
    answer = app.test_client().post("/webhook", json=PRESS, headers=headers, auth=auth)
    assert answer.status_code == 201
    assert ("job" in answer.get_json()) is queues
    assert bool(services_of(app).jobs.latest()) is queues


def test_without_the_login_that_is_demanded_nothing_is_queued(make_app: Any) -> None:
    app = make_app(basic_auth_user="u", basic_auth_password="p")
    services_of(app).projects.remember(KEY)
    assert app.test_client().post("/webhook", json=PRESS).status_code == 401
    assert services_of(app).jobs.latest() == []


def test_other_events_queue_nothing(make_app: Any) -> None:
    app = make_app()
    services_of(app).projects.remember(KEY)
    app.test_client().post("/webhook", json={**PRESS, "action": "PROJECT_UPDATED"})
    assert services_of(app).jobs.latest() == []


def test_a_press_that_cannot_be_queued_is_not_acknowledged(make_app: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    app = make_app()
    services_of(app).projects.remember(KEY)

    def full(*_: object, **__: object) -> None:
        raise StoreError("disk full")

    monkeypatch.setattr(services_of(app).jobs, "queue", full)
    assert app.test_client().post("/webhook", json=PRESS).status_code == 500


def test_jobs_are_seen_as_json_and_on_the_status_page(make_app: Any, tmp_path: Path) -> None:
    app = make_app()
    client, jobs = app.test_client(), services_of(app).jobs
    assert client.get("/jobs").get_json() == {"jobs": []}
    jobs.queue("local/1.1", "button")
    jobs.queue("local/2.2", "count")
    first = claimed(app)
    jobs.beat(first, stage="training <b>", step=3, steps=10, eta_s=90)
    second, first_row = client.get("/jobs").get_json()["jobs"]
    assert (second["state"], second["project_key"], second["reason"]) == ("queued", "local/2.2", "count")
    assert (first_row["stage"], first_row["step"], first_row["steps"], first_row["eta_s"]) == (
        "training <b>",
        3,
        10,
        90,
    )
    assert client.get("/jobs/1").get_json() == first_row
    assert client.get("/status").get_json()["jobs"] == [second, first_row]
    page = client.get("/status", headers={"Accept": "text/html"}).text
    assert "training &lt;b&gt; 3 of 10, 1.5 min left" in page
    metrics = client.get("/metrics").text
    assert 'xsam_backend_jobs{state="queued"} 1.0' in metrics
    assert 'xsam_backend_jobs{state="running"} 1.0' in metrics
    jobs.end(first, "failed", error="the disk is full")
    assert "the disk is full" in client.get("/status", headers={"Accept": "text/html"}).text


def test_a_jobs_log_is_read_where_it_is(make_app: Any, tmp_path: Path) -> None:
    app = make_app()
    client, jobs = app.test_client(), services_of(app).jobs
    assert client.get("/jobs/1").status_code == 404
    jobs.queue("local/1.1", "button")
    answer = client.get("/jobs/1/log")
    assert (answer.status_code, answer.get_json()["error"]) == (404, "job 1 has no log here")
    job = claimed(app)
    log = tmp_path / "1.log"
    jobs.note_log(job, str(log))
    assert client.get("/jobs/1/log").get_json()["error"] == "job 1 has no log here: it ran on here"
    log.write_text("x" * 2**18 + "<b>the end</b>")
    answer = client.get("/jobs/1/log")
    assert answer.mimetype == "text/plain"
    assert answer.text.endswith("<b>the end</b>")
    assert len(answer.data) == 2**18


def test_label_studio_may_ask_for_a_jobs_state(make_app: Any) -> None:
    app = make_app()
    client, jobs = app.test_client(), services_of(app).jobs
    jobs.queue("local/1.1", "button")

    def state() -> str:
        return str(client.post("/job_status", json={"job": "1"}).get_json()["job_status"])

    assert state() == "queued"
    job = claimed(app)
    assert state() == "started"
    jobs.end(job, "done")
    assert state() == "finished"
    for unknown in ("2", "x", "²", None):
        assert client.post("/job_status", json={"job": unknown}).get_json() == {"job_status": "removed"}


def test_metrics_are_there_without_a_queue(make_app: Any) -> None:
    app = make_app()
    with services_of(app).databases[1].begin() as connection:
        connection.execute(text("DROP TABLE jobs"))
    answer = app.test_client().get("/metrics")
    assert answer.status_code == 200
    assert "xsam_backend_cache_hits" in answer.text
    assert "xsam_backend_jobs{" not in answer.text


def test_a_schedule_that_is_none_stops_the_start(make_app: Any) -> None:
    with pytest.raises(SettingsError, match=r"train_schedule: expected a cron expression"):
        make_app(train_schedule="every day")
