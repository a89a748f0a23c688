"""What annotators accept in a real Label Studio is kept: by webhooks, and by sync where they were missed."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from backend_process import BackendProcess
from ls_client import LsClient
from ls_server import LabelStudio
from sqlalchemy import Engine
from test_label_studio import CONFIGS, HEIGHT, WIDTH, picture

from xsam_backend.store.annotations import Annotations, KeptAnnotation
from xsam_backend.store.projects import ProjectKey
from xsam_backend.store.tasks import Tasks

pytestmark = pytest.mark.e2e


def kept_of(store: Engine, project_id: int) -> list[KeptAnnotation]:
    annotations = Annotations(store)
    keys = [key for key in annotations.count() if ProjectKey.parse(key).project_id == project_id]
    return [one for key in keys for one in annotations.of_tasks(key)]


def wait_for(condition: Callable[[], bool], limit_s: float = 60.0) -> None:
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, "it has not come about"
        time.sleep(0.2)


def test_annotations_are_kept_and_what_was_missed_is_fetched(
    label_studio: LabelStudio, ls_client: LsClient, data_dir: Path, store: Engine
) -> None:
    settings = {"label_studio_url": label_studio.url, "label_studio_token": label_studio.token}
    project = ls_client.create_project("collected", CONFIGS["polygon"])
    first, second, third = (
        ls_client.upload(project, f"{name}.jpg", picture(), "image/jpeg") for name in ("a", "b", "c")
    )
    region = {
        "id": "drawn",
        "type": "polygonlabels",
        "from_name": "out",
        "to_name": "image",
        "original_width": WIDTH,
        "original_height": HEIGHT,
        "value": {"points": [[10, 10], [40, 10], [40, 50]], "closed": True, "polygonlabels": ["disc"]},
    }

    with BackendProcess(data_dir, settings=settings) as backend:
        ls_client.connect(project, backend.url)
        time.sleep(3)  # until the webhook has its secret; events before that are hints, and synced
        annotation = ls_client.annotate(first, [region])
        wait_for(lambda: [one.state for one in kept_of(store, project)] == ["accepted"])
        (kept,) = kept_of(store, project)
        assert (kept.annotation_id, kept.task_id, kept.annotator) == (annotation, first, 1)
        assert kept.result[0]["value"] == region["value"]
        wait_for(lambda: Tasks(store).count_lacking() == 0)
    (task,) = Tasks(store).of_project(kept.project_key)
    assert task.pictures[0].size_hw == (HEIGHT, WIDTH)
    assert task.pictures[0].sha256 is not None
    sha256 = task.pictures[0].sha256
    assert (data_dir / "pictures" / sha256[:2] / sha256).read_bytes() == picture()

    # Nobody listens now.
    missed = ls_client.annotate(second, [region])
    ls_client.skip(third)
    ls_client.delete_annotation(annotation)
    command = [sys.executable, "-m", "xsam_backend", "sync", str(project), "--data-dir", str(data_dir)]
    environment = {f"XSAM_BACKEND_{name.upper()}": value for name, value in settings.items()}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0].endswith(": 3 tasks, 2 annotations new or changed, 1 gone from Label Studio")
    assert done.stdout.splitlines()[1] == "pictures of 2 tasks copied, 0 tasks lack some"
    assert label_studio.token not in done.stdout + done.stderr
    states = {one.annotation_id: one.state for one in kept_of(store, project)}
    assert states[annotation] == "deleted"
    assert states[missed] == "accepted"
    assert sorted(states.values()) == ["accepted", "deleted", "skipped"]

    # A service that starts fetches what it missed by itself.
    ls_client.delete_annotation(missed)
    with BackendProcess(data_dir, settings=settings):
        wait_for(lambda: [one.state for one in kept_of(store, project)].count("deleted") == 2)
