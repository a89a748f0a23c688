"""What a person does in Label Studio's pages before anybody labels: make a project, upload, connect, pre-label."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from xsam_backend.errors import LabelStudioError, NotFoundError
from xsam_backend.labelstudio.client import LabelStudioClient, Row

_LONG_S = 120.0
"""For requests in which Label Studio asks the backend: it waits 100 s for it."""


class ProjectSetup(LabelStudioClient):
    """The client, with the calls that change a Label Studio. For a user who may."""

    def projects(self) -> list[Row]:
        """The projects that the user sees (the first thousand)."""
        answer = self._call("GET", "/api/projects/", {"page_size": 1000})
        rows = answer.get("results") if isinstance(answer, dict) else answer
        return [row for row in rows or () if isinstance(row, dict)]

    def create_project(self, title: str, label_config: str, description: str) -> Row:
        """A new project that shows predictions to annotators."""
        fields = {"title": title, "label_config": label_config, "description": description}
        row: Row = self._call("POST", "/api/projects/", body=fields | {"show_collab_predictions": True})
        return row

    def tasks_or_none(self, project_id: int) -> list[Row]:
        """All tasks; Label Studio answers 404 where a project has none."""
        try:
            return list(self.tasks(project_id))
        except NotFoundError:
            return []

    def upload(self, project_id: int, name: str, content: bytes, kind: str) -> str:
        """Upload a file without making a task of it; the address that tasks know it by, "/data/upload/...".

        Raises:
            LabelStudioError: also where Label Studio doesn't take this kind of file.
        """
        answer = self._call(
            "POST",
            f"/api/projects/{project_id:d}/import",
            {"commit_to_project": "false"},
            files={"file": (name, content, kind)},
        )
        ids = answer.get("file_upload_ids") if isinstance(answer, dict) else None
        if not ids:
            raise LabelStudioError(f"Label Studio took {name}, but names no upload: expected one id, got {answer!r}")
        row = self._call("GET", f"/api/import/file-upload/{int(ids[0]):d}")
        return f"/data/{row['file']}"

    def create_task(self, project_id: int, data: Mapping[str, Any]) -> Row:
        """A new task with this data."""
        row: Row = self._call("POST", "/api/tasks/", body={"project": project_id, "data": dict(data)})
        return row

    def connect_ml_backend(self, project_id: int, url: str, title: str) -> Row:
        """Connect a backend with interactive pre-annotations on. Label Studio asks its health and setup first."""
        fields = {"project": project_id, "url": url, "title": title, "is_interactive": True}
        row: Row = self._call("POST", "/api/ml/", body=fields, timeout_s=_LONG_S)
        return row

    def update_ml_backend(self, backend_id: int, **fields: Any) -> Row:
        """Change fields of a connected backend; the row as it is then."""
        row: Row = self._call("PATCH", f"/api/ml/{backend_id:d}", body=fields, timeout_s=_LONG_S)
        return row

    def retrieve_predictions(self, project_id: int, task_ids: Sequence[int]) -> None:
        """The Data Manager's action, for these tasks. It says nothing of what failed: look at the predictions."""
        selected = {"all": False, "included": list(task_ids)}
        body = {"selectedItems": selected, "ordering": [], "filters": {"conjunction": "and", "items": []}}
        query = {"id": "retrieve_tasks_predictions", "project": project_id}
        self._call("POST", "/api/dm/actions", query, body=body | {"project": str(project_id)}, timeout_s=_LONG_S)
