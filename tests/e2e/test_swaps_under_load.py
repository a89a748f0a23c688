"""Versions are promoted and rolled back by other processes while clicks and pre-labellings pour in: none fails."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections import Counter, defaultdict
from pathlib import Path

import pytest
import requests
from backend_process import BackendProcess
from event_parts import until
from small_base import save_small_base
from version_parts import CONFIG, SENDER, add_version, asked, without_ids

from xsam_backend.model.checkpoint import model_version
from xsam_backend.store.database import database_url, open_database
from xsam_backend.store.projects import Projects
from xsam_backend.store.versions import Versions

pytestmark = pytest.mark.e2e


def models(data_dir: Path, *arguments: str) -> None:
    command = [sys.executable, "-m", "xsam_backend", "models", *arguments, "--data-dir", str(data_dir)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


class Load:
    """Threads that ask without a pause. ``answers`` are those of each version, by kind of question."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.failed: list[str] = []
        self.answers: dict[tuple[bool, str], Counter[str]] = defaultdict(Counter)
        self._lock = threading.Lock()
        self._end = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(kind,)) for kind in (True, True, False)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        for thread in self._threads:
            thread.join()

    def _run(self, interactive: bool) -> None:
        while not self._end.is_set():
            try:
                answer = requests.post(f"{self._url}/predict", json=asked(interactive), timeout=60)
                (entry,) = answer.json()["results"]
                if "model_version" not in entry:
                    self.failed.append(json.dumps(entry))
                    continue
                with self._lock:
                    self.answers[interactive, entry["model_version"]][without_ids(entry)] += 1
            except (requests.RequestException, KeyError, ValueError) as error:
                self.failed.append(repr(error))


def test_no_request_fails_and_no_answer_is_of_two_versions(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    base = save_small_base(tmp_path / "base")
    store = open_database(database_url("store", data_dir), "store")
    Projects(store).remember(SENDER.key, label_config=CONFIG)
    names = [add_version(data_dir, base, Versions(store), seed) for seed in (1, 2)]
    store.dispose()
    with BackendProcess(data_dir, model=str(base), settings={"device": "cpu"}) as backend:

        def answered() -> list[str]:
            entries = (
                requests.post(f"{backend.url}/predict", json=asked(kind), timeout=60) for kind in (True, False)
            )
            return [without_ids(answer.json()["results"][0]) for answer in entries]

        def deployed() -> list[str]:
            found: list[str] = requests.get(f"{backend.url}/versions", timeout=10).json()["versions"][1:]
            return found

        before = answered()
        assert all(json.loads(one)["result"] for one in before)
        with Load(backend.url) as load:
            for _ in range(3):
                for name in names:
                    models(data_dir, "promote", name)
                until(lambda: deployed() == [names[1]], 20, "a promotion")
                models(data_dir, "rollback", SENDER.uid)
                until(lambda: deployed() == [names[0]], 20, "a rollback")
                models(data_dir, "rollback", SENDER.uid)
            until(lambda: deployed() == [], 20, "the last rollback")
        assert load.failed == []
        assert {version for _, version in load.answers} == {model_version(base), *names}
        for (_, version), found in load.answers.items():
            assert len(found) == 1, f"{version} answers one question in {len(found)} ways"
        different = {next(iter(found)) for (interactive, _), found in load.answers.items() if not interactive}
        assert len(different) == 3, "the versions differ, so a mixture would show"
        assert answered() == before, "rolled back, masks and scores are the very ones"
