"""``prelabel`` of a project in a real Label Studio: killed and resumed, each task has one prediction."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from event_parts import until
from ls_client import LsClient
from ls_server import LabelStudio
from PIL import Image
from small_base import save_small_base

from xsam_backend.model.checkpoint import model_version

pytestmark = pytest.mark.e2e

# The weights are random, and so are their scores: everything is shown.
CONFIG = """<View><Image name="image" value="$image"/>
<PolygonLabels name="poly" toName="image" model_score_threshold="0"><Label value="cat"/></PolygonLabels></View>"""
TASKS = 12


def picture(seed: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (48, 64, 3), np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def predictions(client: LsClient, project: int) -> Counter[int]:
    """How many each task has."""
    return Counter(int(one["task"]) for one in client.call("GET", f"/api/predictions/?project={project}"))


def test_killed_and_resumed_each_task_has_one_prediction(
    label_studio: LabelStudio, ls_client: LsClient, tmp_path: Path
) -> None:
    base = save_small_base(tmp_path / "base")
    project = ls_client.create_project("many", CONFIG)
    tasks = [ls_client.upload(project, f"{number}.png", picture(number), "image/png") for number in range(TASKS)]
    command = [sys.executable, "-m", "xsam_backend", "prelabel", str(project), "--block", "2", "--model", str(base)]
    command += ["--device", "cpu", "--data-dir", str(tmp_path / "data"), "--label-studio-url", label_studio.url]
    environment = {
        **os.environ,
        "XSAM_BACKEND_LABEL_STUDIO_TOKEN": label_studio.token,
        "OMP_NUM_THREADS": "1",
    }
    with (tmp_path / "said").open("wb") as said, subprocess.Popen(command, env=environment, stderr=said) as process:
        until(
            lambda: len(predictions(ls_client, project)) >= 3 or process.poll() is not None, 120, "some predictions"
        )
        process.send_signal(signal.SIGKILL)
    before = predictions(ls_client, project)
    assert len(before) < TASKS, "it was killed in the middle"

    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    assert f"{TASKS - len(before)} answered, {len(before)} had a prediction" in done.stdout
    assert predictions(ls_client, project) == dict.fromkeys(tasks, 1)
    (version,) = {one["model_version"] for one in ls_client.call("GET", f"/api/predictions/?project={project}")}
    assert version == model_version(base)

    again = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=300)
    assert f"0 answered, {TASKS} had a prediction" in again.stdout
    assert label_studio.token not in done.stderr + again.stderr
