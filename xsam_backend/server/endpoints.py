"""The ML-backend protocol as Label Studio 1.23 speaks it, and what operators and their programs ask.

Time limits that Label Studio sets: health 1 s, setup 3 s, webhook 1 s connection included, predict 100 s. So only
predict may use the model or the network.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

from flask import Blueprint, Response, current_app, g, jsonify, render_template, request
from werkzeug.exceptions import RequestEntityTooLarge

import xsam_backend
from xsam_backend.errors import JobError, StoreError
from xsam_backend.labelstudio.label_config import LabelConfig
from xsam_backend.server.auth import WEBHOOK_HEADER, given_login
from xsam_backend.server.connections import set_up
from xsam_backend.server.protocol import PredictRequest, SetupRequest, read_json
from xsam_backend.server.services import Services
from xsam_backend.server.webhooks import START_TRAINING

blueprint = Blueprint("protocol", __name__)
pages = Blueprint("pages", __name__, template_folder="templates")
"""For people. Apart from the protocol, so that another server of it (``label_studio_ml``) can have them too."""

PAGE_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; img-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
}
"""Of every page: whatever gets into one, no script of it runs."""

_STATES = {"running": "started", "done": "finished", "cancelled": "canceled"} | {
    same: same for same in ("queued", "failed")
}


def services() -> Services:
    """The parts that this application was made with."""
    found: Services = current_app.extensions["xsam_backend"]
    return found


def body() -> dict[str, Any]:
    """The request's JSON object.

    Raises:
        RequestError: see :func:`~xsam_backend.server.protocol.read_json`.
        RequestEntityTooLarge: larger than the settings allow.
    """
    raw = request.get_data(cache=False)
    if len(raw) >= current_app.config["MAX_CONTENT_LENGTH"]:  # a body without a length is cut there without a word
        raise RequestEntityTooLarge
    return read_json(raw)


@blueprint.get("/health")
def health() -> Response:
    """Up, since the weights were loaded before the first request was let in."""
    return jsonify(status="UP", model_class="X-SAM", model_version=services().engine.model_version)


@blueprint.get("/health/live")
def live() -> tuple[Response, int]:
    """200 unless a restart would help."""
    ailing = services().health.ailing
    return jsonify(status="ailing" if ailing else "live", ailing=ailing), 503 if ailing else 200


@blueprint.get("/health/ready")
def ready() -> tuple[Response, int]:
    """200 where requests should be sent here: what they need is there."""
    lacking = services().health.lacking
    return jsonify(status="not ready" if lacking else "ready", lacking=lacking), 503 if lacking else 200


@blueprint.post("/setup")
def setup() -> Response:
    """Comes before nearly everything and with every opened page; see ``connections``."""
    return jsonify(model_version=set_up(services(), SetupRequest.parse(body()), request.host))


@blueprint.post("/predict")
def predict() -> Response:
    """Predictions for the tasks of a batch, or the answer to one interactive prompt."""
    parts = services()
    with parts.prediction_slot():
        asked = PredictRequest.parse(body())
        g.where = asked.where
        with parts.batch_slot() if asked.context is None else nullcontext():
            results = parts.backend.predict(asked)
    # allow_nan: one NaN in a region would lose Label Studio the whole batch; better to fail loudly here.
    return Response(json.dumps({"results": results}, allow_nan=False), mimetype="application/json")


@blueprint.post("/webhook")
def webhook() -> tuple[Response, int]:
    """Keep an event. Label Studio sends no basic auth here, except with START_TRAINING."""
    parts = services()
    event = body()
    starts_training = event.get("action") == START_TRAINING
    if starts_training:
        parts.login.demand(given_login(request.headers.get("Authorization")), request.remote_addr)
    job = parts.webhooks.receive(event, request.headers.get(WEBHOOK_HEADER), has_login=parts.login.is_on)
    if job is not None:
        return jsonify(
            status="ok", job=str(job.id), message=f"queued as job {job.id}: /jobs/{job.id} tells of it"
        ), 201
    if starts_training:
        return jsonify(
            status="ok",
            message="noted, but nothing is queued: expected a project that has called here before, and isn't gone",
        ), 201
    return jsonify(status="ok"), 201


@blueprint.get("/versions")
def versions() -> Response:
    """The model versions that answer projects now, the base's first."""
    return jsonify(versions=services().deployed.versions)


@blueprint.post("/validate")
def validate() -> Response:
    """Whether a label config can work with this backend; says what is missing."""
    config = LabelConfig.parse(str(body().get("config") or ""))
    outputs = config.outputs_on(config.image().name)
    return jsonify(status="ok", outputs=[output.name for output in outputs], notes=list(config.notes))


@blueprint.post("/train")
def train() -> tuple[Response, int]:
    """Label Studio before 1.5 asked here; today training comes as a webhook."""
    return jsonify(error="training is started through POST /webhook with action START_TRAINING"), 410


@blueprint.post("/job_status")
def job_status() -> Response:
    """State of a job in the words that Label Studio's client knows; it never asked so far."""
    number = str(body().get("job"))
    is_number = number.isascii() and number.isdecimal() and len(number) < 20  # Python reads none of 5000 digits
    try:
        job = services().jobs.get(int(number) if is_number else -1)
    except JobError:
        return jsonify(job_status="removed")
    return jsonify(job_status=_STATES[job.state], error=job.error)


@blueprint.post("/delete")
def delete() -> Response:
    """A project left Label Studio. What was learned from it stays until the operator removes it."""
    return jsonify(status="ok", deleted=0)


@blueprint.post("/duplicate_model")
def duplicate_model() -> Response:
    """One model serves all projects, so there is nothing to copy."""
    return jsonify(status="ok")


@blueprint.get("/metrics")
def metrics() -> Response:
    """Prometheus' text format."""
    return Response(services().monitor.metrics(), mimetype="text/plain; version=0.0.4; charset=utf-8")


@pages.get("/status")
def status() -> Response:
    """For people, and as JSON for ``doctor``: versions, cache, what is stored, the last problems in words. What the
    databases can't tell now is left empty, and ``unread`` says why: that is when the rest is needed most."""
    parts = services()
    unread: list[str] = []

    def told(read: Callable[[], Any], nothing: Any) -> Any:
        if unread:  # each question to a server that is gone takes its time
            return nothing
        try:
            return read()
        except StoreError as error:
            unread.append(str(error))
            return nothing

    bulk = told(parts.counts.bulk, [])
    facts: dict[str, Any] = {
        "version": xsam_backend.__version__,
        "python": platform.python_version(),
        "model": parts.settings.model,
        "model_version": parts.engine.model_version,
        "label_studio_url": parts.settings.label_studio_url,
        "has_token": parts.settings.label_studio_token is not None,
        "waiting": parts.engine.waiting,
        "setups": parts.monitor.setups_heard,
        "cache": {
            layer: {
                "entries": stats.entries,
                "mb": round(stats.nbytes / 2**20, 1),
                "capacity_mb": round(stats.capacity_bytes / 2**20, 1),
                "hits": stats.hits,
                "misses": stats.misses,
            }
            for layer, stats in parts.engine.cache_stats.items()
        },
        "events": told(parts.counts.events, {}),
        "regions": told(parts.counts.regions, {}),
        "bulk": [progress.as_json() for progress in bulk],
        "bulk_paused": parts.bulk_worker.paused if parts.bulk_worker is not None else "",
        "jobs": [job.as_json() for job in told(lambda: parts.jobs.latest(10), [])],
        "projects": [
            {"key": project.key, "title": project.title, "gone": project.gone_at is not None}
            for project in told(lambda: parts.projects.all(100), [])
        ],
        "unread": unread,
        "problems": [
            {
                "at": problem.at.isoformat(timespec="seconds"),
                "kind": problem.kind,
                "where": problem.where,
                "message": problem.message,
                "id": problem.error_id,
                "over_at": problem.over_at and problem.over_at.isoformat(timespec="seconds"),
            }
            for problem in parts.monitor.last_problems
        ],
    }
    if request.accept_mimetypes.best_match(["application/json", "text/html"]) == "text/html":
        page = render_template("status.html", facts=facts, bulk=bulk)
        return Response(page, mimetype="text/html", headers=PAGE_HEADERS)
    return jsonify(facts)
