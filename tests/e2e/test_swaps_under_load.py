"""Versions are promoted and rolled back by other processes while clicks and pre-labellings pour in: none fails."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections import Counter, defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import requests
import torch
from backend_process import BackendProcess
from event_parts import Sender, until
from ls_client import click
from small_base import save_small_base
from small_models import small_model
from test_serving import picture

from xsam_backend.learning.version_files import VersionFiles
from xsam_backend.model.checkpoint import model_version
from xsam_backend.model.delta import Delta, save_delta
from xsam_backend.store.database import database_url, open_database
from xsam_backend.store.projects import Projects
from xsam_backend.store.versions import Version, Versions

pytestmark = pytest.mark.e2e

# The weights are random, and so are their scores: everything is shown.
CONFIG = """<View><Image name="image" value="$image"/>
<KeyPointLabels name="kp" toName="image" smart="true"><Label value="cat"/></KeyPointLabels>
<BrushLabels name="brush" toName="image" smart="false" model_score_threshold="0"><Label value="cat"/></BrushLabels>
</View>"""

SENDER = Sender()
CHANGED = "background.weight", "language.model.model.layers.0.self_attn.o_proj.weight"


def asked(interactive: bool) -> dict[str, Any]:
    return {
        "tasks": [{"id": 1, "data": {"image": picture(96, 64)}}],
        "project": SENDER.uid,
        "label_config": CONFIG,
        "params": {"context": {"result": [click(50, 50, "cat")]} if interactive else None},
    }


def add_version(data_dir: Path, base: Path, versions: Versions, seed: int) -> str:
    """A version with changes drawn at random, as a fine-tuning would leave it."""
    generator = torch.Generator().manual_seed(seed)
    shapes = {name: parameter.shape for name, parameter in small_model().named_parameters()}
    whole = {name: 0.1 * torch.randn(shapes[name], generator=generator) for name in CHANGED}
    path = data_dir / f"{seed}.safetensors"
    of_base = model_version(base)
    save_delta(Delta(of_base, 1.0, {}, whole), path)
    name = VersionFiles(data_dir / "versions").keep(path, of_base)
    versions.add(Version(name, str(SENDER.key), of_base, of_base, "refused", None, {"pictures": []}))
    return name


def models(data_dir: Path, *arguments: str) -> None:
    command = [sys.executable, "-m", "xsam_backend", "models", *arguments, "--data-dir", str(data_dir)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def without_ids(entry: Mapping[str, Any]) -> str:
    """An answer, without what is new each time: masks, labels and scores."""
    regions = [{name: value for name, value in region.items() if name != "id"} for region in entry["result"]]
    return json.dumps({**entry, "result": regions}, sort_keys=True)


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
