"""A Label Studio as far as bulk pre-labelling asks it: one project, its tasks, their predictions."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Collection, Mapping
from typing import Any
from urllib.parse import parse_qs, urlsplit

from app_parts import CONFIG
from web_server import WebServer

from xsam_backend.errors import LabelStudioError, NotFoundError

TOKEN = "0123456789abcdef0123456789abcdef01234567"
PROJECT = {"id": 21, "created_at": "2026-11-22T11:38:17.732496Z", "label_config": CONFIG}
UID = "21.1795347497"


class LabelStudioDouble:
    """Implements what the worker asks of the client. ``trouble`` runs before each call, may raise.

    ``stored(task_id)`` runs after a prediction was stored, before the caller hears of it.
    """

    def __init__(self, *task_ids: int) -> None:
        self.project_row: dict[str, Any] | None = dict(PROJECT)
        self.data = {task_id: {"image": f"picture {task_id}"} for task_id in task_ids}
        self.predictions: dict[int, list[Mapping[str, Any]]] = {task_id: [] for task_id in task_ids}
        self.calls: list[str] = []
        self.trouble: Callable[[str], object] = lambda _call: None
        self.stored: Callable[[int], object] = lambda _task_id: None
        self.read_together: list[int] = []
        self._lock = threading.Lock()

    def whoami(self) -> dict[str, Any]:
        self._called("whoami")
        return {"id": 1}

    def project(self, project_id: int) -> dict[str, Any]:
        self._called("project")
        if self.project_row is None or self.project_row["id"] != project_id:
            raise NotFoundError("no such project")
        return self.project_row

    def has_project(self, project_id: int) -> bool:
        return self.project_row is not None

    def chosen_tasks(self, project_id: int, task_ids: Collection[int]) -> list[dict[str, Any]]:
        self._called("tasks")
        if self.project_row is None:
            raise NotFoundError("No Project matches the given query.")
        self.read_together.append(len(task_ids))
        return [
            {"id": task_id, "data": self.data[task_id], "predictions": list(self.predictions[task_id])}
            for task_id in sorted(task_ids)
            if task_id in self.data
        ]

    def add_prediction(self, task_id: int, prediction: Mapping[str, Any]) -> dict[str, Any]:
        self._called(f"predict {task_id}")
        if task_id not in self.data:
            raise LabelStudioError("Label Studio answered HTTP 400")
        with self._lock:
            self.predictions[task_id].append(prediction)
        self.stored(task_id)
        return {"id": 1}

    def delete(self, task_id: int) -> None:
        """As a person does."""
        del self.data[task_id], self.predictions[task_id]

    def versions(self) -> dict[int, list[str]]:
        """Of each task's predictions."""
        return {task_id: [one["model_version"] for one in found] for task_id, found in self.predictions.items()}

    def _called(self, call: str) -> None:
        self.calls.append(call)
        self.trouble(call)

    def serve(self, server: WebServer) -> None:
        """The same over HTTP."""

        def tasks(handler: Any) -> Any:
            query = parse_qs(urlsplit(handler.path).query)
            chosen = json.loads(query["query"][0])["selectedItems"]["included"] if "query" in query else []
            rows = self.chosen_tasks(int(query["project"][0]), chosen)
            return _answer({"tasks": rows, "total": len(rows)})

        def predictions(handler: Any) -> Any:
            given = json.loads(handler.body)
            return _answer(self.add_prediction(given.pop("task"), given), 201)

        server.routes["/api/projects/21/"] = lambda _: _answer(self.project(21))
        server.routes["/api/tasks"] = tasks
        server.routes["/api/predictions/"] = predictions
        server.routes["/api/current-user/whoami"] = lambda _: _answer(self.whoami())
        server.routes["/api/webhooks/"] = lambda _: _answer([])


def _answer(value: Any, status: int = 200) -> Any:
    return status, {"Content-Type": "application/json"}, json.dumps(value).encode()
