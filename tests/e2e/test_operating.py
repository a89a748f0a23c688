"""The service as its operator sees it: probes under load, logs of a real process, a stop, a fork."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests
from backend_process import BackendProcess
from test_serving import click_on, has_encoded

pytestmark = pytest.mark.e2e


def log_objects(backend: BackendProcess) -> list[dict[str, Any]]:
    """All that was logged, each line an object."""
    return [json.loads(line) for line in backend.log.splitlines()]


def until(found: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 20
    while not found():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def test_probes_and_metrics_answer_within_a_second_while_all_predictions_wait(tmp_path: Path) -> None:
    with (
        BackendProcess(tmp_path / "data", answer_s=0.5, settings={"threads": "6"}) as backend,
        ThreadPoolExecutor(12) as pool,
    ):
        clicks = [pool.submit(click_on, backend) for _ in range(12)]
        for _ in range(4):
            for path in ("/health", "/health/live", "/health/ready", "/metrics"):
                assert requests.get(f"{backend.url}{path}", timeout=1).status_code == 200, path
        running = requests.get(f"{backend.url}/metrics", timeout=1).text
        assert {future.result().status_code for future in clicks} <= {200, 429}
        after = requests.get(f"{backend.url}/metrics", timeout=1).text
    assert re.search(r"^xsam_backend_(waiting|stage_running_seconds) [0-9.]*[1-9]", running, re.MULTILINE)
    assert re.search(r'^xsam_backend_stage_seconds_count\{stage="wait"\} [1-9]', after, re.MULTILINE)
    assert re.search(r"^process_resident_memory_bytes [1-9]", after, re.MULTILINE)


def test_a_log_of_objects_from_start_to_stop_with_an_error_in_it(tmp_path: Path) -> None:
    with BackendProcess(tmp_path / "data", settings={"log_format": "json"}) as backend:
        body = {
            "tasks": [{"id": 1, "data": {"image": "data:image/png;base64,SECRET-body"}}],
            "label_config": '<View><Image name="image" value="$image"/><KeyPointLabels name="kp" toName="image" '
            'smart="true"><Label value="cat"/></KeyPointLabels></View>',
        }
        answer = requests.post(
            f"{backend.url}/predict?q=SECRET-query", json=body, headers={"X-Request-ID": "abc-1"}, timeout=10
        )
        assert answer.headers["X-Request-ID"] == "abc-1"
        until(lambda: "abc-1" in backend.log, "the request's line")
    said = log_objects(backend)
    assert any("Booting worker" in line["message"] for line in said), "gunicorn's lines are objects, too"
    assert any("Shutting down" in line["message"] for line in said)
    (end,) = [line for line in said if line.get("request") == "abc-1" and "status" in line]
    assert (end["path"], end["status"]) == ("/predict", answer.status_code)
    assert "SECRET" not in backend.log


def test_a_stop_drains_what_is_under_way_and_takes_nothing_new(tmp_path: Path) -> None:
    with BackendProcess(tmp_path / "data", answer_s=2.0) as backend, ThreadPoolExecutor(1) as pool:
        under_way = pool.submit(click_on, backend)
        until(lambda: has_encoded(backend), "a click under way")
        backend.terminate()
        time.sleep(0.7)
        with pytest.raises(requests.RequestException):  # gunicorn leaves newcomers waiting until it is gone
            requests.get(f"{backend.url}/health", timeout=0.5)
        assert under_way.result().status_code == 200
        assert backend.process is not None
        assert backend.process.wait(40) == 0


def test_the_model_is_loaded_after_the_fork(tmp_path: Path) -> None:
    """CUDA doesn't survive a fork: the process that forks must not have opened it, nor even have imported torch."""
    with BackendProcess(tmp_path / "data", model="tiny", settings={"device": "cpu"}) as backend:
        assert backend.process is not None
        master = backend.process.pid
        children = Path(f"/proc/{master}/task/{master}/children")
        if not children.exists():
            pytest.skip("this kernel doesn't tell a process's children")
        (worker,) = children.read_text().split()
        maps = {pid: Path(f"/proc/{pid}/maps").read_text() for pid in (str(master), worker)}
    assert "libtorch" in maps[worker]
    assert "libtorch" not in maps[str(master)]
