from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xsam_backend.errors import RequestError
from xsam_backend.server.protocol import MAX_DEPTH, PredictRequest, SetupRequest, read_json


def nested(depth: int) -> bytes:
    return b'{"a":' + b"[" * (depth - 1) + b"]" * (depth - 1) + b"}"


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"{", r"expected JSON, could not read it"),
        (b"[1]", r"expected a JSON object, got a list"),
        (b'"text"', r"expected a JSON object, got a text"),
        (b"5", r"expected a JSON object, got a number"),
        (b'{"x": NaN}', r"NaN, infinite or too large"),
        (b'{"x": [-Infinity]}', r"NaN, infinite or too large"),
        (b'{"x": 1e999}', r"NaN, infinite or too large"),
        (b'{"x": ' + b"9" * 5000 + b"}", r"could not read it"),
        (nested(MAX_DEPTH + 1), r"nested deeper than 64 levels"),
        (nested(100_000), r"nested deeper than 64 levels"),
        ('{"x": "é"}'.encode("latin-1"), r"expected UTF-8"),
        (b'{"x": "\\ud800"}', r"could not read it"),
        (b'{"x": "\\udc00a"}', r"could not read it"),
    ],
    ids=[
        "cut off",
        "a list",
        "a text",
        "a number",
        "NaN",
        "Infinity",
        "a float beyond floats",
        "an endless integer",
        "one level too deep",
        "deep enough to crash a parser",
        "another encoding",
        "a lone surrogate",
        "the other half",
    ],
)
def test_what_is_no_decent_json_object_is_refused(raw: bytes, said: str) -> None:
    with pytest.raises(RequestError, match=said):
        read_json(raw)


def test_what_is_allowed_at_the_edges() -> None:
    assert read_json(b"") == {}
    assert read_json(nested(MAX_DEPTH))
    assert read_json(b'{"x": "\\ud83d\\ude00"}') == {"x": "\U0001f600"}


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(raw: bytes) -> None:
    with contextlib.suppress(RequestError):
        assert isinstance(read_json(raw), dict)


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=15,
)


@given(st.dictionaries(st.text(), _json))
def test_decent_objects_come_through_unchanged(body: dict[str, object]) -> None:
    assert read_json(json.dumps(body).encode()) == body


GOOD = {"tasks": [{"id": 1, "data": {"image": "x"}}], "label_config": "<View/>", "project": "1.2"}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"tasks": None}, r"tasks: expected a list, got nothing"),
        ({"tasks": {"id": 1}}, r"tasks: expected a list, got an object"),
        ({"label_config": None}, r"label_config: expected a text, got nothing"),
        ({"project": 21}, r"project: expected a text, got a number"),
        ({"params": []}, r"params: expected an object, got a list"),
        ({"params": {"context": True}}, r"params\.context: expected an object, got true or false"),
        ({"tasks": [], "params": {"context": {"result": []}}}, r"is about one task, got 0"),
    ],
    ids=str,
)
def test_a_wrong_field_is_named_with_what_was_expected(changes: dict[str, object], said: str) -> None:
    with pytest.raises(RequestError, match=said):
        PredictRequest.parse({**GOOD, **changes})


@given(st.dictionaries(st.sampled_from(["tasks", "label_config", "project", "params"]), _json))
def test_any_object_is_a_request_or_refused(body: dict[str, object]) -> None:
    with contextlib.suppress(RequestError):
        PredictRequest.parse(body)


@pytest.mark.parametrize(
    ("task", "said"),
    [
        (None, "task: expected an object, got nothing"),
        ({"id": 7}, "task 7: expected an object 'data', got nothing"),
        ({"id": 2**63, "data": {}}, "task: expected an 'id' from 0 to 2**63 - 1, got one of 64 bits"),
    ],
)
def test_a_malformed_task_costs_only_itself(task: object, said: str) -> None:
    request = PredictRequest.parse({**GOOD, "tasks": [task, GOOD["tasks"][0]]})
    assert [item.problem for item in request.tasks] == [said, None]


@pytest.mark.parametrize(
    ("params", "is_batch"),
    [(None, True), ({"context": None, "login": None}, True), ({"context": {"result": []}}, False)],
    ids=["no params", "batch", "prompts gone"],
)
def test_batch_and_interactive_are_told_apart(params: object, is_batch: bool) -> None:
    assert (PredictRequest.parse({**GOOD, "params": params}).context is None) is is_batch


def test_setup_does_not_read_the_token() -> None:
    request = SetupRequest.parse({"project": "1.2", "schema": "<View/>", "access_token": "secret", "hostname": "h"})
    assert "secret" not in repr(request)
