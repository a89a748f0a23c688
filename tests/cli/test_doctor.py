from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_predictor import FakePredictor
from PIL import Image
from werkzeug.serving import make_server

from xsam_backend.config import load_settings
from xsam_backend.server.app import create_app
from xsam_backend.server.auth import WEBHOOK_HEADER, WebhookSecrets
from xsam_backend.store.projects import ProjectKey

CONFIG = """<View><Image name="image" value="$image"/>
<KeyPointLabels name="kp" toName="image" smart="true"><Label value="cat"/></KeyPointLabels>
<PolygonLabels name="poly" toName="image"><Label value="cat"/></PolygonLabels></View>"""
TOKEN = "0123456789abcdef0123456789abcdef01234567"
ROOT_SECRET = "r" * 32
CREATED_AT = "2026-11-22T11:38:17.732496Z"


class LabelStudioStub:
    """The few API answers that the doctor asks for. Change ``answers`` to break one."""

    def __init__(self, picture: bytes) -> None:
        task = {"id": 5, "data": {"image": "/data/upload/1/a.png"}}
        self.answers: dict[str, Any] = {
            "/api/version/": {"release": "1.23.2"},
            "/api/current-user/whoami": {"id": 1, "email": "admin@example.com"},
            "/api/projects/7/": {"id": 7, "title": "cells", "label_config": CONFIG, "created_at": CREATED_AT},
            "/api/webhooks/": [],
            "/api/tasks": {"tasks": [task], "total": 1},
            "/api/ml": [
                {"id": 3, "title": "xsam", "url": "http://127.0.0.1:1", "state": "CO", "is_interactive": True}
            ],
            "/data/upload/1/a.png": picture,
        }
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                answer = owner.answers.get(self.path.partition("?")[0])
                known = self.headers.get("Authorization") == f"Token {TOKEN}"
                content = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
                self.send_response(401 if not known else 404 if answer is None else 200)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        key = ProjectKey.from_webhook(self.url.partition("//")[2], {"id": 7, "created_at": CREATED_AT})
        header = {WEBHOOK_HEADER: WebhookSecrets(ROOT_SECRET).of(key)}
        self.answers["/api/webhooks/"] = [{"id": 1, "url": "http://x/webhook", "headers": header}]
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def stub(tmp_path: Path) -> Iterator[LabelStudioStub]:
    path = tmp_path / "a.png"
    Image.fromarray(np.zeros((48, 64, 3), np.uint8)).save(path)
    server = LabelStudioStub(path.read_bytes())
    yield server
    server.close()


@pytest.fixture
def examine(run: Any, stub: LabelStudioStub, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run the doctor on project 7 of the stub: (exit status, lines by their subject)."""
    monkeypatch.setenv("XSAM_BACKEND_LABEL_STUDIO_TOKEN", TOKEN)
    monkeypatch.setenv("XSAM_BACKEND_WEBHOOK_SECRET", ROOT_SECRET)

    def go(*arguments: str) -> tuple[int, str]:
        status, out, err = run(
            "doctor", "--skip-model", "--label-studio-url", stub.url, "--project", "7", "--port", "1", *arguments
        )
        assert "Traceback" not in err
        return status, out

    return go


def test_a_healthy_patient(examine: Any) -> None:
    status, out = examine()
    assert status == 0, out
    for line in (
        "ok    Label Studio: version 1.23.2",
        "ok    token: legacy token of admin@example.com",
        "ok    label config: 'cells' writes to PolygonLabels 'poly'",
        "ok    webhook: carries our secret",
        "ok    picture: task 5: PNG, 64 x 48",
        "note  service: none runs at http://127.0.0.1:1",
        "note  backend: 'xsam' at http://127.0.0.1:1 is connected; whether it is this service can't be told",
    ):
        assert line in out
    assert "FAIL" not in out
    assert TOKEN not in out


@pytest.mark.parametrize(
    ("path", "answer", "said"),
    [
        ("/data/upload/1/a.png", None, "FAIL  picture: /data/upload/1/a.png"),
        ("/data/upload/1/a.png", b"text", "expected a picture"),
        ("/api/projects/7/", None, "FAIL  project"),
        ("/api/projects/7/", {"title": "x", "label_config": "<View/>"}, "it has no Image tag"),
        ("/api/current-user/whoami", None, "FAIL  token: legacy token: "),
        ("/api/version/", None, "not as Label Studio does (HTTP 404"),
        ("/api/webhooks/", None, "FAIL  webhook"),
        ("/api/ml", None, "FAIL  backend"),
        ("/api/ml", [], "the project has none: Settings, Model, Connect Model"),
    ],
    ids=[
        "picture gone",
        "no picture",
        "no such project",
        "config without an image",
        "no user",
        "not Label Studio",
        "no webhooks",
        "backends not told",
        "no backend",
    ],
)
def test_what_fails_is_said_and_is_exit_1(
    examine: Any, stub: LabelStudioStub, path: str, answer: Any, said: str
) -> None:
    stub.answers[path] = answer
    status, out = examine()
    assert status == 1
    assert said in out


@pytest.mark.parametrize(
    ("path", "answer", "said"),
    [
        ("/api/webhooks/", [], "no webhook of this project carries our secret"),
        ("/api/webhooks/", [{"id": 1, "headers": {WEBHOOK_HEADER: "s"}}], "no webhook of this project carries our"),
        ("/api/tasks", {"tasks": [], "total": 0}, "the project has no task"),
        (
            "/api/projects/7/",
            {"id": 7, "title": "x", "label_config": CONFIG.replace("true", "false"), "created_at": CREATED_AT},
            "no gesture asks anything",
        ),
    ],
    ids=["webhook without secret", "another's secret", "no task", "no smart tool"],
)
def test_what_is_only_half_right_is_a_note(
    examine: Any, stub: LabelStudioStub, path: str, answer: Any, said: str
) -> None:
    stub.answers[path] = answer
    status, out = examine()
    assert status == 0
    assert said in out


def test_a_refused_token(examine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XSAM_BACKEND_LABEL_STUDIO_TOKEN", "f" * 40)
    status, out = examine()
    assert status == 1
    assert "refuses the token" in out


def test_a_token_for_nobody(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XSAM_BACKEND_LABEL_STUDIO_TOKEN", TOKEN)
    status, out, _ = run("doctor", "--skip-model", "--port", "1")
    assert status == 1
    assert "label_studio_url is not" in out


def test_nobody_at_the_address(examine: Any) -> None:
    status, out = examine("--label-studio-url", "http://127.0.0.1:1")
    assert status == 1
    assert "cannot be reached at http://127.0.0.1:1" in out


@pytest.mark.parametrize(
    ("variable", "said"),
    [("LABEL_STUDIO_URL", "label_studio_url is not set"), ("LABEL_STUDIO_TOKEN", "label_studio_token is not set")],
)
def test_what_is_not_set_is_a_note(run: Any, monkeypatch: pytest.MonkeyPatch, variable: str, said: str) -> None:
    monkeypatch.setenv("XSAM_BACKEND_LABEL_STUDIO_URL", "http://127.0.0.1:1")
    monkeypatch.delenv(f"XSAM_BACKEND_{variable}", raising=False)
    status, out, _ = run("doctor", "--skip-model", "--port", "1")
    assert status == 0
    assert said in out
    status, out, _ = run("doctor", "--skip-model", "--port", "1", "--project", "21")
    assert status == 1, "what was asked for was not done"
    assert f"FAIL  project: 21 was not looked at: set {variable.lower()}" in out


def test_a_data_folder_that_cannot_be_written(run: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    status, out, _ = run("doctor", "--skip-model", "--port", "1", "--data-dir", tmp_path / "file" / "x")
    assert status == 1
    assert "FAIL  data folder" in out


def test_a_data_folder_that_nothing_needs(run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both what is kept in it otherwise is elsewhere, so nobody has made it."""
    monkeypatch.setenv("XSAM_BACKEND_DATABASE_URL", f"sqlite:///{tmp_path}/shared.sqlite3")
    monkeypatch.setenv("XSAM_BACKEND_WEBHOOK_SECRET", ROOT_SECRET)
    status, out, _ = run("doctor", "--skip-model", "--port", "1", "--data-dir", tmp_path / "nowhere")
    assert status == 0
    assert f"ok    data folder: {tmp_path}/nowhere is not there, and not needed: the databases are elsewhere" in out


@pytest.mark.usefixtures("fake_model")
def test_the_model_is_loaded_and_asked(run: Any) -> None:
    out = run("doctor", "--port", "1")[1]
    assert "ok    model: tiny is version fake-1" in out
    assert "ok    device: " in out


@pytest.mark.usefixtures("fake_model")
def test_a_model_that_does_not_load(run: Any) -> None:
    status, out, _ = run("doctor", "--port", "1", "--model", "huge")
    assert status == 1
    assert "FAIL  model: no model 'huge'" in out


@pytest.mark.parametrize(
    ("password", "status", "said"),
    [("p", 0, "note  service: "), ("wrong", 1, "FAIL  service")],
    ids=["what failed lately", "its login"],
)
def test_a_running_service_is_asked_what_failed(
    run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, password: str, status: int, said: str
) -> None:
    settings = load_settings(data_dir=tmp_path / "data", basic_auth_user="u", basic_auth_password="p")
    app = create_app(settings, FakePredictor())
    services = app.extensions["xsam_backend"]
    services.monitor.problem(ValueError("inner"), "project 3, task 4")
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        monkeypatch.setenv("XSAM_BACKEND_BASIC_AUTH_USER", "u")
        monkeypatch.setenv("XSAM_BACKEND_BASIC_AUTH_PASSWORD", password)
        got, out, _ = run("doctor", "--skip-model", "--port", server.server_port)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
        services.close()
    assert got == status
    assert said in out
    assert ("project 3, task 4" in out) is (password == "p")
