"""Request bodies, checked once at the door: after this module a request is a value with the right types.

Strict JSON: NaN and Infinity are refused (Label Studio would lose a whole batch over one in a reply, and PostgreSQL
refuses them too), and nesting is bounded, because later code walks bodies recursively.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic_core import from_json

from xsam_backend.errors import RequestError
from xsam_backend.labelstudio.known_objects import edited_result

MAX_DEPTH = 64
"""Deepest nesting of a body. Label Studio's deepest recorded one has 9 levels."""


def read_json(raw: bytes) -> dict[str, Any]:
    """The JSON object in a body; an empty body is an empty object.

    Raises:
        RequestError: not UTF-8, not JSON, not an object, not finite, or nested too deeply.
    """
    if not raw.strip():
        return {}
    try:
        raw.decode("utf-8")
        body = from_json(raw)  # a task may bring megabytes of annotations: several times as fast as json
    except UnicodeDecodeError as error:
        raise RequestError(f"body: expected UTF-8, got another encoding at byte {error.start}") from None
    except ValueError as error:
        if "recursion limit" in str(error):
            raise RequestError(f"body: nested deeper than {MAX_DEPTH} levels") from None
        raise RequestError(f"body: expected JSON, could not read it ({str(error)[:120]})") from None
    if not isinstance(body, dict):
        raise RequestError(f"body: expected a JSON object, got {_kind(body)}")
    _check(body)
    return body


def _check(body: dict[str, Any]) -> None:
    """Refuse what is nested too deeply, and numbers that aren't finite."""
    level: list[Any] = [body]
    for _ in range(MAX_DEPTH):
        inner: list[Any] = []
        for container in level:
            values = container.values() if isinstance(container, dict) else container
            kinds = set(map(type, values))  # most lists are of whole numbers: nothing more to see there
            if float in kinds and not all(math.isfinite(value) for value in values if type(value) is float):
                raise RequestError(
                    "body: a number is NaN, infinite or too large, which is not JSON; send finite numbers, or null "
                    "where there is none"
                )
            if dict in kinds or list in kinds:
                inner += [value for value in values if isinstance(value, (dict, list))]
        level = inner
        if not level:
            return
    raise RequestError(f"body: nested deeper than {MAX_DEPTH} levels")


@dataclass(frozen=True)
class TaskItem:
    """One task of a predict request.

    Attributes:
        problem: what is wrong with it, None if nothing is.
        edited: the regions of the annotation that somebody is working on.
    """

    id: int | None
    data: dict[str, Any]
    problem: str | None = None
    edited: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True)
class PredictRequest:
    """A predict request.

    Attributes:
        tasks: in the request's order; a malformed one carries its problem, so that it costs only itself.
        project: ``"<id>.<creation second>"`` as sent; None where the caller named none.
        label_config: XML.
        context: what an interactive request asks, ``{"result": [regions]}``, maybe none left; None for a batch.
    """

    tasks: tuple[TaskItem, ...]
    project: str | None
    label_config: str
    context: dict[str, Any] | None

    @classmethod
    def parse(cls, body: Mapping[str, Any]) -> PredictRequest:
        """Check a body.

        Raises:
            RequestError: a field is missing or of another type; names it, and what was expected.
        """
        tasks = _field(body, "tasks", list)
        label_config = _field(body, "label_config", str)
        project = _field(body, "project", str, optional=True)
        params = _field(body, "params", dict, optional=True) or {}
        context = _field(params, "context", dict, optional=True, parent="params.")
        if context is not None and len(tasks) != 1:
            raise RequestError(f"tasks: an interactive request is about one task, got {len(tasks)}")
        return cls(tuple(map(_task, tasks)), project, label_config, context)

    @property
    def where(self) -> str:
        """For messages."""
        return f"project {self.project}, task {', '.join(str(task.id) for task in self.tasks[:5])}"


@dataclass(frozen=True)
class SetupRequest:
    """A setup request. Its ``access_token`` is not even read: anyone can send one, with any ``hostname``."""

    project: str
    label_config: str
    hostname: str

    @classmethod
    def parse(cls, body: Mapping[str, Any]) -> SetupRequest:
        """Check a body.

        Raises:
            RequestError: a field is missing or of another type.
        """
        return cls(
            _field(body, "project", str),
            _field(body, "schema", str),
            _field(body, "hostname", str, optional=True) or "",
        )


def _task(value: Any) -> TaskItem:
    if not isinstance(value, dict):
        return TaskItem(None, {}, f"task: expected an object, got {_kind(value)}")
    task_id = value.get("id")
    if type(task_id) is not int:
        task_id = None
    elif not 0 <= task_id < 2**63:  # what a database holds
        return TaskItem(
            None, {}, f"task: expected an 'id' from 0 to 2**63 - 1, got one of {task_id.bit_length()} bits"
        )
    data = value.get("data")
    if not isinstance(data, dict):
        return TaskItem(task_id, {}, f"task {task_id}: expected an object 'data', got {_kind(data)}")
    return TaskItem(task_id, data, edited=edited_result(value))


def _field(body: Mapping[str, Any], name: str, kind: type, *, optional: bool = False, parent: str = "") -> Any:
    value = body.get(name)
    if value is None and optional:
        return None
    if not isinstance(value, kind):
        raise RequestError(f"{parent}{name}: expected {_NAMES[kind]}, got {_kind(value)}")
    return value


_NAMES: dict[type, str] = {dict: "an object", list: "a list", str: "a text"}


def _kind(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true or false"
    return _NAMES.get(type(value), "a number")
