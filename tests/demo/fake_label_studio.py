"""Label Studio as the demo's project sees it: rows in memory, and a backend behind it that labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from xsam_backend.labelstudio.client import NotFoundError, Row
from xsam_backend.labelstudio.project_setup import ProjectSetup


class FakeLabelStudio(ProjectSetup):
    """The calls of ``ProjectSetup`` that the demo makes. ``lost``: pictures that the backend can't label."""

    def __init__(self, model_version: str = "tiny-1", lost: Sequence[str] = ()) -> None:
        super().__init__("http://127.0.0.1:1", "0" * 40)
        self.rows: list[Row] = []
        self.backends: list[Row] = []
        self.hooks: list[Row] = []
        self.made: list[Row] = []
        self.asked: list[Sequence[int]] = []
        self.model_version = model_version
        self._lost = lost

    def project(self, project_id: int) -> Row:
        for row in self.made:
            if row["id"] == project_id:
                return row
        raise NotFoundError("no such project")

    def projects(self) -> list[Row]:
        return self.made

    def create_project(self, title: str, label_config: str, description: str) -> Row:
        self.made.append({"id": len(self.made) + 1, "title": title, "label_config": label_config})
        return self.made[-1]

    def tasks_or_none(self, project_id: int) -> list[Row]:
        return [dict(row) for row in self.rows]

    def upload(self, project_id: int, name: str, content: bytes, kind: str) -> str:
        return f"/data/upload/{project_id}/abc-{name}"

    def create_task(self, project_id: int, data: Mapping[str, Any]) -> Row:
        self.rows.append({"id": len(self.rows) + 1, "data": dict(data), "predictions": []})
        return self.rows[-1]

    def ml_backends(self, project_id: int) -> list[Row]:
        return self.backends

    def connect_ml_backend(self, project_id: int, url: str, title: str) -> Row:
        self.backends.append({"id": 7, "url": url, "title": title})
        self.hooks.append({"id": 3, "url": f"{url}/webhook"})
        return self.backends[-1]

    def update_ml_backend(self, backend_id: int, **fields: Any) -> Row:
        self.backends[0].update(fields)
        return self.backends[0]

    def webhooks(self, project_id: int) -> list[Row]:
        return self.hooks

    def update_webhook(self, webhook_id: int, **fields: Any) -> Row:
        self.hooks[0].update(fields)
        return self.hooks[0]

    def retrieve_predictions(self, project_id: int, task_ids: Sequence[int]) -> None:
        self.asked.append(task_ids)
        for row in self.rows:
            if row["id"] in task_ids and row["data"]["picture"] not in self._lost:
                row["predictions"].append({"model_version": self.model_version})
