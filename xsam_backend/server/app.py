"""The Flask application: wiring, who may ask, and the one place where errors become HTTP."""

from __future__ import annotations

import logging
import time
from typing import Any

from flask import Flask, Response, g, jsonify, request
from werkzeug.exceptions import HTTPException, TooManyRequests, Unauthorized

from xsam_backend.config import Settings
from xsam_backend.errors import (
    BusyError,
    DeviceMemoryError,
    ImageError,
    LabelConfigError,
    LabelStudioError,
    PromptError,
    RequestError,
    StoreBusyError,
    XSamBackendError,
)
from xsam_backend.inference.engine import Predictor
from xsam_backend.labelstudio.images import ImageSource
from xsam_backend.server.auth import given_login
from xsam_backend.server.endpoints import blueprint, pages
from xsam_backend.server.home import home_pages
from xsam_backend.server.job_pages import job_pages
from xsam_backend.server.next_page import next_page
from xsam_backend.server.openapi import openapi_page
from xsam_backend.server.rate_limits import FREE_ENDPOINTS, ClientLimit
from xsam_backend.server.request_ids import current_request_id, name_requests
from xsam_backend.server.services import Services, open_services

logger = logging.getLogger(__name__)

STATUS_OF: dict[type[XSamBackendError], int] = {
    RequestError: 400,
    LabelConfigError: 422,
    PromptError: 422,
    ImageError: 422,
    BusyError: 429,
    LabelStudioError: 502,
    StoreBusyError: 503,
    DeviceMemoryError: 503,
}
"""What a caller can act on, as an HTTP status. Every other error is ours: 500, with an id and no details."""

RETRY_AFTER_S = 5

LOOKED_AT_OFTEN = ("health", "live", "ready", "metrics")
"""Endpoints that machines ask every few seconds: a line each would bury the others."""


def create_app(
    settings: Settings, predictor: Predictor[Any] | None = None, images: ImageSource | None = None
) -> Flask:
    """The application. Without ``predictor`` the weights of ``settings.model`` are loaded, before this returns.

    Close what it holds with ``app.extensions["xsam_backend"].close()``.

    Raises:
        SettingsError, StoreError, CheckpointError: something cannot work; says what to change.
    """
    app = Flask("xsam_backend", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = settings.max_request_mb * 2**20
    app.url_map.strict_slashes = False
    services = open_services(settings, predictor, images)
    app.extensions["xsam_backend"] = services
    app.register_blueprint(blueprint)
    app.register_blueprint(pages)
    app.register_blueprint(job_pages)
    app.register_blueprint(next_page)
    app.register_blueprint(home_pages)
    app.register_blueprint(openapi_page)
    limit = ClientLimit(settings.requests_per_minute)
    name_requests(app)
    app.before_request(_start_clock)
    app.before_request(lambda: _count_client(limit))
    app.before_request(lambda: _demand_login(services))
    app.after_request(lambda response: _count(services, response))
    app.register_error_handler(Exception, lambda error: _to_response(services, error))
    return app


def _start_clock() -> None:
    g.started = time.perf_counter()


def _count_client(limit: ClientLimit) -> None:
    """Before the login is looked at, so that guessing passwords counts as well."""
    if request.endpoint not in FREE_ENDPOINTS:
        limit.demand(request.remote_addr)


def _demand_login(services: Services) -> None:
    """Basic auth on everything but webhooks, which Label Studio sends without; those see to it themselves."""
    if request.endpoint != "protocol.webhook":
        services.login.demand(given_login(request.headers.get("Authorization")), request.remote_addr)


def _count(services: Services, response: Response) -> Response:
    endpoint = (request.endpoint or "unknown").rpartition(".")[2]
    services.monitor.requests.labels(endpoint, str(response.status_code)).inc()
    seconds = time.perf_counter() - g.started
    services.monitor.request_seconds.labels(endpoint).observe(seconds)
    logger.log(
        logging.DEBUG if endpoint in LOOKED_AT_OFTEN and response.status_code < 500 else logging.INFO,
        "%s %s: %d in %.3f s",
        request.method,
        request.path[:200],
        response.status_code,
        seconds,
        extra={
            "facts": {
                "method": request.method,
                "path": request.path[:200],
                "status": response.status_code,
                "seconds": round(seconds, 4),
                "where": g.get("where", ""),
            }
        },
    )
    return response


def _to_response(services: Services, error: Exception) -> Response:
    if isinstance(error, HTTPException):  # Werkzeug's own: no such address, too large, wrong method
        words = _in_our_words(error, services.settings)
        if error.code == 413:  # Label Studio tells nobody that its batch was lost
            services.monitor.note("RequestTooLarge", f"{request.method} {request.path}", words)
        response = jsonify(error=words, request=current_request_id())
        response.status_code = error.code or 500
        if isinstance(error, Unauthorized) and error.www_authenticate:
            response.headers["WWW-Authenticate"] = ", ".join(map(str, error.www_authenticate))
        if isinstance(error, TooManyRequests):
            services.monitor.note("TooManyRequests", f"client {request.remote_addr}", words)
            response.headers["Retry-After"] = str(error.retry_after)
        return response
    problem = services.monitor.problem(error, g.get("where", f"{request.method} {request.path}"))
    status = next((status for kind, status in STATUS_OF.items() if isinstance(error, kind)), 500)
    if status == 500:
        response = jsonify(
            error="something failed here, not in your request; the log has it",
            kind=problem.kind,
            id=problem.error_id,
            request=current_request_id(),
        )
    else:
        response = jsonify(error=str(error), kind=problem.kind, request=current_request_id())
    response.status_code = status
    if status in (429, 503):
        response.headers["Retry-After"] = str(RETRY_AFTER_S)
    return response


def _in_our_words(error: HTTPException, settings: Settings) -> str:
    if error.code == 413:
        return (
            f"body: expected at most {settings.max_request_mb} MB, got more: "
            "send fewer tasks at once, or raise max_request_mb"
        )
    if error.code == 404:
        return f"no such address: {request.path[:100]}; Label Studio's backend URL must not end in it"
    return error.description or error.name
