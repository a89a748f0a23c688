"""Which tasks to label next, for whoever hands them out: a script, or an annotator with a list."""

from __future__ import annotations

from flask import Blueprint, Response, jsonify, request

from xsam_backend.errors import RequestError
from xsam_backend.learning.next_tasks import next_tasks
from xsam_backend.server.endpoints import services
from xsam_backend.store.projects import ProjectKey

next_page = Blueprint("next", __name__)

COUNT, MOST = 10, 1000


@next_page.get("/next")
def tasks_to_label() -> Response:
    """``project`` as requests of Label Studio or ``/status`` name it; ``count``; the rule: ``learning.next_tasks``.

    Raises:
        RequestError: no such project, or another count.
    """
    parts = services()
    instance, named = parts.settings.instance, request.args.get("project")
    project = ProjectKey.from_uid(instance, named and named.removeprefix(f"{instance}/"))
    key = str(project)
    if not parts.projects.knows(project):
        raise RequestError(f"project {key}: expected one that has called here before: open it in Label Studio once")
    version = parts.engine.predictor_of(key).model_version
    numbers = next_tasks(
        key,
        _count(request.args.get("count", str(COUNT))),
        version=version,
        base=parts.engine.model_version,
        pre_labels=parts.pre_labels,
        annotations=parts.annotations,
        tasks=parts.tasks,
    )
    return jsonify(tasks=numbers, model_version=version)


def _count(given: str) -> int:
    if not (given.isascii() and given.isdecimal() and len(given) < 9 and 1 <= int(given) <= MOST):
        raise RequestError(f"count: expected a whole number from 1 to {MOST}, got {given[:40]!r}")
    return int(given)
