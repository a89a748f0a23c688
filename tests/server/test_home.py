"""The page at ``/``: for people all there is to know, for programs what ``/health`` says."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from app_parts import services_of
from flask import Flask
from flask.testing import FlaskClient

from xsam_backend.errors import ImageError
from xsam_backend.server.services import Services
from xsam_backend.server.version_curve import CurvePoint, draw_curve
from xsam_backend.store.annotations import KeptAnnotation
from xsam_backend.store.projects import ProjectKey
from xsam_backend.store.tasks import TaskPicture
from xsam_backend.store.versions import FOLDS, PINNED, Version

KEY = ProjectKey("local", 21, 5)
START = datetime(2026, 11, 22, 12, tzinfo=timezone.utc)
HTML = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
JPEG = b"\xff\xd8\xff a picture"


@pytest.fixture
def app(make_app: Callable[..., Flask]) -> Flask:
    return make_app()


@pytest.fixture
def parts(app: Flask) -> Services:
    return services_of(app)


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


def change(deployed: float | None, candidate: float | None) -> dict[str, Any]:
    estimate = {"value": 0.1, "low": 0.05, "high": 0.15}
    return {
        "where": "project",
        "question": "all",
        "pictures": 20,
        "deployed": deployed,
        "candidate": candidate,
        "change": estimate,
    }


def add_version(parts: Services, tmp_path: Path, number: int, state: Any, **report: Any) -> str:
    delta, shown = tmp_path / f"{number}.safetensors", tmp_path / "before-after-0-0.jpg"
    delta.write_bytes(bytes([number]))
    shown.write_bytes(JPEG)
    name = parts.version_files.keep(delta, "tiny-1", [shown])
    at = START + timedelta(hours=number)
    facts = {"reasons": [f"reason <{number}>"], "pictures": ["a"], "changes": [change(0.5, 0.6)], **report}
    parts.versions.add(Version(name, str(KEY), "tiny-1", "tiny-1", state, 1, facts, at))
    return name


def page(client: FlaskClient) -> str:
    response = client.get("/", headers=HTML)
    assert response.status_code == 200
    assert response.mimetype == "text/html"
    return response.get_data(as_text=True)


@pytest.mark.parametrize("accept", ["application/json", "*/*", None])
def test_programs_get_what_health_says(client: FlaskClient, accept: str | None) -> None:
    headers = {"Accept": accept} if accept else {}
    assert client.get("/", headers=headers).get_json() == client.get("/health").get_json()


def test_an_empty_page_says_how_to_begin(client: FlaskClient) -> None:
    assert "connect this backend in Label Studio" in page(client)


def test_a_project_with_its_versions(client: FlaskClient, parts: Services, tmp_path: Path) -> None:
    parts.projects.remember(KEY, "cells & <b>more</b>", "<View/>")
    parts.annotations.keep([KeptAnnotation(str(KEY), 1, 1, "accepted", START)])
    parts.tasks.know(str(KEY), 1, [TaskPicture("image", None, "http://x/y.png")])
    first = add_version(parts, tmp_path, 1, "promoted")
    second = add_version(parts, tmp_path, 2, "refused", changes=[change(None, None)])
    parts.versions.deploy(str(KEY), first, "better")
    parts.jobs.queue(str(KEY), "command")
    said = page(client)
    assert "cells &amp; &lt;b&gt;more&lt;/b&gt;" in said, "whatever people write is text"
    assert "reason &lt;2&gt;" in said
    assert said.index(second) < said.rindex(first), "the newest first"
    assert f'answered by <span class="answers">{first}</span>' in said
    assert "1 accepted" in said
    assert "<svg" in said
    assert "queued" in said
    assert "1 annotated tasks lack a picture" in said
    assert f'src="versions/{second.replace("+", "%2B")}/before-after-0-0.jpg"' in said


@pytest.mark.parametrize(
    ("tested_on", "who"), [(PINNED, "it finds itself"), (FOLDS, "a shorter training finds that left them out")]
)
def test_the_pictures_say_whose_answers_they_are_and_what_colors_mean(
    tested_on: str, who: str, client: FlaskClient, parts: Services, tmp_path: Path
) -> None:
    parts.projects.remember(KEY, "cells", "<View/>")
    add_version(parts, tmp_path, 1, "promoted", tested_on=tested_on, labels=["cell", "<b>"])
    said = page(client)
    assert who in " ".join(said.split())
    colors = re.findall(r'fill="(#[0-9a-f]{6})"/></svg> ([^<]+)</span>', said)
    assert [label for _, label in colors] == ["cell", "&lt;b&gt;"]
    assert len({color for color, _ in colors}) == 2


def test_pictures_of_a_version_and_nothing_else_are_handed_out(
    client: FlaskClient, parts: Services, tmp_path: Path
) -> None:
    name = add_version(parts, tmp_path, 1, "promoted")
    with client.get(f"/versions/{name.replace('+', '%2B')}/before-after-0-0.jpg") as response:
        assert (response.status_code, response.data, response.mimetype) == (200, JPEG, "image/jpeg")
    for path in (f"{name}/delta.safetensors", "../before-after-0-0.jpg", "tiny-1+00000000/before-after-0-0.jpg"):
        assert client.get(f"/versions/{path}").status_code == 404, path


def test_the_last_problems_are_there(client: FlaskClient, parts: Services) -> None:
    parts.monitor.problem(ImageError("http://x/<y>.png: HTTP 404"), "task 7")
    said = page(client)
    assert "http://x/&lt;y&gt;.png: HTTP 404" in said
    assert "task 7" in said


def test_the_page_asks_for_the_login(make_app: Callable[..., Flask]) -> None:
    client = make_app(basic_auth_user="u", basic_auth_password="p").test_client()
    assert client.get("/", headers=HTML).status_code == 401
    assert client.get("/", headers=HTML, auth=("u", "p")).status_code == 200


def test_nothing_is_loaded_from_elsewhere(client: FlaskClient) -> None:
    policy = client.get("/", headers=HTML).headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "http" not in page(client).replace("http-equiv", "")


@pytest.mark.parametrize("path", ["/", "/status"])
def test_no_page_lets_a_script_run(client: FlaskClient, parts: Services, path: str) -> None:
    parts.monitor.note("Hostile", "<script>alert(1)</script>", "<img src=x onerror=alert(1)>")
    answer = client.get(path, headers=HTML)
    assert answer.mimetype == "text/html"
    directives = [part.split() for part in answer.headers["Content-Security-Policy"].split(";")]
    policy = {name: values for name, *values in directives}
    assert policy["default-src"] == ["'none'"]
    assert not [name for name in policy if name.startswith(("script-src", "worker-src", "object-src", "frame-src"))]
    assert policy["base-uri"] == policy["form-action"] == ["'none'"]
    assert "&lt;script&gt;" in answer.text
    assert "<script" not in answer.text
    assert "<img src=x" not in answer.text


def test_a_curve_marks_what_was_promoted() -> None:
    drawn = str(draw_curve([CurvePoint("a<b", 0.5, 0.6, True), CurvePoint("c", 0.6, 0.55, False)]))
    assert drawn.count('class="filled"') == drawn.count('class="hollow"') == 1
    assert "a&lt;b: 0.500 -&gt; 0.600" in drawn or "a&lt;b: 0.500 -> 0.600" in drawn
    assert str(draw_curve([])) == ""
    assert "nan" not in str(draw_curve([CurvePoint("a", 0.5, 0.5, True)]))
