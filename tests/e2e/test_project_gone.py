"""A project that is deleted in Label Studio: its jobs end in words, its page says so, and what was kept stays."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import requests
from backend_process import BackendProcess
from event_parts import ROOT_SECRET, Sender, until
from ls_client import LsClient
from ls_server import LabelStudio
from sqlalchemy import Engine
from test_label_studio import CONFIGS, HEIGHT, WIDTH, picture

from xsam_backend.store.annotations import Annotations
from xsam_backend.store.jobs import PROJECT_GONE, Job, Jobs
from xsam_backend.store.projects import ProjectKey, Projects

pytestmark = pytest.mark.e2e

HERE = Path(__file__).parent
TOKEN = "f" * 40


class Api:
    """Label Studio's API as far as projects go, over HTTP. ``project``: None where it is deleted."""

    def __init__(self, project: dict[str, Any]) -> None:
        self.project: dict[str, Any] | None = project
        self.is_label_studio = True
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                found = owner.answer(self.path)
                content = json.dumps(found if found is not None else {"detail": "Not found."}).encode()
                self.send_response(404 if found is None else 200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def answer(self, path: str) -> Any:
        if not self.is_label_studio:
            return None
        if path.startswith("/api/current-user/whoami"):
            return {"id": 1}
        if path.startswith("/api/tasks"):
            return {"tasks": [], "total": 0}
        return self.project if path.startswith("/api/projects/") else None

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def states(store: Engine) -> list[tuple[str, str | None]]:
    return [(job.state, job.error) for job in Jobs(store).latest()]


def home(url: str) -> str:
    return requests.get(f"{url}/", timeout=10, headers={"Accept": "text/html"}).text


def is_confirmed(store: Engine, key: str) -> bool:
    project = Projects(store).of(key)
    return project is not None and project.confirmed


def running(store: Engine) -> Job | None:
    return next((job for job in Jobs(store).latest() if job.state == "running"), None)


def test_a_hint_has_label_studio_asked_and_jobs_end(data_dir: Path, store: Engine) -> None:
    """One job runs in a worker of its own, one is queued behind it."""
    sender = Sender()
    api = Api(sender.project())
    settings = {"label_studio_url": api.url, "label_studio_token": TOKEN, "webhook_secret": ROOT_SECRET}
    key = ProjectKey.from_webhook(api.url.removeprefix("http://"), sender.project())
    deleted = {"action": "PROJECT_DELETED", "project": {"id": 21}}
    worker = [sys.executable, str(HERE / "work_fake.py"), str(data_dir), "6000", "0.05", "once"]
    jobs = Jobs(store)
    try:
        with BackendProcess(data_dir, settings=settings) as backend:
            setup = {"project": sender.uid, "schema": sender.project()["label_config"], "hostname": api.url}
            assert requests.post(f"{backend.url}/setup", json=setup, timeout=10).status_code == 200
            until(lambda: is_confirmed(store, str(key)), 30, "Label Studio's confirmation")
            jobs.queue(str(key), "command")
            with subprocess.Popen(worker, stderr=subprocess.DEVNULL) as working:
                until(lambda: running(store), 30, "a running job")
                jobs.queue(str(key), "command")
                api.is_label_studio = False
                assert requests.post(f"{backend.url}/webhook", json=deleted, timeout=5).status_code == 201
                until(lambda: "SyncFailed" in home(backend.url), 30, "asking whether it's true")
                assert [state for state, _ in states(store)] == ["queued", "running"], "a 404 of something else"
                api.is_label_studio, api.project = True, None
                done = sync(data_dir, settings)
                assert (done.returncode, done.stdout.splitlines()[:1]) == (
                    0,
                    ["pictures of 0 tasks copied, 0 tasks lack some"],
                )
                assert "is gone from Label Studio" in done.stderr
                assert "2 jobs cancelled" in done.stderr
                assert working.wait(30) == 0, "it lives on, and its job is over"
            assert states(store) == [("cancelled", PROJECT_GONE)] * 2
            assert "Gone from Label Studio" in home(backend.url)
            press = {"action": "START_TRAINING", "project": sender.project()}
            assert "job" not in requests.post(f"{backend.url}/webhook", json=press, timeout=5).json()
    finally:
        api.close()


def sync(data_dir: Path, settings: dict[str, str]) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **{f"XSAM_BACKEND_{name.upper()}": value for name, value in settings.items()}}
    command = [sys.executable, "-m", "xsam_backend", "sync", "--data-dir", str(data_dir)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_a_real_label_studio_deletes_a_project(
    label_studio: LabelStudio, ls_client: LsClient, data_dir: Path, store: Engine
) -> None:
    """It tells nobody: the service asks at its start, and every few minutes."""
    project = ls_client.create_project("short-lived", CONFIGS["polygon"])
    task = ls_client.upload(project, "a.jpg", picture(), "image/jpeg")
    region = {
        "id": "drawn",
        "type": "polygonlabels",
        "from_name": "out",
        "to_name": "image",
        "original_width": WIDTH,
        "original_height": HEIGHT,
        "value": {"points": [[10, 10], [40, 10], [40, 50]], "closed": True, "polygonlabels": ["disc"]},
    }
    settings = {"label_studio_url": label_studio.url, "label_studio_token": label_studio.token}
    annotations, jobs = Annotations(store), Jobs(store)
    with BackendProcess(data_dir, settings=settings) as backend:
        ls_client.connect(project, backend.url)
        ls_client.annotate(task, [region])
        until(lambda: annotations.count() and list((data_dir / "pictures").glob("*/*")), 60, "keeping the annotation")
        (key,) = annotations.count()
        jobs.queue(key, "command")
        ls_client.call("DELETE", f"/api/projects/{project}/")
    with BackendProcess(data_dir, settings=settings) as backend:
        until(lambda: states(store) == [("cancelled", PROJECT_GONE)], 30, "the end of its job")
        assert "Gone from Label Studio" in home(backend.url)
    (kept,) = annotations.of_tasks(key)
    assert (kept.state, kept.result[0]["value"]) == ("accepted", region["value"]), "nothing accepted is lost"
    assert len(list((data_dir / "pictures").glob("*/*"))) == 1
