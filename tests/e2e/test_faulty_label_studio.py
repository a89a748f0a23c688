"""A slow, dead, half-dead or lying Label Studio: what can be answered is, the rest is said in words."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from backend_process import BackendProcess
from event_parts import until
from ls_client import LsClient, click
from ls_server import LabelStudio
from PIL import Image
from test_bulk_prelabels import CONFIG, check

from benchmarks.faulty_proxy import FAULTS, FaultyProxy

pytestmark = pytest.mark.e2e

TIMEOUT_S = 2.0


@pytest.fixture(scope="module")
def proxy(label_studio: LabelStudio) -> Iterator[FaultyProxy]:
    with FaultyProxy(label_studio.url) as running:
        yield running


@pytest.fixture(scope="module")
def backend(
    proxy: FaultyProxy, label_studio: LabelStudio, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[BackendProcess]:
    settings = {
        "label_studio_url": proxy.url,
        "label_studio_token": label_studio.token,
        "ahead_tasks": "0",
        "image_timeout_s": str(TIMEOUT_S),
        "label_studio_timeout_s": str(TIMEOUT_S),
        "batch_limit_s": "0.001",
        "allow_private_hosts": "127.0.0.1",
    }
    with BackendProcess(tmp_path_factory.mktemp("faulty") / "data", settings=settings) as running:
        yield running


def upload(client: LsClient, project_id: int, number: int) -> dict[str, Any]:
    buffer = io.BytesIO()
    Image.new("RGB", (320, 240), (number * 20 % 256, number, 90)).save(buffer, "PNG")
    task_id = client.upload(project_id, f"{number}.png", buffer.getvalue(), "image/png")
    (task,) = (task for task in client.tasks(project_id) if task["id"] == task_id)
    return {"id": task_id, "data": task["data"]}


def ask(backend: BackendProcess, task: dict[str, Any]) -> requests.Response:
    context = {"result": [click(50, 50, "disc")]}
    body = {"tasks": [task], "label_config": CONFIG, "params": {"context": context}}
    return requests.post(f"{backend.url}/predict", json=body, timeout=20)


def test_clicks_events_and_health_through_every_fault(
    backend: BackendProcess, proxy: FaultyProxy, ls_client: LsClient
) -> None:
    project_id = ls_client.create_project("faulty", CONFIG)
    known, *new = (upload(ls_client, project_id, number) for number in range(1 + len(FAULTS)))
    assert ask(backend, known).status_code == 200
    for task, fault in zip(new, FAULTS, strict=True):
        proxy.fault = fault
        assert ask(backend, known).status_code == 200, f"{fault}: its picture is here"
        begun = time.monotonic()
        answer = ask(backend, task)
        took_s = time.monotonic() - begun
        if fault == "slow":
            assert answer.status_code == 200
        else:
            assert (answer.status_code, answer.json()["kind"]) == (422, "ImageError"), (fault, answer.text)
            assert took_s < TIMEOUT_S + 3, fault
            assert len(answer.json()["error"]) > 20
        for path in ("/health", "/health/live", "/health/ready"):
            assert requests.get(f"{backend.url}{path}", timeout=1).status_code == 200, fault
        event = {"action": "TASKS_DELETED", "tasks": [{"id": task["id"]}], "fault": fault}
        assert requests.post(f"{backend.url}/webhook", json=event, timeout=1).status_code == 201, fault
        proxy.fault = None
        assert ask(backend, task).status_code == 200, f"after {fault}"
    assert "Traceback" not in backend.log
    status = requests.get(f"{backend.url}/status", timeout=5).json()
    assert status["events"]["TASKS_DELETED"] == len(FAULTS)
    assert len([one for one in status["problems"] if one["kind"] == "ImageError"]) == len(FAULTS) - 1


def test_bulk_work_waits_for_a_label_studio_that_lies_and_doubles_nothing(
    backend: BackendProcess, proxy: FaultyProxy, ls_client: LsClient
) -> None:
    project_id = ls_client.create_project("faulty bulk", CONFIG)
    tasks = [upload(ls_client, project_id, 20 + number)["id"] for number in range(4)]
    ml = ls_client.connect(project_id, backend.url)
    proxy.fault = "no JSON"
    ls_client.retrieve_predictions(project_id)
    until(lambda: status(backend)["bulk_paused"] != "", 40, "a pause")
    proxy.fault = "dead"
    time.sleep(1)
    proxy.fault = "another JSON"
    time.sleep(6)
    proxy.fault = None
    until(
        lambda: all(one["waiting"] + one["working"] == 0 for one in status(backend)["bulk"]),
        150,
        "the end of the work",
    )
    check(ls_client, project_id, tasks, ml["model_version"])
    assert "Traceback" not in backend.log


def test_a_label_studio_that_drips_holds_no_thread_for_long(
    backend: BackendProcess, proxy: FaultyProxy, ls_client: LsClient
) -> None:
    """Whoever waits for its API gives up, says why, and goes on as soon as it answers again."""
    until(lambda: status(backend)["bulk_paused"] == "", 60, "the end of an earlier pause")
    project_id = ls_client.create_project("dripping", CONFIG)
    tasks = [upload(ls_client, project_id, 40 + number)["id"] for number in range(2)]
    ml = ls_client.connect(project_id, backend.url)
    proxy.fault = "drip"
    ls_client.retrieve_predictions(project_id)
    said = until(lambda: status(backend)["bulk_paused"], 30, "a pause")
    assert f"in full after {2 * TIMEOUT_S:g} s" in said
    proxy.fault = None
    until(lambda: all(one["waiting"] + one["working"] == 0 for one in status(backend)["bulk"]), 60, "the end")
    check(ls_client, project_id, tasks, ml["model_version"])


def status(backend: BackendProcess) -> dict[str, Any]:
    return dict(requests.get(f"{backend.url}/status", timeout=5).json())
