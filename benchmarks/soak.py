"""A soak: clicks, batches, events and annotations through a real Label Studio, while things go wrong at random.

python -m benchmarks.soak --minutes 60 --label-studio BIN --out FOLDER [--seed N]

At the end it is calm for a while, and then nothing that was acknowledged may be missing: each event that got a 201 is
in the inbox, each annotation that Label Studio took is in the store, each task has one prediction. Exits with 1
where something is missing or doubled, a request failed while no fault was on, the service didn't come back, its log
has an error of ours with no fault to blame (see ``EXPECTED``), or its memory grew. Not in it: fine-tuning,
PostgreSQL, GPUs; and the full disk is a limit on files, which SQLite takes for a broken disk. Linux only: it looks
into /proc.
"""

from __future__ import annotations

import io
import json
import os
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import click
import requests
from PIL import Image

from benchmarks.faulty_proxy import FaultyProxy
from benchmarks.predict_requests import body, config
from benchmarks.report import environment as machine
from benchmarks.servers import START_LIMIT_S, label_studio_option
from benchmarks.soak_faults import Faults, MemoryCurve, Service
from xsam_backend.config import load_settings
from xsam_backend.demo import backend, label_studio
from xsam_backend.demo.folder import DemoFolder
from xsam_backend.demo.ports import LOOPBACK, choose_port
from xsam_backend.demo.processes import Child, stop_all, wait_for
from xsam_backend.errors import LabelStudioError
from xsam_backend.labelstudio.project_setup import ProjectSetup
from xsam_backend.scenes.scene import draw_scene
from xsam_backend.store.annotations import Annotations
from xsam_backend.store.database import database_url, open_database
from xsam_backend.store.inbox import Inbox

PICTURES = 12
CALM_LIMIT_S = 120.0
"""So long, after the last fault, what was put off may take."""

BUDGETS = {
    f"XSAM_BACKEND_{name}_CACHE_MB": str(mb) for name, mb in (("ENCODER", 100), ("IMAGE", 200), ("PREFIX", 50))
}
"""Of what is kept of pictures, as in the "memory" suite: full after minutes, so that what grows later is something
else."""

MOST_GROWTH = 0.03
"""Of memory between the second and the last quarter of a long life."""

EXPECTED = {
    "StoreError": "the disk was full",
    "StoreBusyError": "a database was held",
    "ImageError": "Label Studio was faulty",
    "LabelStudioError": "Label Studio was faulty",
    "BusyError": "it was full",
    "SyncFailed": "Label Studio was faulty",
    "PictureNotCopied": "Label Studio was faulty",
    "BulkPaused": "Label Studio was faulty",
    "LabelStudioUrlDiffers": "the proxy stands between",
    "NothingFound": "the model found nothing where somebody clicked",
}
"""Kinds of errors that a fault is to blame for. None is ``OSError`` or a bug's."""


@dataclass
class Tally:
    """What was asked and answered. ``acknowledged``: numbers of events that got a 201; ``annotated``: ids of
    annotations that Label Studio took."""

    answers: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    acknowledged: set[int] = field(default_factory=set)
    annotated: set[int] = field(default_factory=set)
    health_s: list[float] = field(default_factory=list)
    failures: list[tuple[float, float, str]] = field(default_factory=list)
    """Begin and end in monotonic seconds, and what: requests without an answer, or with an error that isn't 429."""


class Load:
    """Annotators, batches, events and probes, each in a thread, until they are stopped."""

    def __init__(
        self, url: str, client: ProjectSetup, project: dict[str, Any], tasks: list[dict[str, Any]], seed: int
    ):
        self._url, self._client, self._project, self._tasks = url, client, project, tasks
        self.tally = Tally()
        self._stop = threading.Event()
        self._lock = threading.Lock()
        works = [
            *(self._click, self._click, self._phrase, self._batch, self._event, self._annotate, self._press),
            *(self._probe, self._scrape),
        ]
        self._threads = [
            threading.Thread(target=self._repeat, args=(work, random.Random(f"{seed} {number}")), daemon=True)
            for number, work in enumerate(works)
        ]
        self._events = 10_000_000  # beyond the numbers of real tasks

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End after what is under way."""
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _repeat(self, work: Callable[[random.Random], float], rng: random.Random) -> None:
        while not self._stop.is_set():
            self._stop.wait(work(rng))

    def _count(self, what: str, answer: requests.Response | None, begun: float) -> None:
        said = f"{what} {answer.status_code if answer is not None else 'no answer'}"
        with self._lock:
            self.tally.answers[said] += 1
            if answer is None or (answer.status_code >= 400 and answer.status_code != 429):
                self.tally.failures.append((begun, time.monotonic(), said))
            if answer is not None and answer.status_code >= 400:
                self.tally.errors[str(self._said(answer).get("kind", f"HTTP {answer.status_code}"))] += 1

    @staticmethod
    def _said(answer: requests.Response) -> dict[str, Any]:
        with suppress(ValueError):
            said = answer.json()
            return said if isinstance(said, dict) else {}
        return {}

    def _post(self, what: str, path: str, sent: Any, limit_s: float) -> requests.Response | None:
        begun, answer = time.monotonic(), None
        with suppress(requests.RequestException):
            answer = requests.post(f"{self._url}{path}", json=sent, timeout=limit_s)
        self._count(what, answer, begun)
        return answer

    def _get(self, what: str, path: str, limit_s: float) -> float | None:
        """How long it took; None without an answer."""
        begun, answer = time.monotonic(), None
        with suppress(requests.RequestException):
            answer = requests.get(f"{self._url}{path}", timeout=limit_s)
        self._count(what, answer, begun)
        return None if answer is None else time.monotonic() - begun

    def _asked(self, tasks: list[dict[str, Any]], at: tuple[float, float] | None = None) -> dict[str, Any]:
        asked = body([(task["id"], Path(task["data"]["image"])) for task in tasks], at)
        return asked | {"project": self._project["uid"], "label_config": self._project["label_config"]}

    def _click(self, rng: random.Random) -> float:
        at = (rng.uniform(10, 90), rng.uniform(10, 90))
        self._post("click", "/predict", self._asked([rng.choice(self._tasks)], at), 60)
        return rng.expovariate(2.0)

    def _phrase(self, rng: random.Random) -> float:
        words = {"type": "textarea", "from_name": "words", "to_name": "image"}
        words["value"] = {"text": [rng.choice(["ball", "the largest ball", "what can be thrown?", "a zebra"])]}
        asked = self._asked([rng.choice(self._tasks)])
        self._post("phrase", "/predict", asked | {"params": {"context": {"result": [words]}}}, 60)
        return rng.expovariate(1.0)

    def _batch(self, rng: random.Random) -> float:
        answer = self._post("batch", "/predict", self._asked(rng.sample(self._tasks, 3)), 100)
        entries = [] if answer is None else self._said(answer).get("results", [])
        with self._lock:
            self.tally.errors.update(entry["kind"] for entry in entries if "kind" in entry)
        return rng.expovariate(0.5)

    def _event(self, rng: random.Random) -> float:
        self._events += 1
        event = {"action": "TASKS_DELETED", "tasks": [{"id": self._events}]}
        answer = self._post("event", "/webhook", event, 10)
        if answer is not None and answer.status_code == 201:
            self.tally.acknowledged.add(self._events)
        return rng.expovariate(5.0)

    def _annotate(self, rng: random.Random) -> float:
        """Through Label Studio itself, which sends its webhook once and never again."""
        value = {"points": [[10, 10], [60, 10], [60, 70]], "closed": True, "polygonlabels": ["ball"]}
        region = {"id": f"r{rng.random()}", "type": "polygonlabels", "from_name": "drawn", "to_name": "image"}
        task = rng.choice(self._tasks)["id"]
        answer = None
        with suppress(requests.RequestException):
            answer = requests.post(
                f"{self._client.url}/api/tasks/{task}/annotations/",
                json={"result": [region | {"value": value}]},
                headers={"Authorization": self._client.authorization()},
                timeout=60,
            )
        if answer is not None and answer.ok:
            self.tally.annotated.add(int(answer.json()["id"]))
            self.tally.answers["annotation accepted by Label Studio"] += 1
        return rng.uniform(1, 4)

    def _press(self, rng: random.Random) -> float:
        """ "Retrieve predictions", for all."""
        with suppress(LabelStudioError):
            self._client.retrieve_predictions(self._project["id"], [task["id"] for task in self._tasks])
        self.tally.answers["Retrieve predictions pressed"] += 1
        return rng.uniform(15, 25)

    def _probe(self, _: random.Random) -> float:
        if (took_s := self._get("health", "/health", 5)) is not None:
            self.tally.health_s.append(took_s)
        return 0.5

    def _scrape(self, _: random.Random) -> float:
        self._get("metrics", "/metrics", 10)
        return 10.0


def lost(data_dir: Path, tally: Tally, project_key: str) -> dict[str, list[int]]:
    """What was acknowledged and isn't there."""
    inbox = open_database(database_url("inbox", data_dir), "inbox")
    store = open_database(database_url("store", data_dir), "store")
    try:
        bodies = [event.body for event in Inbox(inbox).after(limit=10**7)]
        events = {task["id"] for one in bodies for task in one.get("tasks") or () if isinstance(task, dict)}
        kept = set(Annotations(store).changed_at(project_key))
    finally:
        inbox.dispose()
        store.dispose()
    return {"events": sorted(tally.acknowledged - events), "annotations": sorted(tally.annotated - kept)}


def doubled(client: ProjectSetup, project_id: int) -> dict[int, int]:
    """Tasks with another number of predictions than one."""
    counts = {row["id"]: len(row["predictions"]) for row in client.tasks(project_id)}
    return {task: count for task, count in counts.items() if count != 1}


def make_project(client: ProjectSetup, address: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A project with drawn scenes, connected."""
    labels = config(["ball"]).replace("</View>", '<TextArea name="words" toName="image" smart="true"/></View>')
    row = client.create_project("soak", labels, "Made by benchmarks.soak.")
    second = int(datetime.fromisoformat(row["created_at"].replace("Z", "+00:00")).timestamp())
    tasks = []
    for number in range(PICTURES):
        buffer = io.BytesIO()
        Image.fromarray(draw_scene(number, (240, 320)).image).save(buffer, "PNG")
        uploaded = client.upload(row["id"], f"{number}.png", buffer.getvalue(), "image/png")
        tasks.append({"id": client.create_task(row["id"], {"image": uploaded})["id"], "data": {"image": uploaded}})
    client.connect_ml_backend(row["id"], address, "X-SAM")
    return {"id": row["id"], "uid": f"{row['id']}.{second}", "label_config": labels}, tasks


def soak(seconds: float, script: Path, root: Path, seed: int) -> dict[str, Any]:
    """Run it; the report."""
    folder = DemoFolder(root)
    login = folder.login()
    # Far from the demo's, and each soak's own: between choosing one and using it pass minutes.
    port = choose_port(None, 20_000 + os.getpid() % 20_000, option="--label-studio-port")
    own_port = choose_port(None, port + 1, option="--port", not_these=(port,))
    studio_environment = label_studio.environment(folder.label_studio_data, port, login)
    command = label_studio.command(script, folder.label_studio_data, port)
    log = folder.logs / "label-studio.log"
    studio = Child("Label Studio", command, studio_environment, log, folder.label_studio_data)
    client = ProjectSetup(f"http://{LOOPBACK}:{port}", login.token)
    with FaultyProxy(client.url) as proxy:
        ours = backend.environment(load_settings(), folder.backend_data, own_port, proxy.url, login.token)
        ours |= {"XSAM_BACKEND_TRAIN_WORKER": "false", "XSAM_BACKEND_IMAGE_TIMEOUT_S": "3", **BUDGETS}
        service = Service(ours, f"http://{LOOPBACK}:{own_port}", folder.backend_data)
        try:
            wait_for(lambda: _answers(client), [studio], limit_s=START_LIMIT_S, what="Label Studio")
            service.start()
            project, tasks = make_project(client, service.url)
            load = Load(service.url, client, project, tasks, seed)
            faults, memory = Faults(service, proxy, folder.backend_data, seed, seconds / 2), MemoryCurve(service)
            for part in (load, memory, faults):
                part.start()
            time.sleep(seconds)
            faults.stop()
            load.stop()
            key = f"{LOOPBACK}:{proxy.url.rpartition(':')[2]}/{project['uid']}"
            missing = _calm(lambda: lost(folder.backend_data, load.tally, key))
            twice = _calm(lambda: {"tasks": doubled(client, project["id"])})["tasks"]
            problems = requests.get(f"{service.url}/status", timeout=30).json()["problems"]
            memory.stop()
        finally:
            if service.child is not None:
                stop_all([service.child], 40)
            stop_all([studio], 30)
    logs = sorted(folder.backend_data.glob("serve-*.log"))
    unforeseen = sum(path.read_text(errors="replace").count("unexpected error") for path in logs)
    return {
        "machine": machine(),
        "seed": seed,
        "seconds": seconds,
        "answers": dict(sorted(load.tally.answers.items())),
        "faults": dict(sorted(faults.injected.items())),
        "starts": service.starts,
        "errors_by_kind": dict(load.tally.errors.most_common()),
        "unexpected_kinds": sorted({*load.tally.errors, *(one["kind"] for one in problems)} - set(EXPECTED)),
        "unforeseen": unforeseen,
        "acknowledged": {"events": len(load.tally.acknowledged), "annotations": len(load.tally.annotated)},
        "lost": missing,
        "not_one_prediction": twice,
        "health_s": _spread(load.tally.health_s),
        "memory": memory.lives,
        "memory_growth": memory.growth,
        "memory_curve": memory.rows,
        "failures_without_fault": dict(
            Counter(what for *when, what in load.tally.failures if not faults.explains(*when))
        ),
        "broken": faults.broken,
    }


def _spread(seconds: Sequence[float]) -> dict[str, float]:
    """Median, 99th percentile and most."""
    ordered = sorted(seconds) or [0.0]
    at = {"median": 0.5, "p99": 0.99, "most": 1.0}
    return {name: round(ordered[min(int(share * len(ordered)), len(ordered) - 1)], 3) for name, share in at.items()}


def _answers(client: ProjectSetup) -> bool | None:
    with suppress(LabelStudioError):
        client.whoami()
        return True
    return None


def _calm(look: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What is still missing when nothing is, or the time is over."""
    deadline = time.monotonic() + CALM_LIMIT_S
    while any((found := look()).values()) and time.monotonic() < deadline:
        time.sleep(2)
    return found


def in_words(report: dict[str, Any]) -> str:
    """The report, to read."""
    lines = [f"{report['seconds']:.0f} s, seed {report['seed']}, {report['starts']} starts"]
    for title in ("answers", "faults", "errors_by_kind", "acknowledged"):
        lines.append(f"{title}: " + ", ".join(f"{name} {number}" for name, number in report[title].items()))
    for title in (
        "lost",
        "not_one_prediction",
        "unexpected_kinds",
        "unforeseen",
        "failures_without_fault",
        "broken",
        "health_s",
        "memory_growth",
    ):
        lines.append(f"{title}: {report[title]}")
    for number, life in enumerate(report["memory"], start=1):
        lines.append(f"memory of start {number}: " + ", ".join(f"{name} {value}" for name, value in life.items()))
    return "\n".join(lines)


def is_good(report: dict[str, Any]) -> bool:
    """Nothing lost, nothing doubled, no error that no fault explains, no memory that grows."""
    never = ("not_one_prediction", "broken", "unexpected_kinds", "unforeseen", "failures_without_fault")
    wrong = (report[name] for name in never)
    return not (any(report["lost"].values()) or any(wrong) or (report["memory_growth"] or 0) > MOST_GROWTH)


@click.command(help=__doc__)
@click.option("--minutes", type=click.FloatRange(min=0.1), required=True)
@label_studio_option
@click.option("--out", "root", type=click.Path(file_okay=False, path_type=Path), required=True, help="Begins empty.")
@click.option("--seed", default=1, show_default=True, help="Of load and faults.")
def main(minutes: float, script: Path, root: Path, seed: int) -> None:
    """See the module's words."""
    root.mkdir(parents=True, exist_ok=True)
    report = soak(minutes * 60, script.absolute(), root.absolute(), seed)
    (root / "soak.json").write_text(json.dumps(report, indent=1), encoding="utf-8")
    click.echo(in_words(report))
    sys.exit(0 if is_good(report) else 1)


if __name__ == "__main__":
    main()
