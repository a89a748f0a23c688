"""Label Studio's own "Retrieve predictions" on thousands of tasks, the service killed once in the middle.

python -m benchmarks.bulk_prelabel --tasks 2000 --label-studio BIN --out FOLDER

Label Studio and `serve` are started for it, as the demo starts them, in folders below --out. Pictures are drawn
scenes, each another one, small, since what a model does with them doesn't depend on their size. Clicks are made
meanwhile, some every few seconds: through Label Studio as its page makes them, on a picture that is encoded already
and on others, and at the service itself. At the end it's counted how many predictions each task has.
"""

from __future__ import annotations

import base64
import json
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import cv2
import numpy as np
import requests

from benchmarks.learning_latency import seconds
from benchmarks.servers import Running, running
from xsam_backend.config import load_settings
from xsam_backend.demo import backend
from xsam_backend.demo.processes import Child, wait_for
from xsam_backend.demo.project import label_config
from xsam_backend.scenes.scene import FIRST_HELD_OUT_SEED, draw_scene

SIZE_HW = (96, 128)
SEEDS = 100
"""So many scenes are drawn; the others are these, a little darker: other pictures for the cache."""

CLICK_EVERY_S = 5.0
IDLE_CLICKS = 15
KILLED_AT = 1 / 3
"""Of the tasks."""

LIMIT_S = 3 * 3600.0
CLICK = {
    "id": "click",
    "type": "keypointlabels",
    "from_name": "click",
    "to_name": "image",
    "original_width": SIZE_HW[1],
    "original_height": SIZE_HW[0],
    "is_positive": True,
    "value": {"x": 50, "y": 50, "width": 1, "keypointlabels": ["Ball"]},
}


def pictures(number: int) -> list[str]:
    """Data URIs of JPEG files."""
    scenes = [draw_scene(FIRST_HELD_OUT_SEED + seed, SIZE_HW).image for seed in range(min(SEEDS, number))]
    found = []
    for index in range(number):
        darker = np.maximum(scenes[index % SEEDS].astype(np.int16) - index // SEEDS, 0).astype(np.uint8)
        _, encoded = cv2.imencode(".jpg", cv2.cvtColor(darker, cv2.COLOR_RGB2BGR))
        found.append("data:image/jpeg;base64," + base64.b64encode(encoded.tobytes()).decode())
    return found


class Clicks:
    """Makes clicks by turns, and keeps the seconds that they took, by kind and time."""

    def __init__(self, servers: Running, connection: int, task_ids: list[int], picture: str) -> None:
        self.seconds: dict[tuple[str, str], list[float]] = defaultdict(list)
        self.failed = 0
        self._servers = servers
        self._connection = connection
        self._warm, *self._cold = reversed(task_ids)  # the queue comes to these last
        self._picture = picture

    def make(self, when: str) -> None:
        """One of each kind."""
        kinds: dict[str, Callable[[], object]] = {
            "through Label Studio, encoded picture": lambda: self._through(self._warm),
            "through Label Studio, another picture": lambda: self._through(self._cold.pop(0)),
            "at the service, encoded picture": lambda: seconds(self._servers.backend, self._picture),
        }
        for kind, made in kinds.items():
            begun = time.perf_counter()
            try:
                made()
            except requests.RequestException:
                self.failed += 1
            else:
                self.seconds[kind, when].append(time.perf_counter() - begun)

    def _through(self, task_id: int) -> None:
        body = {"task": task_id, "context": {"result": [CLICK]}}
        path = f"/api/ml/{self._connection}/interactive-annotating"
        answer = self._servers.label_studio("POST", path, body)
        if "errors" in answer:
            raise requests.RequestException(str(answer["errors"]))


def kill_and_restart(servers: Running) -> float:
    """End the service with SIGKILL and start it again; the seconds until it answers."""
    killed, begun = servers.children[1], time.perf_counter()
    killed.kill()
    port = int(servers.backend.rpartition(":")[2])
    ours = backend.environment(load_settings(), servers.data_dir, port, servers.client.url, servers.login.token)
    servers.children[1] = Child("serve", backend.command(), ours, killed.log, servers.data_dir)
    wait_for(lambda: backend.model_version(servers.backend), servers.children, limit_s=600, what="serve")
    return time.perf_counter() - begun


def progress(servers: Running) -> dict[str, Any]:
    """Of the one project, as the service has it."""
    (found,) = servers.ours("/status")["bulk"]
    return dict(found)


@click.command(help=__doc__)
@click.option("--tasks", "number", type=click.IntRange(min=50), default=2000, show_default=True)
@click.option("--label-studio", "script", type=click.Path(exists=True, path_type=Path), required=True)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Work and numbers go here.")
def main(number: int, script: Path, out: Path) -> None:
    """See the module's words."""
    out.mkdir(parents=True, exist_ok=True)
    facts: dict[str, Any] = {"tasks": number}
    with running(out.absolute(), script.absolute()) as servers:
        project = int(
            servers.client.create_project("bulk", label_config(), "Made by benchmarks.bulk_prelabel.")["id"]
        )
        addresses = pictures(number)
        rows = [{"data": {"image": address}} for address in addresses]
        path = f"/api/projects/{project}/import?return_task_ids=true"
        task_ids = list(servers.label_studio("POST", path, rows)["task_ids"])
        connection = int(servers.client.connect_ml_backend(project, servers.backend, "X-SAM")["id"])
        clicks = Clicks(servers, connection, task_ids, addresses[-1])
        clicks.make("first")
        for _ in range(IDLE_CLICKS):
            clicks.make("idle")
        begun = time.perf_counter()
        servers.client.retrieve_predictions(project, task_ids)
        facts["button"] = time.perf_counter() - begun
        facts["in reply"] = progress(servers)["in reply"]
        facts["restart"] = None
        while (now := progress(servers))["waiting"] + now["working"]:
            if facts["restart"] is None and now["done"] > number * KILLED_AT:
                facts["before the kill"] = now
                facts["restart"] = kill_and_restart(servers)
            clicks.make("meanwhile")
            click.echo(f"{time.perf_counter() - begun:.0f} s: {now}", err=True)
            if time.perf_counter() - begun > LIMIT_S:
                raise click.ClickException("it takes too long")
            time.sleep(CLICK_EVERY_S)
        facts["seconds"] = time.perf_counter() - begun
        while progress(servers)["in reply"]:
            time.sleep(CLICK_EVERY_S)
        facts["counts"] = progress(servers)
        kept = [row["predictions"] for row in servers.client.tasks(project)]
        facts["predictions of a task"] = Counter(len(one) for one in kept)
        facts["versions"] = Counter(prediction["model_version"] for one in kept for prediction in one)
        facts["clicks failed"] = clicks.failed
    facts["clicks"] = {f"{kind}, {when}": took for (kind, when), took in clicks.seconds.items()}
    (out / "bulk.json").write_text(json.dumps(facts, indent=1), encoding="utf-8")
    tell(facts, clicks)


def tell(facts: dict[str, Any], clicks: Clicks) -> None:
    """Two tables."""
    written, restart = facts["tasks"] - facts["in reply"], facts["restart"]
    lines = {
        "the button's answer": f"{facts['button']:.1f} s, {facts['in reply']} predictions in it",
        "all others written": f"{facts['seconds']:.0f} s after the press",
        "tasks a second": f"{written / (facts['seconds'] - facts['button']):.2f}",
        "killed, and answering again": "never" if restart is None else f"after {restart:.1f} s",
        "predictions of a task": ", ".join(f"{n}: {tasks}" for n, tasks in facts["predictions of a task"].items()),
        "versions": ", ".join(facts["versions"]),
    }
    click.echo("\n".join(["| | |", "| --- | --- |", *(f"| {name} | {value} |" for name, value in lines.items())]))
    click.echo("\n| click | idle: median, most | meanwhile: median, most |\n| --- | --- | --- |")
    for kind in dict.fromkeys(kind for kind, _ in clicks.seconds):
        cells = []
        for when in ("idle", "meanwhile"):
            took = np.array(clicks.seconds[kind, when]) * 1000
            cells.append(f"{np.median(took):.0f} ms, {took.max():.0f} ms ({len(took)})")
        click.echo(f"| {kind} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
