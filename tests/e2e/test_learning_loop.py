"""The whole loop in a real Label Studio: annotations are accepted, the button is pressed, a version comes about and
is seen there; rolled back, everything is as it was."""

from __future__ import annotations

import io
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
from backend_process import BackendProcess
from ls_client import LsClient, click
from ls_server import LabelStudio
from PIL import Image
from test_label_studio import CONFIGS, HAS_TINY, HEIGHT, WIDTH

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(not HAS_TINY, reason="the weights of tiny are not in this checkout"),
]

PICTURES = 8


def picture(number: int) -> bytes:
    """A disc somewhere on grey, another one in each picture."""
    ys, xs = np.mgrid[:HEIGHT, :WIDTH]
    pixels = np.full((HEIGHT, WIDTH, 3), 150, np.uint8)
    pixels[(xs - centre_x(number)) ** 2 + (ys - 120) ** 2 < 40**2] = (200, 30 + 9 * number, 30)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def centre_x(number: int) -> int:
    return 60 + 20 * number


def outline(number: int) -> dict[str, Any]:
    """The disc, as an annotator draws it."""
    angles = np.linspace(0, 2 * np.pi, 16, endpoint=False)
    points = [
        [100 * (centre_x(number) + 40 * float(np.cos(a))) / WIDTH, 100 * (120 + 40 * float(np.sin(a))) / HEIGHT]
        for a in angles
    ]
    return {
        "id": f"drawn{number}",
        "type": "polygonlabels",
        "from_name": "out",
        "to_name": "image",
        "original_width": WIDTH,
        "original_height": HEIGHT,
        "value": {"points": points, "closed": True, "polygonlabels": ["disc"]},
    }


def wait_for(condition: Callable[[], Any], limit_s: float, what: str) -> Any:
    deadline = time.monotonic() + limit_s
    while not (found := condition()):
        assert time.monotonic() < deadline, f"{what} has not come about"
        time.sleep(0.5)
    return found


def models(data_dir: Path, *arguments: str) -> str:
    command = [sys.executable, "-m", "xsam_backend", "models", *arguments, "--data-dir", str(data_dir)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_what_is_accepted_becomes_a_version(label_studio: LabelStudio, ls_client: LsClient, tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    settings = {
        "label_studio_url": label_studio.url,
        "label_studio_token": label_studio.token,
        "train_worker": "true",
        "train_steps": "2",
        "train_rehearsal": "2",
    }
    project = ls_client.create_project("learning", CONFIGS["polygon"])
    tasks = [ls_client.upload(project, f"{n}.png", picture(n), "image/png") for n in range(PICTURES)]
    with BackendProcess(data_dir, model="tiny", settings=settings) as backend:
        ml = ls_client.connect(project, backend.url)
        base = ls_client.backend(ml["id"])["model_version"]

        def clicked() -> list[dict[str, Any]]:
            """What a click finds, without the ids, which are new each time."""
            reply = ls_client.interactive(ml["id"], tasks[0], [click(100 * centre_x(0) / WIDTH, 50, "disc")])
            return [{k: v for k, v in region.items() if k != "id"} for region in reply["data"]["result"]]

        def status() -> dict[str, Any]:
            return dict(
                requests.get(f"{backend.url}/status", timeout=10, headers={"Accept": "application/json"}).json()
            )

        before = clicked()
        # Until the webhook has its secret, events are hints, and those that come in a row wait a minute for a sync.
        wait_for(lambda: all(row["headers"] for row in ls_client.webhooks(project)), 60, "the webhook's secret")
        for number, task in enumerate(tasks):
            ls_client.annotate(task, [outline(number)])
        wait_for(
            lambda: "8 accepted" in requests.get(f"{backend.url}/", timeout=10, headers={"Accept": "text/html"}).text,
            60,
            "keeping the annotations",
        )
        ls_client.start_training(ml["id"])
        job = wait_for(
            lambda: next((one for one in status()["jobs"] if one["state"] in ("done", "failed")), None), 500, "a job"
        )
        assert job["state"] == "done", job
        version = job["result"]["version"]
        assert version.startswith(base + "+")
        assert version in models(data_dir, "list")

        # Two steps teach little: the gate may well have refused it. An operator can overrule the gate.
        models(data_dir, "promote", version)
        wait_for(
            lambda: version in requests.get(f"{backend.url}/versions", timeout=10).json()["versions"], 30, "a swap"
        )
        assert ls_client.backend(ml["id"])["model_version"] == version, "Label Studio shows it"
        ls_client.retrieve_predictions(project)
        assert {one["model_version"] for one in ls_client.predictions(tasks[0])} == {version}
        assert clicked() != before

        models(data_dir, "rollback", str(project))
        wait_for(
            lambda: version not in requests.get(f"{backend.url}/versions", timeout=10).json()["versions"],
            30,
            "a swap",
        )
        assert ls_client.backend(ml["id"])["model_version"] == base
        assert clicked() == before, "rolled back, masks and scores are the very ones"
