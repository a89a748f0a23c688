"""``/next``: what was pre-labelled through ``/predict`` comes back in the order in which to label it."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import pytest
from app_parts import CONFIG, MakeApp, MemoryImages, request_of, services_of
from fake_predictor import FakePredictor

from xsam_backend.errors import StoreBusyError, StoreError
from xsam_backend.instances import Answer, Instances
from xsam_backend.store.annotations import KeptAnnotation

PROJECT = "21.1795347497"
KEY = f"local/{PROJECT}"
SETUP = {"project": PROJECT, "schema": CONFIG, "hostname": "", "access_token": ""}


class FindsNothing(FakePredictor):
    """In pictures of 10 x 10 px."""

    def answer(self, state: Any, prompt: Any) -> Answer:
        found = super().answer(state, prompt)
        return Answer(Instances.empty(state.size_hw)) if state.size_hw == (10, 10) else found


@pytest.fixture
def app(make_app: MakeApp) -> Any:
    """Tasks 100 to 103 were pre-labelled; in 102 nothing was found."""
    app = make_app(FindsNothing(), MemoryImages({"c": (10, 10)}))
    client = app.test_client()
    client.post("/setup", json=SETUP)
    assert client.post("/predict", json=request_of("a", "b", "c", "missing")).status_code == 200
    return app


def asked(app: Any, query: str = "") -> Any:
    return app.test_client().get(f"/next?project={PROJECT}{query}")


def test_tasks_come_in_the_order_to_label_them(app: Any) -> None:
    answer = asked(app)
    assert answer.status_code == 200
    assert answer.get_json()["model_version"] == "fake-1"
    tasks = answer.get_json()["tasks"]
    assert tasks[0] == 102, "where nothing was found somebody should look first"
    assert sorted(tasks) == [100, 101, 102], "103 couldn't be predicted"
    assert asked(app, "&count=1").get_json()["tasks"] == [102]
    assert app.test_client().get(f"/next?project={KEY}").get_json() == answer.get_json(), "as /status names it"


def test_what_is_kept_is_what_was_sent(app: Any) -> None:
    sent = app.test_client().post("/predict", json=request_of("a", "b", "c")).get_json()["results"]
    kept = services_of(app).pre_labels.of_project(KEY)
    assert [(one.task_id, one.score) for one in kept] == [
        (100 + number, pytest.approx(entry["score"])) for number, entry in enumerate(sent)
    ]
    assert {(one.model_version, one.base) for one in kept} == {("fake-1", "fake-1")}


def test_a_labelled_task_does_not_come_again(app: Any) -> None:
    at = datetime.now(timezone.utc)
    services_of(app).annotations.keep([KeptAnnotation(KEY, 1, 102, "accepted", at)])
    assert sorted(asked(app).get_json()["tasks"]) == [100, 101]


@pytest.mark.parametrize(
    ("query", "words"),
    [
        pytest.param("", "expected '<id>.<creation second>', got 'None'", id="no project"),
        pytest.param("project=21", "expected '<id>.<creation second>'", id="half a project"),
        pytest.param("project=9.9", "expected one that has called here before", id="unknown project"),
        pytest.param(f"project={PROJECT}&count=0", "from 1 to 1000, got '0'", id="none"),
        pytest.param(f"project={PROJECT}&count=many", "got 'many'", id="no number"),
        pytest.param(f"project={PROJECT}&count=1001", "got '1001'", id="too many"),
    ],
)
def test_what_cannot_be_answered_is_said(app: Any, query: str, words: str) -> None:
    answer = app.test_client().get(f"/next?{query}")
    assert answer.status_code == 400
    assert words in answer.get_json()["error"]


def test_it_wants_the_login_that_everything_wants(make_app: MakeApp) -> None:
    client = make_app(basic_auth_user="u", basic_auth_password="p").test_client()
    assert client.get(f"/next?project={PROJECT}").status_code == 401


@pytest.mark.parametrize(("error", "told"), [(StoreBusyError("locked"), False), (StoreError("disk full"), True)])
def test_a_database_that_takes_nothing_costs_no_prediction(
    app: Any, monkeypatch: pytest.MonkeyPatch, error: StoreError, told: bool
) -> None:
    def fails(*_: object) -> None:
        raise error

    monkeypatch.setattr("xsam_backend.store.pre_labels.PreLabels.keep", fails)
    (entry,) = app.test_client().post("/predict", json=request_of("a")).get_json()["results"]
    assert entry["result"]
    problems = [problem.message for problem in services_of(app).monitor.last_problems]
    assert any("disk full" in message for message in problems) is told


def test_without_a_project_nothing_is_kept(app: Any) -> None:
    asked_of_nobody = {**request_of("a"), "project": None}
    before = len(services_of(app).pre_labels.of_project(KEY))
    assert app.test_client().post("/predict", json=asked_of_nobody).status_code == 200
    assert len(services_of(app).pre_labels.of_project(KEY)) == before
