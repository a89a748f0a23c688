"""The page at ``/``: what is learned from whom, which versions there are, what runs, what went wrong."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flask import Blueprint, Response, abort, current_app, jsonify, render_template, request, send_file

import xsam_backend
from xsam_backend.overlay import label_color
from xsam_backend.server.endpoints import PAGE_HEADERS
from xsam_backend.server.services import Services
from xsam_backend.server.version_curve import CurvePoint, draw_curve
from xsam_backend.store.versions import PINNED, Version

home_pages = Blueprint("home", __name__, template_folder="templates")

PROJECTS = 50
VERSIONS = 12
PROBLEMS = 8


def _services() -> Services:
    found: Services = current_app.extensions["xsam_backend"]
    return found


@home_pages.get("/")
def home() -> Response:
    """For people a page; for programs, as Label Studio's clients are, what ``/health`` says."""
    parts = _services()
    if request.accept_mimetypes.best_match(["application/json", "text/html"]) != "text/html":
        return jsonify(status="UP", model_class="X-SAM", model_version=parts.engine.model_version)
    facts = {
        "version": xsam_backend.__version__,
        "model_version": parts.engine.model_version,
        "running": [job for job in parts.jobs.latest() if not job.is_over],
        "lacking": parts.counts.lacking(),
        "bulk_paused": parts.bulk_worker.paused if parts.bulk_worker is not None else "",
        "problems": parts.monitor.last_problems[:PROBLEMS],
    }
    page = render_template("home.html", facts=facts, projects=_projects(parts))
    return Response(page, mimetype="text/html", headers=PAGE_HEADERS)


def _projects(parts: Services) -> list[Mapping[str, Any]]:
    counts = parts.counts.annotations()
    deployed = parts.versions.deployed()
    bulk = {one.project_key: one for one in parts.bulk_tasks.progress()}
    found: list[Mapping[str, Any]] = []
    for project in parts.projects.all(PROJECTS):
        versions = parts.versions.all(project.key)
        found.append(
            {
                "key": project.key,
                "title": project.title or project.key,
                "gone_at": project.gone_at,
                "counts": counts.get(project.key, {}),
                "bulk": bulk.get(project.key),
                "answers": deployed.get(project.key) or parts.engine.model_version,
                "versions": [_version(parts, version) for version in versions[:VERSIONS]],
                "more": max(len(versions) - VERSIONS, 0),
                "curve": draw_curve([point for one in reversed(versions) if (point := _point(one)) is not None]),
            }
        )
    return found


def _version(parts: Services, version: Version) -> Mapping[str, Any]:
    whole = _whole(version)
    return {
        "name": version.name,
        "state": version.state,
        "at": version.created_at,
        "reasons": version.report.get("reasons", ()),
        "pictures": len(version.report.get("pictures", ())),
        "deployed": whole.get("deployed"),
        "candidate": whole.get("candidate"),
        "change": whole.get("change") or {},
        "shown": parts.version_files.pictures(version.name),
        "colors": [
            (label, "#{:02x}{:02x}{:02x}".format(*label_color(number)))
            for number, label in enumerate(version.report.get("labels", ()))
        ],
        "tested_itself": version.report.get("tested_on") == PINNED,
    }


def _whole(version: Version) -> Mapping[str, Any]:
    """The gate's main measure: all questions together, on the project's held-out pictures."""
    for change in version.report.get("changes", ()):
        if (change["where"], change["question"]) == ("project", "all"):
            found: Mapping[str, Any] = change
            return found
    return {}


def _point(version: Version) -> CurvePoint | None:
    whole = _whole(version)
    if whole.get("deployed") is None or whole.get("candidate") is None:
        return None
    return CurvePoint(version.name, whole["deployed"], whole["candidate"], version.state == "promoted")


@home_pages.get("/versions/<version>/<name>")
def picture(version: str, name: str) -> Response:
    """One of the pictures that show what a version changed."""
    path = _services().version_files.picture(version, name)
    if path is None:
        abort(404, f"version '{version}' has no picture '{name}'")
    return send_file(path, mimetype="image/jpeg", max_age=3600)
