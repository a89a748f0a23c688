"""The queue of fine-tunings for people and programs: what is queued, how far it is, what came of it."""

from __future__ import annotations

import os
from pathlib import Path

from flask import Blueprint, Response, current_app, jsonify

from xsam_backend.errors import JobError
from xsam_backend.server.services import Services

job_pages = Blueprint("jobs", __name__)

LOG_END_BYTES = 2**18


def _services() -> Services:
    found: Services = current_app.extensions["xsam_backend"]
    return found


@job_pages.get("/jobs")
def jobs() -> Response:
    """The jobs that were queued last, the latest first."""
    return jsonify(jobs=[job.as_json() for job in _services().jobs.latest()])


@job_pages.get("/jobs/<int:job_id>")
def job(job_id: int) -> Response:
    """One job."""
    try:
        return jsonify(_services().jobs.get(job_id).as_json())
    except JobError as error:
        return _not_found(str(error))


@job_pages.get("/jobs/<int:job_id>/log")
def log(job_id: int) -> Response:
    """The end of its log, where this machine has it."""
    try:
        found = _services().jobs.get(job_id)
        with Path(found.log_file or "").open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - LOG_END_BYTES))
            text = file.read()
    except JobError as error:
        return _not_found(str(error))
    except OSError:
        return _not_found(f"job {job_id} has no log here" + (f": it ran on {found.host}" if found.host else ""))
    return Response(text, mimetype="text/plain", headers={"X-Content-Type-Options": "nosniff"})


def _not_found(words: str) -> Response:
    response = jsonify(error=words)
    response.status_code = 404
    return response
