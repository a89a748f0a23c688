"""An error as the operator sees it: from the id in the answer to its traceback in the log."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from app_parts import MemoryImages, click, request_of, services_of

from xsam_backend.server.logs import configure_logging
from xsam_backend.server.request_ids import current_request_id


@pytest.fixture
def logged(request: pytest.FixtureRequest) -> Iterator[io.StringIO]:
    """What is logged in the form that the parameter names."""
    root, stream = logging.getLogger(), io.StringIO()
    before, level = list(root.handlers), root.level
    root.handlers.clear()
    configure_logging("DEBUG", request.param, stream)
    yield stream
    root.handlers[:] = before
    root.setLevel(level)


JSON = pytest.mark.parametrize("logged", ["json"], indirect=True)
TEXT = pytest.mark.parametrize("logged", ["text"], indirect=True)


def lines(logged: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in logged.getvalue().splitlines()]


@JSON
def test_from_an_answers_id_to_the_traceback(make_app: Any, logged: io.StringIO) -> None:
    client = make_app(images=MemoryImages()).test_client()
    body = request_of("crash", context=[click(50, 50)])
    answer = client.post("/predict", json=body, headers={"X-Request-ID": "from-the-proxy.1"})
    assert answer.status_code == 500
    assert answer.headers["X-Request-ID"] == answer.get_json()["request"] == "from-the-proxy.1"
    mine = [line for line in lines(logged) if line.get("request") == "from-the-proxy.1"]
    (error,) = [line for line in mine if line["level"] == "ERROR"]
    assert answer.get_json()["id"] in error["message"]
    assert "project 21.1795347497, task 100" in error["message"]
    assert "ZeroDivisionError: a bug in a decoder" in error["traceback"]
    (end,) = [line for line in mine if "status" in line]
    assert (end["method"], end["path"], end["status"]) == ("POST", "/predict", 500)
    assert end["where"] == "project 21.1795347497, task 100"
    assert "image" not in json.dumps(end), "no bodies"


@JSON
def test_a_batch_fetches_under_its_requests_id(make_app: Any, logged: io.StringIO) -> None:
    class Telling(MemoryImages):
        def fetch(self, url: str, task_id: int | None = None) -> Any:
            logging.getLogger("fetching").info("fetch %s", url)
            return super().fetch(url, task_id)

    client = make_app(images=Telling()).test_client()
    client.post("/predict", json=request_of("a", "b", "missing"), headers={"X-Request-ID": "batch-7"})
    fetched = [line for line in lines(logged) if line["logger"] == "fetching"]
    assert {line["message"] for line in fetched} == {"fetch a", "fetch b", "fetch missing"}
    assert {line["request"] for line in fetched} == {"batch-7"}, "also those that other threads fetch ahead"
    (warned,) = [line for line in lines(logged) if line["level"] == "WARNING" and "missing" in line["message"]]
    assert warned["request"] == "batch-7"


@JSON
def test_what_a_request_leaves_for_later_is_logged_under_its_id(make_app: Any, logged: io.StringIO) -> None:
    app = make_app()

    @app.get("/later")
    def later() -> str:
        services_of(app).housekeeping.later("x", lambda: logging.getLogger("later").info("done"))
        return ""

    app.test_client().get("/later", headers={"X-Request-ID": "r-1"})
    services_of(app).housekeeping.drain()
    assert [line["request"] for line in lines(logged) if line["logger"] == "later"] == ["r-1"]


@pytest.mark.parametrize("told", ["", "two words", "a" * 65, "-x", 'x"y', "é", "x;y"])
def test_an_id_that_is_none_is_not_taken(make_app: Any, told: str) -> None:
    answer = make_app().test_client().get("/nothing", headers={"X-Request-ID": told})
    given = answer.headers["X-Request-ID"]
    assert (len(given), given != told) == (32, True)
    assert answer.get_json()["request"] == given
    assert current_request_id() == ""


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/health", 200), ("GET", "/nothing", 404), ("POST", "/predict", 400)]
)
def test_every_answer_has_an_id_of_its_own(make_app: Any, method: str, path: str, status: int) -> None:
    client = make_app().test_client()
    answers = [client.open(path, method=method, data=b"{") for _ in range(2)]
    assert {answer.status_code for answer in answers} == {status}
    assert len({answer.headers["X-Request-ID"] for answer in answers}) == 2


@TEXT
def test_a_path_forges_no_line(make_app: Any, logged: io.StringIO) -> None:
    make_app().test_client().get("/x%0a[2026-01-01] [1] [ERROR] all is lost%1b[31m%E2%80%A8")
    (line,) = [line for line in logged.getvalue().splitlines() if "all is lost" in line]
    assert "/x\\n[2026-01-01]" in line
    assert "\x1b" not in line


@TEXT
def test_queries_and_secrets_are_not_logged(make_app: Any, logged: io.StringIO) -> None:
    client = make_app(basic_auth_user="u", basic_auth_password="SECRET-pw").test_client()
    client.get("/status?token=SECRET-query", auth=("u", "SECRET-pw"), headers={"X-Token": "SECRET-header"})
    assert "GET /status: 200" in logged.getvalue()
    assert "SECRET" not in logged.getvalue()


@TEXT
def test_what_machines_ask_every_few_seconds_is_for_debugging(make_app: Any, logged: io.StringIO) -> None:
    client = make_app().test_client()
    for path in ("/health", "/metrics", "/status"):
        client.get(path)
    levels = {
        line.split(" GET ")[1].split(":")[0]: line for line in logged.getvalue().splitlines() if " GET " in line
    }
    assert "[DEBUG]" in levels["/health"]
    assert "[DEBUG]" in levels["/metrics"]
    assert "[INFO]" in levels["/status"]
