"""The pictures of the next tasks are encoded before anybody opens them, through a real Label Studio."""

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

pytestmark = pytest.mark.e2e

TASKS = 5
AHEAD = 2
CONFIG = """<View><Image name="image" value="$image"/>
<KeyPointLabels name="kp" toName="image" smart="true"><Label value="disc"/></KeyPointLabels>
<PolygonLabels name="out" toName="image" smart="false"><Label value="disc"/></PolygonLabels></View>"""


def picture(number: int) -> str:
    """A data URI; no two are alike."""
    buffer = io.BytesIO()
    Image.new("RGB", (32, 24), (40 * number, 20, 90)).save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def seen(backend: BackendProcess) -> dict[str, int]:
    """How often each stage has run."""
    text = requests.get(f"{backend.url}/metrics", timeout=10).text
    name = "xsam_backend_stage_seconds_count"
    return {
        stage: next(
            (int(float(line.split()[-1])) for line in text.splitlines() if f'{name}{{stage="{stage}"' in line), 0
        )
        for stage in ("look", "answer")
    }


def test_the_next_tasks_are_ready_and_label_studio_keeps_nothing_of_it(
    data_dir: Path, label_studio: LabelStudio, ls_client: LsClient
) -> None:
    settings = {
        "label_studio_url": label_studio.url,
        "label_studio_token": label_studio.token,
        "ahead_tasks": str(AHEAD),
    }
    others = ls_client.create_project("another", CONFIG)
    project_id = ls_client.create_project("next ones", CONFIG)
    first, *_ = ls_client.import_tasks(project_id, [{"image": picture(number)} for number in range(TASKS)])
    ls_client.import_tasks(others, [{"image": picture(6)}])
    with BackendProcess(data_dir, settings=settings) as backend:
        ml = ls_client.connect(project_id, backend.url)
        assert ls_client.interactive(ml["id"], first, [click(50, 50, "disc")])["data"]["result"]
        until(lambda: seen(backend)["look"] == 1 + AHEAD, 60, "the next pictures")
        time.sleep(1)
        assert seen(backend) == {"look": 1 + AHEAD, "answer": 1}, "no more than that, and nothing was asked"
        for task in range(first + 1, first + 1 + AHEAD):
            assert ls_client.predictions(task) == []
        reply = ls_client.interactive(ml["id"], first + 1, [click(50, 50, "disc")])
        assert reply["data"]["result"]
        until(lambda: seen(backend)["look"] == 2 + AHEAD, 60, "one further, that of the second task was there")
        assert seen(backend)["answer"] == 2
