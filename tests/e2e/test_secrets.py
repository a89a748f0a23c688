"""No secret of the settings in any log, page or error, whatever goes wrong: the real service, errors of each kind."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from backend_process import BackendProcess
from event_parts import until
from sqlalchemy import create_engine, make_url, text
from test_serving import CONFIG, click_on, picture
from web_server import WebServer, web_server

pytestmark = pytest.mark.e2e

TOKEN = "SECRET-token-of-label-studio"
BASIC = ("annotator", "SECRET-basic")
DATABASE_PASSWORD = "SECRET-database"


@pytest.fixture
def label_studio() -> Iterator[WebServer]:
    """One that repeats the token in what it says about each request."""
    with web_server() as server:

        def repeat(handler: Any) -> Any:
            said = f'{{"detail": "bad header: {handler.headers["Authorization"]}"}}'
            return 400, {"Content-Type": "application/json"}, said.encode()

        for path in ("/api/current-user/whoami", "/api/projects/1/", "/api/tasks", "/data/upload/1/a.png"):
            server.routes[path] = repeat
        yield server


@pytest.fixture
def database(postgresql_database: str) -> str:
    """Its URL with a password in it, which the tests' server doesn't ask for."""
    return make_url(postgresql_database).set(password=DATABASE_PASSWORD).render_as_string(hide_password=False)


def settings_of(label_studio: WebServer, database: str) -> dict[str, str]:
    return {
        "label_studio_url": label_studio.url,
        "label_studio_token": TOKEN,
        "basic_auth_user": BASIC[0],
        "basic_auth_password": BASIC[1],
        "webhook_secret": "SECRET-webhooks" * 3,
        "database_url": database,
        "log_level": "DEBUG",
        "batch_limit_s": "0.001",
    }


def test_errors_of_each_kind_tell_none(label_studio: WebServer, database: str, tmp_path: Path) -> None:
    told: list[str] = []

    def keep(answer: requests.Response) -> int:
        told.append(f"{answer.headers} {answer.text}")
        return answer.status_code

    with BackendProcess(tmp_path / "data", settings=settings_of(label_studio, database)) as backend:

        def post(path: str, body: Any) -> int:
            return keep(requests.post(f"{backend.url}{path}", json=body, auth=BASIC, timeout=60))

        def predict(*images: str) -> int:
            tasks = [{"id": number, "data": {"image": image}} for number, image in enumerate(images, 1)]
            return post("/predict", {"tasks": tasks, "project": "1.2", "label_config": CONFIG, "params": {}})

        setup = {"project": "1.2", "schema": CONFIG, "hostname": "http://x", "access_token": "SECRET-setup"}
        assert post("/setup", setup) == 200
        assert predict("/data/upload/1/a.png", picture(), picture()) == 200
        assert keep(click_on(backend, auth=BASIC)) == 200
        assert keep(click_on(backend, auth=("annotator", "SECRET-guess"))) == 401
        project = {"id": 1, "created_at": "1970-01-01T00:00:02Z", "token": "SECRET-project"}
        assert post("/webhook", {"action": "START_TRAINING", "project": project}) == 201
        until(lambda: "bad header" in backend.log, 30, "what Label Studio says")

        engine = create_engine(make_url(database), isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:  # from now on everything that needs them fails
            for table in ("inbox_events", "jobs", "projects"):
                connection.execute(text(f"DROP TABLE {table} CASCADE"))
        engine.dispose()
        assert post("/webhook", {"action": "TASKS_CREATED", "project": project}) == 500
        post("/setup", setup)
        assert keep(requests.get(f"{backend.url}/jobs", auth=BASIC, timeout=30)) == 500
        until(lambda: "Traceback" in backend.log, 30, "a traceback")
        for path in ("/status", "/", "/metrics", "/health/ready", "/openapi.json"):
            for kind in ("application/json", "text/html"):
                keep(requests.get(f"{backend.url}{path}", auth=BASIC, headers={"Accept": kind}, timeout=30))
        log = backend.log
    assert "SECRET" not in log
    assert "SECRET" not in "".join(told)
    assert not any("Traceback" in one or 'File "' in one for one in told)
    assert any(asked.token == f"Token {TOKEN}" for asked in label_studio.asked), "or nothing was tried"


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        (f"postgresql+psycopg://me:{DATABASE_PASSWORD}@127.0.0.1:9/xsam", "nobody listens there"),
        (f"postgresql+psycopg://me:{DATABASE_PASSWORD}@127.0.0.1:port/xsam", "no URL"),
        (f"mysql+nothing://me:{DATABASE_PASSWORD}@127.0.0.1/xsam", "no such database"),
        (f"sqlite:////proc/nowhere/x.sqlite?password={DATABASE_PASSWORD}", "a file that can't be"),
    ],
)
def test_a_start_that_fails_tells_none(label_studio: WebServer, url: str, reason: str, tmp_path: Path) -> None:
    backend = BackendProcess(tmp_path / "data", settings=settings_of(label_studio, url))
    with pytest.raises(RuntimeError, match="the backend ended with"):
        backend.__enter__()
    assert len(backend.log) > 20, reason
    assert "SECRET" not in backend.log
