"""The service as a process: start, stop, kill, and answering while the model is busy."""

from __future__ import annotations

import base64
import io
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests
from backend_process import BackendProcess
from ls_client import click
from ls_server import free_port
from PIL import Image

from xsam_backend.store.database import database_url, open_database
from xsam_backend.store.inbox import Inbox

pytestmark = pytest.mark.e2e

CONFIG = """<View><Image name="image" value="$image"/>
<KeyPointLabels name="kp" toName="image" smart="true"><Label value="cat"/></KeyPointLabels>
<PolygonLabels name="poly" toName="image" smart="false"><Label value="cat"/></PolygonLabels></View>"""


def picture(width: int = 320, height: int = 240) -> str:
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), "teal").save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def click_on(backend: BackendProcess, **given: Any) -> requests.Response:
    body = {
        "tasks": [{"id": 1, "data": {"image": picture()}}],
        "project": "1.2",
        "label_config": CONFIG,
        "params": {"context": {"result": [click(50, 50, "cat")]}},
    }
    return requests.post(f"{backend.url}/predict", json=body, timeout=60, **given)


@pytest.fixture
def backend(tmp_path: Path) -> Iterator[BackendProcess]:
    with BackendProcess(tmp_path / "data") as running:
        yield running


def test_it_answers_the_protocol_without_any_label_studio(backend: BackendProcess) -> None:
    setup = {"project": "1.2", "schema": CONFIG, "hostname": "http://localhost:8080", "access_token": "x"}
    version = requests.post(f"{backend.url}/setup", json=setup, timeout=10).json()["model_version"]
    (entry,) = click_on(backend).json()["results"]
    assert entry["model_version"] == version
    assert entry["result"][0]["type"] == "polygonlabels"
    assert requests.get(f"{backend.url}/versions", timeout=10).json() == {"versions": [version]}


def test_health_and_webhooks_are_answered_while_all_predictions_wait(tmp_path: Path) -> None:
    """More clicks than threads, each taking long: what isn't a prediction must still find a free thread."""
    with (
        BackendProcess(tmp_path / "data", answer_s=0.5, settings={"threads": "6"}) as backend,
        ThreadPoolExecutor(12) as pool,
    ):
        clicks = [pool.submit(click_on, backend) for _ in range(12)]
        for number in range(5):
            assert requests.get(f"{backend.url}/health", timeout=1).status_code == 200
            event = {"action": "TASKS_DELETED", "tasks": [{"id": number}]}
            assert requests.post(f"{backend.url}/webhook", json=event, timeout=1).status_code == 201
        statuses = {future.result().status_code for future in clicks}
    assert statuses <= {200, 429}
    assert 200 in statuses


def test_setup_does_not_wait_for_the_model(tmp_path: Path) -> None:
    """Connecting projects, while a batch has a minute's work and more clicks than threads come in besides. Label
    Studio waits 3 s for setup, 1 s for a webhook. How long they take is not measured here, only that they don't wait
    for the batch.
    """

    def predict(first_task: int, tasks: int, context: dict[str, Any] | None) -> requests.Response:
        body = {
            "tasks": [{"id": first_task + number, "data": {"image": picture()}} for number in range(tasks)],
            "project": "1.2",
            "label_config": CONFIG,
            "params": {"context": context},
        }
        return requests.post(f"{backend.url}/predict", json=body, timeout=300)

    backend = BackendProcess(tmp_path / "data", answer_s=2.0, settings={"threads": "6"})
    with backend, ThreadPoolExecutor(10) as pool:
        batch = pool.submit(predict, 100, 30, None)
        while not has_encoded(backend):
            time.sleep(0.02)
        clicks = [pool.submit(predict, number, 1, {"result": [click(50, 50, "cat")]}) for number in range(9)]
        for number in range(10):
            setup = {"project": f"{number}.3", "schema": CONFIG, "hostname": "http://localhost:8080"}
            answered = requests.post(f"{backend.url}/setup", json=setup, timeout=30)
            assert answered.json()["model_version"] == "fake-1"
            event = {"action": "TASKS_DELETED", "tasks": [{"id": number}]}
            assert requests.post(f"{backend.url}/webhook", json=event, timeout=30).status_code == 201
            assert requests.get(f"{backend.url}/health", timeout=30).status_code == 200
        was_under_way = not batch.done()
        statuses = {one.result().status_code for one in clicks}
        backend.kill()
    assert was_under_way, "the batch was done before: setup waited for the model"
    assert 200 in statuses
    assert statuses <= {200, 429}


def test_a_stop_lets_a_click_finish(tmp_path: Path) -> None:
    with BackendProcess(tmp_path / "data", answer_s=1.5) as backend, ThreadPoolExecutor(1) as pool:
        under_way = pool.submit(click_on, backend)
        while not has_encoded(backend):
            time.sleep(0.02)
        backend.terminate()
        assert under_way.result().status_code == 200
        assert backend.process is not None
        assert backend.process.wait(40) == 0


def has_encoded(backend: BackendProcess) -> bool:
    """Whether a picture has been encoded, so that its answer is under way."""
    return 'stage_seconds_count{stage="look"} 1.0' in requests.get(f"{backend.url}/metrics", timeout=5).text


def test_every_acknowledged_event_survives_kill_9(tmp_path: Path) -> None:
    """Webhooks pour in from four threads while the service is killed; each 2xx must be in the inbox afterwards."""
    acknowledged: list[int] = []

    with BackendProcess(tmp_path / "data") as backend, ThreadPoolExecutor(4) as pool:

        def pour(first: int) -> None:
            for number in range(first, first + 10_000):
                try:
                    event = {"action": "TASKS_DELETED", "tasks": [{"id": number}]}
                    if requests.post(f"{backend.url}/webhook", json=event, timeout=5).status_code == 201:
                        acknowledged.append(number)
                except requests.RequestException:
                    return

        pouring = [pool.submit(pour, 10_000 * part) for part in range(4)]
        while len(acknowledged) < 60:
            time.sleep(0.01)
        backend.kill()
        for part in pouring:
            part.result()
    engine = open_database(database_url("inbox", tmp_path / "data"), "inbox")
    try:
        kept = {event.body["tasks"][0]["id"] for event in Inbox(engine).after(limit=100_000)}
    finally:
        engine.dispose()
    assert set(acknowledged) <= kept


def test_what_it_kept_is_there_after_a_restart(tmp_path: Path) -> None:
    with BackendProcess(tmp_path / "data") as backend:
        click_on(backend)
    with BackendProcess(tmp_path / "data") as backend:
        status = requests.get(f"{backend.url}/status", timeout=5).json()
    assert status["regions"] == {"fake-1": 1}


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["--model", "no-such-model"], 1, "no-such-model"),
        (["--port", "99999"], 1, "port (XSAM_BACKEND_PORT)"),
        (["--no-such-option"], 2, "No such option"),
        (["--data-dir", "/dev/null/x"], 1, "/dev/null/x"),
    ],
    ids=["unknown model", "impossible port", "misuse", "folder that cannot be"],
)
def test_what_cannot_start_says_why(tmp_path: Path, arguments: list[str], status: int, said: str) -> None:
    command = [sys.executable, "-m", "xsam_backend", "serve", "--data-dir", str(tmp_path), "--port", str(free_port())]
    done = subprocess.run([*command, *arguments], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == status
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert "Listening" not in done.stderr or "--data-dir" in arguments, "what is known at once is said at once"
    assert done.stdout == ""


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "::1", "::"])
def test_a_port_that_is_taken_is_said_at_once(tmp_path: Path, host: str) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as other:
        try:
            other.bind((host, 0))
        except OSError as error:
            pytest.skip(f"this machine has no {host}: {error}")
        other.listen()
        port = str(other.getsockname()[1])
        command = [sys.executable, "-m", "xsam_backend", "serve", "--data-dir", str(tmp_path), "--host", host]
        done = subprocess.run(
            [*command, "--port", port], capture_output=True, text=True, timeout=60, check=False, cwd=tmp_path
        )
    assert (done.returncode, f"port {port} of {host} is taken by another program" in done.stderr) == (1, True)
    assert len(done.stderr.splitlines()) == 1, done.stderr


def test_secrets_are_not_in_the_log(tmp_path: Path) -> None:
    secrets = {"basic_auth_user": "annotator", "basic_auth_password": "SECRET-basic", "webhook_secret": "SECRET" * 9}
    with BackendProcess(tmp_path / "data", settings={**secrets, "log_level": "DEBUG"}) as backend:
        assert click_on(backend, auth=("annotator", "SECRET-basic")).status_code == 200
        setup = {"project": "1.2", "schema": CONFIG, "hostname": "http://x", "access_token": "SECRET-token"}
        requests.post(f"{backend.url}/setup", json=setup, auth=("annotator", "SECRET-basic"), timeout=5)
        log = backend.log
    assert "SECRET" not in log
    assert "SECRET" not in repr(os.listdir(tmp_path / "data"))
