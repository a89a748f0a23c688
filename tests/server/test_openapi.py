"""``/openapi.json`` against the application: every route is described, and Schemathesis finds no reply that isn't."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

import pytest
import schemathesis
from app_parts import CONFIG, MemoryImages, services_of
from fake_predictor import FakePredictor
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import checks
from schemathesis.core.failures import FailureGroup

from xsam_backend.config import load_settings
from xsam_backend.server.app import create_app
from xsam_backend.server.openapi import PATHS

CHECKED = [
    checks.not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
]


@pytest.fixture(scope="module")
def app():
    with tempfile.TemporaryDirectory() as folder:
        made = create_app(load_settings(data_dir=Path(folder), train_worker=False), FakePredictor(), MemoryImages())
        yield made
        services_of(made).close()


CONFIGS = st.sampled_from([CONFIG, "<View/>", CONFIG.replace("poly", "x")])
OPERATIONS = [f"{method.upper()} {path}" for path, one in PATHS.items() for method in one if path != "/openapi.json"]


def test_every_route_is_described_and_no_other(app) -> None:
    routes = {
        (re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule), method.lower())
        for rule in app.url_map.iter_rules()
        for method in (rule.methods or set()) - {"OPTIONS", "HEAD"}
    }
    assert routes == {(path, method) for path, operations in PATHS.items() for method in operations}


@pytest.mark.parametrize("label", OPERATIONS)
def test_replies_are_as_described(app, label: str) -> None:
    described = schemathesis.openapi.from_wsgi("/openapi.json", app)
    (operation,) = [one.ok() for one in described.get_all_operations() if one.ok().label == label]

    @settings(max_examples=30, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
    @given(operation.as_strategy(), CONFIGS)
    def replies(case, config: str) -> None:
        if isinstance(case.body, dict):  # nobody writes XML by chance
            case.body |= {key: config for key in ("label_config", "schema", "config") if key in case.body}
        case.call_and_validate(checks=CHECKED)

    replies()


def test_a_reply_that_is_not_described_is_found(app, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(PATHS["/train"]["post"]["responses"], "410")
    with pytest.raises(FailureGroup):
        test_replies_are_as_described(app, "POST /train")


@pytest.mark.parametrize("digits", [1, 10, 19, 30, 5000])
def test_no_number_of_a_job_is_too_large(app, digits: int) -> None:
    """Python refuses to read numbers of more than 4300 digits."""
    number = "9" * digits
    client = app.test_client()
    assert client.get(f"/jobs/{number}").status_code == 404
    assert client.get(f"/jobs/{number}/log").status_code == 404
    assert client.post("/job_status", json={"job": number}).get_json()["job_status"] == "removed"
