"""A name for each request: in the answer's header, in every line that is logged for it, in errors."""

from __future__ import annotations

import re
import uuid
from contextvars import ContextVar

from flask import Flask, Response, request

HEADER = "X-Request-ID"

_SANE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_current: ContextVar[str] = ContextVar("request_id", default="")


def current_request_id() -> str:
    """Of the request that this code runs for, also in threads that were given its context; empty outside of any."""
    return _current.get()


def name_requests(app: Flask) -> None:
    """Give each of the application's requests an id: the sender's own where it is one, else a new one."""

    @app.before_request
    def take() -> None:
        told = request.headers.get(HEADER, "")
        _current.set(told if _SANE.fullmatch(told) else uuid.uuid4().hex)

    @app.after_request
    def tell(response: Response) -> Response:
        response.headers[HEADER] = current_request_id()
        return response

    @app.teardown_request
    def forget(_: BaseException | None) -> None:
        _current.set("")  # the thread goes on with other work
