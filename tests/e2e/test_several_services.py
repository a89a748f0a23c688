"""Two services on one PostgreSQL, each with a data folder of its own, as on two machines: they answer as one, take
each other's events, run a job once, and one that is killed under load costs no event that was acknowledged.
"""

from __future__ import annotations

import base64
import io
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
import requests
from backend_process import HERE, BackendProcess
from event_parts import ROOT_SECRET, until
from ls_client import click
from PIL import Image
from small_base import save_small_base
from sqlalchemy import Engine, make_url
from version_parts import CONFIG, SENDER, add_version, asked, without_ids

from xsam_backend.learning.version_files import VersionFiles
from xsam_backend.server.auth import WEBHOOK_HEADER, WebhookSecrets
from xsam_backend.store.annotations import Annotations
from xsam_backend.store.database import open_database
from xsam_backend.store.inbox import Inbox
from xsam_backend.store.jobs import Jobs
from xsam_backend.store.projects import Projects
from xsam_backend.store.shared_files import SharedFiles
from xsam_backend.store.shared_secrets import shared_secret
from xsam_backend.store.versions import Versions

pytestmark = pytest.mark.e2e


@pytest.fixture
def shared(postgresql_database: str, tmp_path: Path) -> dict[str, str]:
    """Settings of services that share a database and files."""
    return {"database_url": postgresql_database, "artefacts_url": f"file://{tmp_path}/shared"}


@pytest.fixture
def engines(postgresql_database: str) -> Iterator[dict[str, Engine]]:
    engines: dict[str, Engine] = {
        "store": open_database(make_url(postgresql_database), "store"),
        "inbox": open_database(make_url(postgresql_database), "inbox"),
    }
    yield engines
    for engine in engines.values():
        engine.dispose()


def models(shared: Mapping[str, str], data_dir: Path, *arguments: str) -> None:
    command = [sys.executable, "-m", "xsam_backend", "models", *arguments, "--data-dir", str(data_dir)]
    environment = {**os.environ, **{f"XSAM_BACKEND_{name.upper()}": value for name, value in shared.items()}}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_they_answer_alike_also_after_a_promotion_on_one_of_them(
    shared: dict[str, str], engines: dict[str, Engine], tmp_path: Path
) -> None:
    base = save_small_base(tmp_path / "base")
    machines = [tmp_path / "one" / "data", tmp_path / "two" / "data"]
    for folder in machines:
        folder.mkdir(parents=True)
    Projects(engines["store"]).remember(SENDER.key, label_config=CONFIG)
    name = add_version(machines[0], base, Versions(engines["store"]), 1)
    delta = VersionFiles(machines[0] / "versions").delta(name)
    VersionFiles(machines[0] / "versions", SharedFiles(shared["artefacts_url"])).keep(delta, name.rpartition("+")[0])
    with ExitStack() as stack:
        services = [
            stack.enter_context(
                BackendProcess(folder, model=str(base), settings={"device": "cpu", **shared}, start_limit_s=300)
            )
            for folder in machines
        ]

        def answers(interactive: bool) -> list[str]:
            found = [requests.post(f"{one.url}/predict", json=asked(interactive), timeout=60) for one in services]
            return [without_ids(answer.json()["results"][0]) for answer in found]

        def deployed() -> list[list[str]]:
            return [requests.get(f"{one.url}/versions", timeout=10).json()["versions"][1:] for one in services]

        before = [answers(interactive) for interactive in (True, False)]
        for one, other in before:
            assert json.loads(one)["result"]
            assert one == other
        models(shared, machines[0], "promote", name)
        until(lambda: deployed() == [[name], [name]], 20, "a promotion")
        promoted = answers(False)
        assert promoted[0] == promoted[1] != before[1][0]
        assert json.loads(promoted[1])["model_version"] == name
        models(shared, machines[1], "rollback", SENDER.uid)
        until(lambda: deployed() == [[], []], 20, "a rollback")
        assert [answers(interactive) for interactive in (True, False)] == before


LOOKED_FOR = """<View><Image name="image" value="$image"/>
<KeyPointLabels name="kp" toName="image" smart="true"><Label value="cat"/></KeyPointLabels>
<BrushLabels name="brush" toName="image" smart="false" model_score_threshold="0"><Label value="cat"/></BrushLabels>
<PolygonLabels name="poly" toName="image" smart="false" model_task="vgd" model_score_threshold="0">
<Label value="cat"/></PolygonLabels></View>"""
"""The polygons by example: they depend on what annotators have accepted, and so on what a service knows of it."""


def drawn(seed: int) -> str:
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (64, 96, 3), np.uint8)).save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def test_they_answer_as_one_process_on_sqlite_does(shared: dict[str, str], tmp_path: Path) -> None:
    base = save_small_base(tmp_path / "base")
    tasks = [{"id": number, "data": {"image": drawn(number)}} for number in (1, 2, 3)]
    asked_for = {"project": SENDER.uid, "label_config": LOOKED_FOR}
    batch = {**asked_for, "tasks": tasks, "params": {"context": None}}
    clicks = [
        {**asked_for, "tasks": [task], "params": {"context": {"result": [click(x_pct, 50, "cat"), *more]}}}
        for task in tasks
        for x_pct in (20, 70)
        for more in ([], [click(90, 90, "cat", positive=False, region_id="k2")])
    ]
    event = SENDER.annotated(1, 9, 5)
    event["project"]["label_config"] = LOOKED_FOR
    event["task"]["data"] = {"image": drawn(9)}
    with ExitStack() as stack:

        def serving(name: str, settings: Mapping[str, str]) -> str:
            (tmp_path / name).mkdir()
            given = {"device": "cpu", "webhook_secret": ROOT_SECRET, **settings}
            folder = tmp_path / name / "data"
            process = BackendProcess(folder, model=str(base), settings=given, start_limit_s=300)
            return stack.enter_context(process).url

        alone, one, two = serving("alone", {}), serving("one", shared), serving("two", shared)

        def answers(*urls: str) -> list[str]:
            """Of all requests, sent to the services in turn."""
            found = []
            for number, body in enumerate([batch, *clicks]):
                answer = requests.post(f"{urls[number % len(urls)]}/predict", json=body, timeout=60).json()
                found += [without_ids(entry) for entry in answer["results"]]
            return found

        before = answers(alone)
        assert len(before) == 3 + 12
        assert all(json.loads(entry)["result"] for entry in before)
        assert answers(one, two) == before
        assert answers(two, one) == before
        for url in (alone, two):
            assert SENDER.send(url, event).status_code == 201
        for url in (alone, one, two):  # also where another took the event
            until(lambda url=url: answers(url)[:3] != before[:3], 60, "pre-labels like what was accepted")
        after = answers(alone)
        assert answers(one, two) == after
        assert answers(two, one) == after


class Events:
    """Threads that send annotations of one project to services in turn; what was acknowledged is noted."""

    def __init__(self, urls: list[str], secret: str) -> None:
        self._urls = urls
        self._headers = {WEBHOOK_HEADER: secret}
        self._lock = threading.Lock()
        self._next = 0
        self.acknowledged: set[int] = set()
        self.refused = 0
        self._end = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(4)]

    def __enter__(self) -> Events:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        while not self._end.is_set():
            with self._lock:
                self._next += 1
                number = self._next
            event = SENDER.annotated(number, number, 5)
            url = f"{self._urls[number % len(self._urls)]}/webhook"
            try:
                answer = requests.post(url, json=event, headers=self._headers, timeout=30)
            except requests.RequestException:
                self.refused += 1  # nobody listens there now
                time.sleep(0.02)
                continue
            if answer.ok:
                self.acknowledged.add(number)


def test_a_service_killed_under_load_costs_no_acknowledged_event(
    shared: dict[str, str], engines: dict[str, Engine], tmp_path: Path
) -> None:
    with ExitStack() as stack:
        folders = [tmp_path / "one" / "data", tmp_path / "two" / "data"]
        for folder in folders:
            folder.parent.mkdir()
        one, two = (stack.enter_context(BackendProcess(folder, settings=shared)) for folder in folders)
        secret = WebhookSecrets(shared_secret(engines["store"], "webhooks", "not the first")).of(SENDER.key)
        with Events([one.url, two.url], secret) as events:
            until(lambda: len(events.acknowledged) > 100, 60, "load")
            one.kill()
            until(lambda: events.refused > 10, 60, "a dead service")
            seen = len(events.acknowledged)
            until(lambda: len(events.acknowledged) > seen + 50, 60, "load on the other")
            again = stack.enter_context(BackendProcess(folders[0], settings=shared))
            events._urls[0] = again.url
            seen = len(events.acknowledged)
            until(lambda: len(events.acknowledged) > seen + 50, 60, "load on both")
            two.kill()
            time.sleep(0.5)
        kept: list[int] = []
        verified = set()
        after = 0
        while found := Inbox(engines["inbox"]).after(after):
            kept += [event.body["annotation"]["id"] for event in found]
            verified |= {event.verified for event in found}
            after = found[-1].id
        assert len(kept) == len(set(kept)), "none is doubled"
        assert events.acknowledged <= set(kept), "none is lost"
        assert verified == {True}, "both know one secret"

        def accepted() -> set[int]:
            return {one.annotation_id for one in Annotations(engines["store"]).of_tasks(str(SENDER.key))}

        until(lambda: events.acknowledged <= accepted(), 60, "what was accepted, from both, read by the one left")


def test_a_job_runs_once_and_goes_on_elsewhere_when_its_machine_dies(
    shared: dict[str, str], engines: dict[str, Engine], tmp_path: Path
) -> None:
    Projects(engines["store"]).remember(SENDER.key)
    jobs = Jobs(engines["store"])
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    environment |= {f"XSAM_BACKEND_{name.upper()}": value for name, value in shared.items()}
    folders = [tmp_path / "one" / "data", tmp_path / "two" / "data"]

    def worker(folder: Path) -> subprocess.Popen[bytes]:
        folder.mkdir(parents=True, exist_ok=True)
        return subprocess.Popen(
            [sys.executable, str(HERE / "work_fake.py"), str(folder), "40", "0.1"], env=environment
        )

    def counted(job_id: int) -> list[bool]:
        return [(folder / "counted" / str(job_id)).exists() for folder in folders]

    with ExitStack() as stack:
        workers = [stack.enter_context(worker(folder)) for folder in folders]
        for process in workers:
            stack.callback(process.kill)
        first, _ = jobs.queue(str(SENDER.key), "button")
        until(lambda: jobs.get(first.id).is_over, 60, "the first job")
        assert (jobs.get(first.id).state, jobs.get(first.id).tries) == ("done", 1)
        assert sum(counted(first.id)) == 1, "one worker had it, the other nothing of it"

        second, _ = jobs.queue(str(SENDER.key), "button")
        until(lambda: jobs.get(second.id).step > 5, 60, "the second job under way")
        holder = counted(second.id).index(True)
        workers[holder].kill()
        until(lambda: jobs.get(second.id).is_over, 120, "the second job, on the machine that is left")
        done = jobs.get(second.id)
        assert (done.state, done.tries, done.result) == ("done", 2, {"counted": 40})
        assert done.pid == workers[1 - holder].pid
