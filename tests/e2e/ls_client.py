"""Label Studio's API as a user of it: projects, uploads, predictions, prompts, annotations."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import requests

Region = dict[str, Any]


class ApiError(RuntimeError):
    """Label Studio answered with something else than 2xx."""


class LsClient:
    """One user's session."""

    def __init__(self, url: str, token: str) -> None:
        self._url = url
        self._session = requests.Session()
        self._session.trust_env = False
        self._session.headers["Authorization"] = f"Token {token}"

    def close(self) -> None:
        self._session.close()

    def call(self, method: str, path: str, **given: Any) -> Any:
        """The decoded body."""
        response = self._session.request(method, self._url + path, timeout=120, **given)
        if not response.ok:
            raise ApiError(f"{method} {path} -> {response.status_code}: {response.text[:800]}")
        return response.json() if response.content else None

    def create_project(self, title: str, label_config: str, **fields: Any) -> int:
        body = {"title": title, "label_config": label_config, "show_collab_predictions": True, **fields}
        return int(self.call("POST", "/api/projects/", json=body)["id"])

    def update_project(self, project_id: int, **fields: Any) -> None:
        self.call("PATCH", f"/api/projects/{project_id}/", json=fields)

    def tasks(self, project_id: int, at_most: int = 100) -> list[dict[str, Any]]:
        body = self.call("GET", f"/api/tasks?project={project_id}&fields=all&page=1&page_size={at_most}")
        return list(body["tasks"])

    def upload(self, project_id: int, name: str, content: bytes, kind: str) -> int:
        """Upload a picture; the id of the task that Label Studio makes of it."""
        before = {task["id"] for task in self.tasks(project_id)}
        self.call("POST", f"/api/projects/{project_id}/import", files={"file": (name, content, kind)})
        for _ in range(50):
            new = [task["id"] for task in self.tasks(project_id) if task["id"] not in before]
            if new:
                return int(new[0])
            time.sleep(0.2)
        raise TimeoutError("the uploaded task did not appear")

    def import_task(self, project_id: int, data: dict[str, Any]) -> int:
        return int(self.call("POST", "/api/tasks/", json={"project": project_id, "data": data})["id"])

    def import_tasks(self, project_id: int, data: Sequence[dict[str, Any]]) -> list[int]:
        """Many at once; their ids, in order."""
        path = f"/api/projects/{project_id}/import?return_task_ids=true"
        return list(self.call("POST", path, json=[{"data": one} for one in data])["task_ids"])

    def connect(self, project_id: int, url: str, **fields: Any) -> dict[str, Any]:
        """Connect an ML backend, interactive."""
        body = {"project": project_id, "url": url, "title": "xsam", "is_interactive": True, **fields}
        return dict(self.call("POST", "/api/ml/", json=body))

    def backend(self, backend_id: int) -> dict[str, Any]:
        return dict(self.call("GET", f"/api/ml/{backend_id}"))

    def versions(self, backend_id: int) -> list[str]:
        return list(self.call("GET", f"/api/ml/{backend_id}/versions")["versions"])

    def start_training(self, backend_id: int) -> None:
        self.call("POST", f"/api/ml/{backend_id}/train", json={})

    def webhooks(self, project_id: int) -> list[dict[str, Any]]:
        return list(self.call("GET", f"/api/webhooks/?project={project_id}"))

    def retrieve_predictions(self, project_id: int, task_ids: Sequence[int] = ()) -> None:
        """The Data Manager's action, for the chosen tasks, or for all."""
        chosen = {"all": False, "included": list(task_ids)} if task_ids else {"all": True, "excluded": []}
        body = {
            "ordering": [],
            "selectedItems": chosen,
            "filters": {"conjunction": "and", "items": []},
            "project": str(project_id),
        }
        self.call("POST", f"/api/dm/actions?id=retrieve_tasks_predictions&project={project_id}", json=body)

    def predictions(self, task_id: int) -> list[dict[str, Any]]:
        return list(self.call("GET", f"/api/predictions?task={task_id}"))

    def interactive(self, backend_id: int, task_id: int, regions: Sequence[Region]) -> dict[str, Any]:
        """What the labeling page sends for a prompt; ``{"data": ...}`` or ``{"errors": [...]}``."""
        body = {"task": task_id, "context": {"result": list(regions)}}
        return dict(self.call("POST", f"/api/ml/{backend_id}/interactive-annotating", json=body))

    def annotate(self, task_id: int, regions: Sequence[Region]) -> int:
        body = {"result": list(regions)}
        return int(self.call("POST", f"/api/tasks/{task_id}/annotations/", json=body)["id"])

    def skip(self, task_id: int) -> None:
        """As the Skip button does."""
        self.call("POST", f"/api/tasks/{task_id}/annotations/", json={"result": [], "was_cancelled": True})

    def delete_annotation(self, annotation_id: int) -> None:
        self.call("DELETE", f"/api/annotations/{annotation_id}/")

    def annotations(self, task_id: int) -> list[dict[str, Any]]:
        return list(self.call("GET", f"/api/tasks/{task_id}/annotations/"))


def click(x_pct: float, y_pct: float, label: str, *, positive: bool = True, region_id: str = "k1") -> Region:
    """A smart keypoint as the page sends it; x and y in per cent. The sign stands beside ``value``."""
    return {
        "id": region_id,
        "type": "keypointlabels",
        "from_name": "kp",
        "to_name": "image",
        "original_width": 320,
        "original_height": 240,
        "image_rotation": 0,
        "value": {"x": x_pct, "y": y_pct, "width": 0.3, "labels": [label], "keypointlabels": [label]},
        "is_positive": positive,
        "origin": "manual",
    }


def box(x_pct: float, y_pct: float, width_pct: float, height_pct: float, label: str) -> Region:
    """A smart rectangle as the page sends it."""
    value = {"x": x_pct, "y": y_pct, "width": width_pct, "height": height_pct, "rotation": 0}
    return {
        "id": "b1",
        "type": "rectanglelabels",
        "from_name": "rect",
        "to_name": "image",
        "original_width": 320,
        "original_height": 240,
        "image_rotation": 0,
        "value": {**value, "rectanglelabels": [label]},
        "origin": "manual",
    }


def phrase(text: str) -> Region:
    """A smart text area as the page sends it."""
    return {
        "id": "t1",
        "type": "textarea",
        "from_name": "prompt",
        "to_name": "image",
        "value": {"text": [text]},
        "origin": "manual",
    }
