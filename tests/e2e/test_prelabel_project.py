"""``prelabel`` of a project in a real Label Studio: killed and resumed, or begun twice at once, each task has one
prediction."""

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


def uploaded(client: LsClient) -> tuple[int, list[int]]:
    """A project and its tasks."""
    project = client.create_project("many", CONFIG)
    return project, [client.upload(project, f"{number}.png", picture(number), "image/png") for number in range(TASKS)]


def asked(label_studio: LabelStudio, project: int, base: Path, data_dir: Path) -> tuple[list[str], dict[str, str]]:
    """The command, and its environment."""
    command = [sys.executable, "-m", "xsam_backend", "prelabel", str(project), "--block", "2", "--model", str(base)]
    command += ["--device", "cpu", "--data-dir", str(data_dir), "--label-studio-url", label_studio.url]
    return command, {**os.environ, "XSAM_BACKEND_LABEL_STUDIO_TOKEN": label_studio.token, "OMP_NUM_THREADS": "1"}


def test_killed_and_resumed_each_task_has_one_prediction(
    label_studio: LabelStudio, ls_client: LsClient, tmp_path: Path
) -> None:
    base = save_small_base(tmp_path / "base")
    project, tasks = uploaded(ls_client)
    command, environment = asked(label_studio, project, base, tmp_path / "data")
    with (tmp_path / "said").open("wb") as said, subprocess.Popen(command, env=environment, stderr=said) as process:
        until(
            lambda: len(predictions(ls_client, project)) >= 3 or process.poll() is not None, 120, "some predictions"
        )
        process.send_signal(signal.SIGKILL)
    before = predictions(ls_client, project)
    assert len(before) < TASKS, "it was killed in the middle"

    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    assert f"{TASKS - len(before)} answered, 0 failed, {len(before)} left as they are" in done.stdout
    assert predictions(ls_client, project) == dict.fromkeys(tasks, 1)
    (version,) = {one["model_version"] for one in ls_client.call("GET", f"/api/predictions/?project={project}")}
    assert version == model_version(base)

    again = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=300)
    assert f"0 answered, 0 failed, {TASKS} left as they are" in again.stdout
    assert label_studio.token not in done.stderr + again.stderr


@pytest.mark.parametrize("shared", ["data folder", "database"])
def test_of_two_at_once_the_second_says_that_the_first_is_under_way(
    label_studio: LabelStudio, ls_client: LsClient, tmp_path: Path, shared: str, request: pytest.FixtureRequest
) -> None:
    """Two machines with a database in common, or two terminals."""
    base = save_small_base(tmp_path / "base")
    project, tasks = uploaded(ls_client)
    folders = [tmp_path / "one", tmp_path / ("one" if shared == "data folder" else "two")]
    (first, environment), (second, _) = (asked(label_studio, project, base, folder) for folder in folders)
    if shared == "database":
        environment["XSAM_BACKEND_DATABASE_URL"] = request.getfixturevalue("postgresql_database")
    with (
        (tmp_path / "said").open("wb") as said,
        subprocess.Popen(first, env=environment, stdout=said, stderr=said) as process,
    ):
        until(lambda: f": {TASKS} tasks" in (tmp_path / "said").read_text() or process.poll(), 120, "the first")
        process.send_signal(signal.SIGSTOP)  # it stays under way
        try:
            done = subprocess.run(second, env=environment, capture_output=True, text=True, check=False, timeout=300)
        finally:
            process.send_signal(signal.SIGCONT)
        assert done.returncode == 1
        assert "another prelabel of project" in done.stderr
        assert "is under way on" in done.stderr
        assert process.wait(300) == 0, (tmp_path / "said").read_text()
    assert predictions(ls_client, project) == dict.fromkeys(tasks, 1)
    again = subprocess.run(second, env=environment, capture_output=True, text=True, check=False, timeout=300)
    assert f"0 answered, 0 failed, {TASKS} left as they are" in again.stdout
