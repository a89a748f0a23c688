"""X-SAM as a model of ``label-studio-ml`` 2.x, for those who start their backends with that host.

It hands over to the same functions as our own application. What the host does otherwise decides the rest: it builds
the class anew for each request, so what is heavy is opened once per process; it runs ``fit`` inside the webhook's
request, so an event is only written to the inbox; and where a model raises, it sends the traceback to whoever asked,
so nothing is raised over a prediction.

The package is on GitHub only: requirements-label-studio-ml.txt.
"""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

from flask import Flask, has_request_context, request
from label_studio_ml import api
from label_studio_ml.model import LabelStudioMLBase
from label_studio_ml.response import ModelResponse
from label_studio_sdk.label_interface.objects import PredictionValue
from werkzeug.exceptions import BadRequest, ServiceUnavailable

from xsam_backend.config import load_settings
from xsam_backend.errors import RequestError, StoreError
from xsam_backend.server.auth import WEBHOOK_HEADER
from xsam_backend.server.connections import set_up
from xsam_backend.server.endpoints import pages
from xsam_backend.server.job_pages import job_pages
from xsam_backend.server.protocol import PredictRequest, SetupRequest
from xsam_backend.server.services import Services, open_services
from xsam_backend.store.projects import ProjectKey

Entry = dict[str, Any]
"""One task's answer: ``result``, ``score``, ``model_version``; or ``queued``; or, where it failed, ``error`` and
``kind``."""

_lock = threading.Lock()
_opened: tuple[int, Services] | None = None


def services() -> Services:
    """Weights, databases and all else, opened on first use and then kept; settings come from the environment.

    A process that was forked from one that has them open opens its own: neither CUDA nor connections survive a fork.

    Raises:
        SettingsError, StoreError, CheckpointError: something cannot work; says what to change.
    """
    global _opened
    with _lock:
        if _opened is None or _opened[0] != os.getpid():
            parts = open_services(load_settings())
            atexit.register(parts.close)
            _opened = os.getpid(), parts
        return _opened[1]


def prepare(app: Flask) -> Flask:
    """Open the services before the first request (Label Studio waits 3 s for a setup), and give the host's
    application our ``/status`` and ``/jobs`` pages, where the reasons of failed predictions stand."""
    app.extensions["xsam_backend"] = services()
    app.register_blueprint(pages)
    app.register_blueprint(job_pages)
    return app


class XSam(LabelStudioMLBase):  # type: ignore[misc]  # the host has no types
    """What the host builds for each request. Cheap: it holds nothing."""

    def setup(self) -> None:
        """Called by the host's constructor: tells it the model version, and heeds a setup request."""
        parts = services()
        if has_request_context() and request.path.rstrip("/").endswith("/setup"):
            try:
                set_up(parts, SetupRequest.parse(_body()), request.host)
            except RequestError as error:
                parts.monitor.problem(error, "setup")
        version = _version(parts)
        if self.get("model_version") != version:  # each set is a transaction of the host's
            self.set("model_version", version)

    def predict(
        self, tasks: list[dict[str, Any]], context: Mapping[str, Any] | None = None, **kwargs: Any
    ) -> ModelResponse | list[Entry]:
        """Pre-label ``tasks``, or answer the prompts in ``context`` about the one task.

        Where a task failed or was queued, the answer is a list, which the host passes on as it is: its own response
        has no place for that, and would send ``result: null``, over which Label Studio loses the whole batch.

        Args:
            context: the host gives ``{}`` where none was sent; an interactive request has ``{"result": [...]}``.
        """
        parts = services()
        entries = _answer(
            parts,
            {
                "tasks": tasks,
                "project": _body().get("project"),  # the host's own project_id lacks the creation second
                "label_config": _body().get("label_config") or self.label_config,
                "params": {"context": context or None},
            },
        )
        if any("result" not in entry or "error" in entry for entry in entries):
            return entries
        predictions = [PredictionValue(**entry) for entry in entries]
        return ModelResponse(model_version=_version(parts), predictions=predictions)

    def fit(self, event: str, data: Mapping[str, Any], **kwargs: Any) -> dict[str, str]:
        """Write an event to the inbox, and START_TRAINING's job to the queue; on return they are on disk. Nothing is
        trained here: Label Studio waits 1 s.

        Raises:
            BadRequest: not an event. ServiceUnavailable: it could not be kept, so it must not be acknowledged.
        """
        parts = services()
        secret = request.headers.get(WEBHOOK_HEADER) if has_request_context() else None
        try:
            job = parts.webhooks.receive({**data, "action": event}, secret, has_login=api.BASIC_AUTH is not None)
        except RequestError as error:
            parts.monitor.problem(error, f"webhook {event}")
            raise BadRequest(str(error)) from error
        except StoreError as error:
            problem = parts.monitor.problem(error, f"webhook {event}")
            raise ServiceUnavailable(f"the event could not be kept; the log says why ({problem.error_id})") from error
        return {"kept": event} | ({"job": str(job.id)} if job is not None else {})


def _answer(parts: Services, body: Mapping[str, Any]) -> list[Entry]:
    """One entry per task. What fails as a whole fails for each, in words; an interactive answer keeps an empty
    ``result`` beside them, since the labeling page reads it."""
    interactive = body["params"]["context"] is not None
    where = f"project {body['project']}"
    try:
        asked = PredictRequest.parse(body)
        where = asked.where
        with parts.prediction_slot(), nullcontext() if interactive else parts.batch_slot():
            return parts.backend.predict(asked)
    except Exception as error:  # the host would send a traceback
        problem = parts.monitor.problem(error, where)
        entry: Entry = {"error": problem.message, "kind": problem.kind, "id": problem.error_id}
        tasks = body["tasks"] if isinstance(body["tasks"], list) else [None]
        return [entry | ({"result": []} if interactive else {}) for _ in tasks]


def _version(parts: Services) -> str:
    """What answers the project that the request is about; the base's version where it names none."""
    try:
        key = ProjectKey.from_uid(parts.settings.instance, _body().get("project"))
    except RequestError:
        return parts.engine.model_version
    return parts.engine.predictor_of(str(key)).model_version


def _body() -> Mapping[str, Any]:
    """The request that the host is answering; the host keeps back some of it. Empty outside of a request."""
    given = request.get_json(silent=True) if has_request_context() else None
    return given if isinstance(given, dict) else {}
