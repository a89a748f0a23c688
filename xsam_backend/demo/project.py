"""The demo's project: made at the first start, completed at later ones, nothing twice."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from importlib.resources import files
from typing import Any

from xsam_backend.demo.pictures import Picture
from xsam_backend.demo.progress import Progress
from xsam_backend.errors import NotFoundError
from xsam_backend.labelstudio.client import Row
from xsam_backend.labelstudio.project_setup import ProjectSetup

TITLE = "X-SAM demo"
BACKEND_TITLE = "X-SAM"


def label_config() -> str:
    """The project's label config, as it ships."""
    return (files("xsam_backend.demo") / "label_config.xml").read_text("utf-8")


def find_or_create_project(client: ProjectSetup, known_id: int) -> int:
    """Id of the demo's project: the known one if it is still there, else one of its title, else a new one."""
    if known_id:
        with suppress(NotFoundError):  # deleted by hand
            return int(client.project(known_id)["id"])
    for project in client.projects():
        if project.get("title") == TITLE:
            return int(project["id"])
    words = "Twelve pictures, labelled beforehand by X-SAM. Made by 'xsam-backend demo'."
    return int(client.create_project(TITLE, label_config(), words)["id"])


def add_pictures(client: ProjectSetup, project_id: int, pictures: Sequence[Picture], progress: Progress) -> None:
    """Upload those that the project hasn't got."""
    there = {row["data"].get("picture") for row in client.tasks_or_none(project_id)}
    missing = [picture for picture in pictures if picture.name not in there]
    if not missing:
        return
    with progress.step(f"uploading {len(missing)} pictures") as step:
        for number, picture in enumerate(missing, start=1):
            step.detail = f"{number} of {len(missing)}, {picture.name}"
            address = client.upload(project_id, picture.name, picture.content, picture.kind)
            data = {"image": address, "picture": picture.name, "credit": picture.credit}
            client.create_task(project_id, data)


def connect_backend(client: ProjectSetup, project_id: int, address: str) -> Row:
    """Connect the backend with interactive pre-annotations, or tell the connection its new address."""
    for row in client.ml_backends(project_id):
        if row.get("title") != BACKEND_TITLE:
            continue
        if row.get("url") == address:
            return row
        for webhook in client.webhooks(project_id):
            if webhook.get("url") == f"{row['url']}/webhook":
                client.update_webhook(webhook["id"], url=f"{address}/webhook")
        return client.update_ml_backend(row["id"], project=project_id, url=address)
    return client.connect_ml_backend(project_id, address, BACKEND_TITLE)


def prelabel(client: ProjectSetup, project_id: int, model_version: str, progress: Progress) -> int:
    """Have every picture labelled that this model version hasn't labelled; how many could not be.

    One request for each: Label Studio waits 100 s for an answer, however many pictures are in it, and so the progress
    can be seen.
    """
    waiting = _without_prediction(client, project_id, model_version)
    if not waiting:
        return 0
    with progress.step(f"pre-labelling {len(waiting)} pictures") as step:
        for number, row in enumerate(waiting, start=1):
            step.detail = f"{number} of {len(waiting)}, {row['data'].get('picture')}"
            client.retrieve_predictions(project_id, [row["id"]])
    return len(_without_prediction(client, project_id, model_version))


def _without_prediction(client: ProjectSetup, project_id: int, model_version: str) -> list[dict[str, Any]]:
    def has_one(row: Row) -> bool:
        return any(prediction.get("model_version") == model_version for prediction in row.get("predictions") or ())

    return [row for row in client.tasks_or_none(project_id) if not has_one(row)]
