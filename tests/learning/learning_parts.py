"""Webhook bodies and API answers as Label Studio 1.23 writes them, cut to what matters."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from sqlalchemy import Engine

from xsam_backend.learning.collecting import Collector
from xsam_backend.store.annotations import Annotations, KeptAnnotation
from xsam_backend.store.inbox import Inbox
from xsam_backend.store.inbox_reading import InboxReader
from xsam_backend.store.predictions import LoggedRegion, PredictionLog
from xsam_backend.store.projects import Projects
from xsam_backend.store.tasks import Tasks

INSTANCE = "local"
CREATED_AT = "2026-11-22T11:38:17.732496Z"
KEY = f"{INSTANCE}/21.1795347497"
CONFIG = """<View><Image name="image" value="$image"/>
<PolygonLabels name="poly" toName="image"><Label value="cat"/><Label value="dog"/></PolygonLabels></View>"""
PROJECT: dict[str, Any] = {"id": 21, "created_at": CREATED_AT, "title": "cats", "label_config": CONFIG}


@dataclass(frozen=True)
class Parts:
    """The parts of a store, and the collector on top of them."""

    store: Engine
    inbox: Inbox
    projects: Projects
    tasks: Tasks
    annotations: Annotations
    log: PredictionLog
    collector: Collector

    def collect(self) -> list[str]:
        """Take in what the inbox holds; what could not be understood."""
        reader = InboxReader(self.inbox, self.store, "test")
        return [str(error) for _, error in self.collector.take_events(reader)]

    @property
    def kept(self) -> list[KeptAnnotation]:
        return list(self.annotations.of_tasks(KEY))


def polygon(region_id: str, label: str = "cat", **more: Any) -> dict[str, Any]:
    points = [[10.0, 10.0], [40.0, 10.0], [40.0, 50.0]]
    return {
        "id": region_id,
        "type": "polygonlabels",
        "from_name": "poly",
        "to_name": "image",
        "original_width": 320,
        "original_height": 240,
        "value": {"points": points, "closed": True, "polygonlabels": [label]},
        **more,
    }


def annotation(number: int = 10, task: int = 114, second: int = 21, **more: Any) -> dict[str, Any]:
    return {
        "id": number,
        "result": [polygon("rg1")],
        "was_cancelled": False,
        "ground_truth": False,
        "updated_at": f"2026-11-22T11:38:{second:02}.068017Z",
        "task": task,
        "completed_by": 1,
        "parent_prediction": None,
        **more,
    }


def task(number: int = 114, **more: Any) -> dict[str, Any]:
    return {"id": number, "data": {"image": f"/data/upload/21/{number}.png"}, **more}


def created(number: int = 10, of_task: int = 114, action: str = "ANNOTATION_CREATED", **more: Any) -> dict[str, Any]:
    return {
        "action": action,
        "annotation": annotation(number, of_task, **more),
        "task": task(of_task),
        "project": PROJECT,
    }


def logged(region_id: str, second: int = 0, *, task_id: int = 114, interactive: bool = False) -> LoggedRegion:
    return LoggedRegion(
        region_id=region_id,
        project_key=KEY,
        task_id=str(task_id),
        model_version="tiny-1",
        from_name="poly",
        region_type="polygonlabels",
        label="cat",
        score=0.5,
        interactive=interactive,
        prompt={},
        value={"points": []},
        image_sha256="a" * 64,
        image_size_hw=(240, 320),
        created_at=datetime(2026, 11, 22, 11, 30, second, tzinfo=timezone.utc),
    )


class Api:
    """Label Studio's API over a project that tests change as its users would."""

    def __init__(self, *tasks_of_project: dict[str, Any]) -> None:
        self.project_row: dict[str, Any] = dict(PROJECT)
        self.rows = list(tasks_of_project)
        self.missed: set[int] = set()
        """Tasks that the listing passes over although they are there."""

    def project(self, project_id: int) -> dict[str, Any]:
        assert project_id == 21
        return self.project_row

    def tasks(self, project_id: int) -> Iterator[dict[str, Any]]:
        yield from (row for row in self.rows if row["id"] not in self.missed)

    def has_annotation(self, annotation_id: int) -> bool:
        return any(one["id"] == annotation_id for row in self.rows for one in row["annotations"])

    def has_task(self, task_id: int) -> bool:
        return any(row["id"] == task_id for row in self.rows)
