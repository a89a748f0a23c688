"""Webhook bodies as Label Studio 1.23 sends them, cut to what matters, and a project that sends them."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import requests

from xsam_backend.server.auth import WEBHOOK_HEADER, WebhookSecrets
from xsam_backend.store.projects import ProjectKey

ROOT_SECRET = "root" * 8
CONFIG = """<View><Image name="image" value="$image"/>
<KeyPointLabels name="kp" toName="image" smart="true"><Label value="cat"/></KeyPointLabels>
<PolygonLabels name="poly" toName="image" smart="false"><Label value="cat"/></PolygonLabels></View>"""


@dataclass(frozen=True)
class Sender:
    """A project of a Label Studio that has our secret on its webhook row."""

    project_id: int = 21

    @property
    def key(self) -> ProjectKey:
        return ProjectKey.from_webhook("local", self.project())

    @property
    def uid(self) -> str:
        """As setup and predict name it."""
        return f"{self.key.project_id}.{self.key.created_s}"

    def project(self, second: int = 0, **more: Any) -> dict[str, Any]:
        """The project as it was after a change in this second."""
        return {
            "id": self.project_id,
            "created_at": "2026-11-22T11:38:17.732496Z",
            "updated_at": moment(second),
            "title": "cats",
            "label_config": CONFIG,
            **more,
        }

    def annotated(
        self, number: int, task: int, second: int, *, action: str = "ANNOTATION_CREATED", **more: Any
    ) -> dict[str, Any]:
        """An annotation's event: created, or changed, in this second."""
        annotation = {
            "id": number,
            "result": [polygon("r1")],
            "was_cancelled": False,
            "updated_at": moment(second),
            "task": task,
            "completed_by": 1,
            "parent_prediction": None,
            **more,
        }
        return {
            "action": action,
            "annotation": annotation,
            "task": {"id": task, "data": {"image": f"/data/upload/{task}.png"}},
            "project": self.project(),
        }

    def send(self, url: str, event: dict[str, Any], timeout_s: float = 30.0) -> requests.Response:
        secret = WebhookSecrets(ROOT_SECRET).of(self.key)
        return requests.post(f"{url}/webhook", json=event, headers={WEBHOOK_HEADER: secret}, timeout=timeout_s)


def moment(second: int) -> str:
    return f"2026-11-22T11:40:{second:02}.068017Z"


def polygon(region_id: str, label: str = "cat") -> dict[str, Any]:
    return {
        "id": region_id,
        "type": "polygonlabels",
        "from_name": "poly",
        "to_name": "image",
        "original_width": 64,
        "original_height": 48,
        "value": {"points": [[10.0, 10.0], [60.0, 10.0], [60.0, 70.0]], "closed": True, "polygonlabels": [label]},
    }


def until(condition: Callable[[], Any], limit_s: float, what: str) -> Any:
    """What the condition gives once it is true."""
    deadline = time.monotonic() + limit_s
    while not (found := condition()):
        assert time.monotonic() < deadline, f"{what} has not come about"
        time.sleep(0.1)
    return found
