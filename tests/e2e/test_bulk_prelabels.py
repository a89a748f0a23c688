""" "Retrieve predictions" for more tasks than a reply has time for, through a real Label Studio, with a kill."""

from __future__ import annotations

import base64
import io
import time
from pathlib import Path

import pytest
import requests
from backend_process import BackendProcess
from event_parts import until
from ls_client import LsClient, click
from ls_server import LabelStudio
from PIL import Image
from sqlalchemy import Engine

from xsam_backend.store.bulk_progress import Progress
from xsam_backend.store.bulk_tasks import BulkTasks

pytestmark = pytest.mark.e2e

TASKS = 300
ANSWER_S = 0.1
CONFIG = """<View><Image name="image" value="$image"/>
<KeyPointLabels name="kp" toName="image" smart="true"><Label value="disc"/></KeyPointLabels>
<PolygonLabels name="out" toName="image" smart="false"><Label value="disc"/></PolygonLabels></View>"""


def picture(number: int) -> str:
    """A data URI; no two are alike."""
    buffer = io.BytesIO()
    Image.new("RGB", (32, 24), (number % 256, number // 256, 90)).save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def progress(store: Engine) -> Progress:
    (found,) = BulkTasks(store).progress()
    return found


def to_answer(store: Engine) -> int:
    counts = progress(store).counts
    return counts["waiting"] + counts["working"]


def test_the_button_pre_labels_every_task_once(
    data_dir: Path, store: Engine, label_studio: LabelStudio, ls_client: LsClient
) -> None:
    settings = {
        "label_studio_url": label_studio.url,
        "label_studio_token": label_studio.token,
        "batch_limit_s": "5",
    }
    project_id = ls_client.create_project("many pictures", CONFIG)
    task_ids = ls_client.import_tasks(project_id, [{"image": picture(number)} for number in range(TASKS)])
    backend = BackendProcess(data_dir, answer_s=ANSWER_S, settings=settings)
    with backend:
        ml = ls_client.connect(project_id, backend.url)
        begun = time.monotonic()
        ls_client.retrieve_predictions(project_id)
        assert time.monotonic() - begun < 30
        left = to_answer(store)
        assert left > TASKS / 2
        ls_client.retrieve_predictions(project_id)
        assert sum(progress(store).counts.values()) == TASKS, "pressed twice"
        reply = ls_client.interactive(ml["id"], task_ids[0], [click(50, 50, "disc")])
        assert reply["data"]["result"]
        until(lambda: progress(store).counts["done"] >= 40, 120, "a part of the work")
        assert to_answer(store) > 0
        page = requests.get(f"{backend.url}/", headers={"Accept": "text/html"}, timeout=10).text
        assert f"of {TASKS} done" in page
        assert "min left" in page
        backend.kill()
    with backend:
        until(lambda: to_answer(store) == 0, 240, "the end")
        reply = ls_client.interactive(ml["id"], task_ids[0], [click(50, 50, "disc")])
        assert reply["data"]["result"]
        assert sum(progress(store).counts[state] for state in ("done", "in reply")) == TASKS
        check(ls_client, project_id, task_ids, ml["model_version"])
        ls_client.retrieve_predictions(project_id)
        check(ls_client, project_id, task_ids, ml["model_version"])


def check(ls_client: LsClient, project_id: int, task_ids: list[int], version: str) -> None:
    """Each task has one prediction, of this version."""
    found = {task["id"]: task["predictions"] for task in ls_client.tasks(project_id, TASKS)}
    assert sorted(found) == sorted(task_ids)
    assert {task_id: len(kept) for task_id, kept in found.items() if len(kept) != 1} == {}
    predictions = [kept[0] for kept in found.values()]
    assert {one["model_version"] for one in predictions} == {version}
    assert {region["value"]["polygonlabels"][0] for one in predictions for region in one["result"]} == {"disc"}
    assert all(0 < one["score"] <= 1 for one in predictions)


def test_deleted_tasks_and_projects_end_the_work(
    data_dir: Path, store: Engine, label_studio: LabelStudio, ls_client: LsClient
) -> None:
    settings = {
        "label_studio_url": label_studio.url,
        "label_studio_token": label_studio.token,
        "batch_limit_s": "0.001",
    }
    project_id = ls_client.create_project("soon gone", CONFIG)
    task_ids = ls_client.import_tasks(project_id, [{"image": picture(number)} for number in range(40)])
    with BackendProcess(data_dir, answer_s=0.5, settings=settings) as backend:
        ls_client.connect(project_id, backend.url)
        ls_client.retrieve_predictions(project_id)
        ls_client.call("DELETE", f"/api/tasks/{task_ids[-1]}/")
        until(lambda: progress(store).counts["done"] >= 3, 60, "a part of the work")
        ls_client.call("DELETE", f"/api/projects/{project_id}/")
        until(lambda: progress(store).left == 0, 90, "the end")
        problems = requests.get(f"{backend.url}/status", timeout=10).json()["problems"]
    counts = progress(store).counts
    assert counts["done"] + counts["dropped"] == 40
    assert counts["dropped"] > 10
    assert any("is not in Label Studio any more" in problem["message"] for problem in problems)
