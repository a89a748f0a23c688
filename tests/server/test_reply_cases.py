"""The 56 recorded faults of a backend: that none of them is ours, or when and in which words it is.

``docs/label-studio-cases.md`` tells it case by case. What Label Studio does with a reply depends on its form alone,
so ``reply_marks`` says what is wrong with the form of any reply to ``/predict``; it must see every recorded fault.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from app_parts import CONFIG, MakeApp, MemoryImages, click, request_of
from fake_predictor import FakePredictor
from flask import Flask
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from result_marks import marks_of

VERSION = "fake-1"
SIZE_HW = (240, 320)


def refuse_constant(name: str) -> float:
    raise ValueError(f"{name} in a reply")


def reply_marks(status: int, raw: bytes, tasks: int, *, interactive: bool = False) -> list[str]:
    """What Label Studio would not store or show as meant; empty: the reply is one entry for each task."""
    if status != 200:
        return [f"HTTP {status}"]
    try:
        reply = json.loads(raw, parse_constant=refuse_constant)
    except ValueError as error:
        return ["NaN" if "in a reply" in str(error) else "no JSON"]
    if not isinstance(reply, dict) or set(reply) != {"results"}:
        return ["no object with results alone"]
    if not isinstance(reply["results"], list) or len(reply["results"]) != tasks:
        return ["another number of entries than of tasks"]
    marks = {mark for entry in reply["results"] for mark in entry_marks(entry, interactive)}
    return sorted(marks)


def entry_marks(entry: Any, interactive: bool) -> list[str]:
    if not isinstance(entry, dict):
        return ["an entry is no object"]
    if "result" not in entry:
        return ["nothing for a task"] if interactive or "error" not in entry else []
    if interactive and entry == {"result": []}:
        return []
    marks = sorted(marks_of(entry["result"], CONFIG, SIZE_HW))
    if set(entry) != {"result", "score", "model_version"}:
        return [*marks, "other keys than a prediction's"]
    if type(entry["score"]) is not float or not 0 <= entry["score"] <= 1:
        marks.append("the score is no number from 0 to 1")
    if entry["model_version"] != VERSION:
        marks.append("another version than setup's")
    return marks


REGION = {
    "id": "g",
    "type": "rectanglelabels",
    "from_name": "rect",
    "to_name": "image",
    "original_width": 320,
    "original_height": 240,
    "image_rotation": 0,
    "value": {"x": 1, "y": 1, "width": 5, "height": 5, "rotation": 0, "rectanglelabels": ["cat"]},
}
GOOD = {"result": [REGION], "score": 0.5, "model_version": VERSION}


def body(first: Any, *others: Any) -> bytes:
    return json.dumps({"results": [first, *others]}).encode()


def changed(**changes: Any) -> bytes:
    return body({**GOOD, **changes}, GOOD)


def without(key: str) -> bytes:
    return body({name: value for name, value in GOOD.items() if name != key}, GOOD)


HTML = b"<html>Bad gateway</html>"
NOWHERE = {**REGION, "value": {**REGION["value"], "x": float("nan")}}
BATCH: dict[str, tuple[int, bytes, str | None]] = {
    "http_500": (500, b"{}", "HTTP 500"),
    "http_400": (400, b"{}", "HTTP 400"),
    "http_503_text": (503, b"busy", "HTTP 503"),
    "not_json": (200, HTML, "no JSON"),
    "no_results_key": (200, b"{}", "no object with results alone"),
    "bare_list": (200, json.dumps([GOOD, GOOD]).encode(), "no object with results alone"),
    "results_null": (200, b'{"results": null}', "another number of entries than of tasks"),
    "results_empty": (200, b'{"results": []}', "another number of entries than of tasks"),
    "one_result_for_two_tasks": (200, body(GOOD), "another number of entries than of tasks"),
    "three_results_for_two_tasks": (200, body(GOOD, GOOD, GOOD), "another number of entries than of tasks"),
    "ok": (200, body(GOOD, GOOD), None),
    "list_of_predictions_per_task": (200, body([GOOD, GOOD], [GOOD]), "an entry is no object"),
    "prediction_without_result": (200, body({"error": "no such picture"}, GOOD), None),
    "prediction_null": (200, body(None, GOOD), "an entry is no object"),
    "prediction_empty_list": (200, body([], GOOD), "an entry is no object"),
    "result_null": (200, changed(result=None), "the result is no list"),
    "result_dict": (200, changed(result={}), "the result is no list"),
    "result_items_null": (200, changed(result=[None]), "a region is no object"),
    "score_missing": (200, without("score"), "other keys than a prediction's"),
    "score_string": (200, changed(score="high"), "the score is no number from 0 to 1"),
    "score_numeric_string": (200, changed(score="0.7"), "the score is no number from 0 to 1"),
    "score_5": (200, changed(score=5.0), "the score is no number from 0 to 1"),
    "score_nan": (200, changed(score=float("nan")), "NaN"),
    "coordinate_nan": (200, changed(result=[NOWHERE]), "NaN"),
    "model_version_null": (200, changed(model_version=None), "another version than setup's"),
    "model_version_int": (200, changed(model_version=3), "another version than setup's"),
    "model_version_missing": (200, without("model_version"), "other keys than a prediction's"),
    "cluster_extra_keys": (200, changed(cluster=1), "other keys than a prediction's"),
}
"""Recorded case -> a reply of that kind to two tasks, and its mark; None: we answer so."""

INTERACTIVE: dict[str, tuple[int, bytes, str | None]] = {
    "ok": (200, body(GOOD), None),
    "http_500": (500, b"{}", "HTTP 500"),
    "http_400": (400, b"{}", "HTTP 400"),
    "not_json": (200, HTML, "no JSON"),
    "no_results": (200, b"{}", "no object with results alone"),
    "bare_list": (200, json.dumps([GOOD]).encode(), "no object with results alone"),
    "results_empty": (200, b'{"results": []}', "another number of entries than of tasks"),
    "results_nested_list": (200, body([GOOD]), "an entry is no object"),
    "results_null_item": (200, body(None), "an entry is no object"),
    "empty_regions": (200, body({"result": []}), None),
}


@pytest.mark.parametrize("case", BATCH)
def test_the_marks_see_every_fault_of_a_batch(case: str) -> None:
    status, raw, mark = BATCH[case]
    assert reply_marks(status, raw, 2) == ([mark] if mark else [])


@pytest.mark.parametrize("case", INTERACTIVE)
def test_the_marks_see_every_fault_of_an_interactive_reply(case: str) -> None:
    status, raw, mark = INTERACTIVE[case]
    assert reply_marks(status, raw, 1, interactive=True) == ([mark] if mark else [])


class Moody(FakePredictor):
    """Fails at the stages that it is told of: one bool for each to come."""

    def __init__(self) -> None:
        super().__init__(VERSION, before=self._at)
        self.fails: list[bool] = []

    def _at(self, _stage: str) -> None:
        if self.fails and self.fails.pop():
            raise RuntimeError("a kernel crashed")


@pytest.fixture
def moody() -> Moody:
    return Moody()


@pytest.fixture
def app(make_app: MakeApp, moody: Moody) -> Flask:
    app: Flask = make_app(moody, MemoryImages())
    return app


PROPERTY = settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
"""One application is enough: it keeps nothing of a request that an answer would depend on."""

TASKS = st.sampled_from(["a", "b", "c"]).map(lambda image: {"id": 7, "data": {"image": image}}) | st.sampled_from(
    [
        {"id": 1, "data": {"image": "missing"}},
        {"id": 2, "data": {"image": "crash"}},
        {"id": 3, "data": {"other": "a"}},
        {"id": 4, "data": {"image": 5}},
        {"id": 5, "data": None},
        {"id": "6"},
        None,
        [],
    ]
)


@PROPERTY
@given(tasks=st.lists(TASKS, max_size=6), fails=st.lists(st.booleans(), max_size=8))
def test_any_batch_is_answered_with_one_entry_for_each_task(
    app: Flask, moody: Moody, tasks: list[Any], fails: list[bool]
) -> None:
    """Good tasks, broken ones, pictures that are gone, a model that fails: each costs its own entry only."""
    moody.fails = list(fails)
    answer = app.test_client().post("/predict", json={**request_of(), "tasks": tasks})
    assert reply_marks(answer.status_code, answer.data, len(tasks)) == []
    if not any(fails):
        has_result = ["result" in entry for entry in answer.get_json()["results"]]
        assert has_result == [isinstance(task, dict) and task.get("id") == 7 for task in tasks]


def text(words: str) -> dict[str, Any]:
    return {"id": "t", "type": "textarea", "from_name": "prompt", "to_name": "image", "value": {"text": [words]}}


def box(x: float, y: float) -> dict[str, Any]:
    value = {"x": x, "y": y, "width": 20.0, "height": 30.0, "rotation": 0, "rectanglelabels": ["dog"]}
    return {"id": "b", "type": "rectanglelabels", "from_name": "rect", "to_name": "image", "value": value}


PCT = st.floats(0, 80)
PROMPTS = st.one_of(
    st.lists(st.builds(click, PCT, PCT, positive=st.booleans()), max_size=4),
    st.lists(st.builds(box, PCT, PCT), max_size=3),
    st.lists(st.builds(text, st.sampled_from(["cat", "a red car", "", "is it a dog?"])), max_size=2),
    st.lists(st.sampled_from([{**box(5, 5), "type": "sausage"}, {**box(5, 5), "value": None}, click(500, 5)])),
)


@PROPERTY
@given(prompts=PROMPTS, image=st.sampled_from(["a", "missing", "crash"]), fails=st.booleans())
def test_any_prompt_is_answered_with_one_object_or_an_error_in_words(
    app: Flask, moody: Moody, prompts: list[dict[str, Any]], image: str, fails: bool
) -> None:
    moody.fails = [fails]
    answer = app.test_client().post("/predict", json=request_of(image, context=prompts))
    marks = reply_marks(answer.status_code, answer.data, 1, interactive=True)
    if answer.status_code == 200:
        assert marks == []
        assert prompts == [] or not fails
    else:
        assert answer.status_code in ((422, 500) if image == "crash" or fails else (422,))
        assert answer.get_json()["error"]


def test_a_nan_never_leaves_the_service(make_app: MakeApp, monkeypatch: pytest.MonkeyPatch) -> None:
    """Instances refuse one; should a writer make one all the same, the reply fails loudly: Label Studio would lose
    the whole batch without a word."""
    monkeypatch.setattr(
        "xsam_backend.server.backend.write_prediction", lambda *_: {"result": [], "score": float("nan")}
    )
    answer = make_app(images=MemoryImages()).test_client().post("/predict", json=request_of("a"))
    assert reply_marks(answer.status_code, answer.data, 1) == ["HTTP 500"]
