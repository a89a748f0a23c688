"""A project's tasks get one prediction of a version each, whoever else writes, however often the run is begun."""

from __future__ import annotations

import itertools
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "server"))

from app_parts import CONFIG, MemoryImages
from bulk_parts import LabelStudioDouble
from fake_predictor import FakePredictor

from xsam_backend.config import Settings
from xsam_backend.errors import LabelStudioError, SettingsError
from xsam_backend.labelstudio.images import FetchedImage
from xsam_backend.prelabelling import project_work
from xsam_backend.prelabelling.answering import Answering
from xsam_backend.prelabelling.blocks import Done, divided
from xsam_backend.prelabelling.project_work import ProjectWork
from xsam_backend.server import backend

TASKS = range(100, 107)
LIMIT_S = 20.0


class LabelStudio(LabelStudioDouble):
    def tasks_after(self, project_id: int, task_id: int, count: int) -> list[dict[str, Any]]:
        later = [number for number in sorted(self.data) if number > task_id]
        return [{"id": number, "data": self.data[number]} for number in later[:count]]


@pytest.fixture
def labels(monkeypatch: pytest.MonkeyPatch) -> LabelStudio:
    found = LabelStudio(*TASKS)
    monkeypatch.setattr(project_work, "client_of", lambda _settings: found)
    monkeypatch.setattr(project_work, "PAGE", 3)
    monkeypatch.setattr(project_work, "load", lambda _settings, _version: FakePredictor())
    monkeypatch.setattr(
        project_work, "Answering", lambda settings, predictor: Answering(settings, predictor, MemoryImages())
    )
    return found


@pytest.fixture
def work(settings: Settings, labels: LabelStudio) -> ProjectWork:
    assert labels.project_row is not None
    labels.project_row = {**labels.project_row, "label_config": CONFIG}
    return ProjectWork.of(settings, 21, lambda _key: None)


def run(work: ProjectWork) -> Iterator[Done]:
    do = work.opened()
    return (do(block) for block in divided(list(work.tasks()), 3))


def ours(labels: LabelStudio) -> list[int]:
    return [len(found) for _, found in sorted(labels.versions().items())]


def test_all_tasks_are_found_page_by_page_and_answered_once(work: ProjectWork, labels: LabelStudio) -> None:
    assert [(one.answered, one.known, one.problems) for one in run(work)] == [(3, 0, ()), (3, 0, ()), (1, 0, ())]
    assert ours(labels) == [1] * len(TASKS)
    assert [(one.answered, one.known) for one in run(work)] == [(0, 3), (0, 3), (0, 1)]
    assert ours(labels) == [1] * len(TASKS)


def test_another_versions_prediction_is_none(work: ProjectWork, labels: LabelStudio) -> None:
    labels.predictions[100].append({"model_version": "older", "result": []})
    assert sum(one.answered for one in run(work)) == len(TASKS)
    assert labels.versions()[100] == ["older", "fake-1"]


def test_a_run_that_ends_in_the_middle_is_gone_on_with(work: ProjectWork, labels: LabelStudio) -> None:
    """After the prediction was written, before anybody noted it: as a kill in that moment."""

    def killed(task_id: int) -> None:
        if task_id == 104:
            raise KeyboardInterrupt

    labels.stored = killed
    with pytest.raises(KeyboardInterrupt):
        list(run(work))
    labels.stored = lambda _task_id: None
    assert [(one.answered, one.known) for one in run(work)] == [(0, 3), (1, 2), (1, 0)]
    assert ours(labels) == [1] * len(TASKS)


def test_what_somebody_else_writes_meanwhile_is_not_doubled(work: ProjectWork, labels: LabelStudio) -> None:
    """Two runs at once: the other one is always a moment faster."""

    def other_run(call: str) -> None:
        if call == "tasks" and len(labels.read_together) > 1:  # all later looks are at one task, before writing
            for number in labels.data:
                if not labels.predictions[number]:
                    prediction: Mapping[str, Any] = {"model_version": "fake-1", "result": []}
                    labels.predictions[number].append(prediction)

    labels.trouble = other_run
    assert sum(one.answered for one in run(work)) <= 1
    assert ours(labels) == [1] * len(TASKS)


def test_a_failure_costs_its_task_only(work: ProjectWork, labels: LabelStudio) -> None:
    def refuse(call: str) -> None:
        if call == "predict 101":
            raise LabelStudioError("Label Studio answered HTTP 500")

    labels.trouble = refuse
    first, *_ = run(work)
    assert (first.answered, first.problems) == (2, ("task 101: Label Studio answered HTTP 500",))
    labels.trouble = lambda _call: None
    assert sum(one.answered for one in run(work)) == 1, "the others were there"


class Steps:
    """Events of a run by name, such as "fetch picture 101"; whoever waits for one fails where it doesn't come."""

    def __init__(self) -> None:
        self._events: defaultdict[str, threading.Event] = defaultdict(threading.Event)

    def came(self, name: str) -> None:
        self._events[name].set()

    def wait(self, name: str) -> None:
        if not self._events[name].wait(LIMIT_S):
            raise AssertionError(f"the run waits for something before {name!r}")


class WatchedImages(MemoryImages):
    def __init__(self, steps: Steps) -> None:
        super().__init__()
        self._steps = steps
        self.fetched: list[str] = []
        self.threads: set[str] = set()

    def fetch(self, url: str, task_id: int | None = None) -> FetchedImage:
        self.fetched.append(url)
        self.threads.add(threading.current_thread().name)
        self._steps.came(f"fetch {url}")
        return super().fetch(url, task_id)


@pytest.fixture
def steps(labels: LabelStudio, monkeypatch: pytest.MonkeyPatch) -> Steps:
    """Of a run whose n-th question to the model is "answer n"."""
    steps, asked = Steps(), itertools.count(1)

    def before(stage: str) -> None:
        if stage == "answer":
            steps.came(f"answer {next(asked)}")

    monkeypatch.setattr(project_work, "load", lambda _settings, _version: FakePredictor(before=before))
    return steps


def fetching_from(images: WatchedImages, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(project_work, "Answering", lambda settings, predictor: Answering(settings, predictor, images))


def test_the_next_pictures_are_fetched_and_answered_while_one_is_written(
    work: ProjectWork, labels: LabelStudio, steps: Steps, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = WatchedImages(steps)
    fetching_from(images, monkeypatch)

    def before(call: str) -> None:
        if call == "predict 100":
            steps.wait("fetch picture 102")
            steps.wait("answer 2")

    labels.trouble = before
    assert sum(one.answered for one in run(work)) == len(TASKS)
    assert ours(labels) == [1] * len(TASKS)
    assert sorted(images.fetched) == [f"picture {number}" for number in TASKS], "each once"


def test_the_model_goes_on_while_shapes_are_written(
    work: ProjectWork, labels: LabelStudio, steps: Steps, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, first = backend.write_regions, threading.Lock()

    def write_regions(*given: Any, **more: Any) -> Any:
        if first.acquire(blocking=False):
            steps.wait("answer 2")
        return write(*given, **more)

    monkeypatch.setattr(backend, "write_regions", write_regions)
    assert sum(one.answered for one in run(work)) == len(TASKS)
    assert ours(labels) == [1] * len(TASKS)


def test_one_picture_at_a_time_is_on_the_device(
    work: ProjectWork, labels: LabelStudio, monkeypatch: pytest.MonkeyPatch
) -> None:
    stages: list[str] = []

    def before(stage: str) -> None:
        stages.append(stage)
        time.sleep(0.005)  # another thread could come between

    monkeypatch.setattr(project_work, "load", lambda _settings, _version: FakePredictor(before=before))
    assert sum(one.answered for one in run(work)) == len(TASKS)
    assert stages == ["look", "state", "prefix", "answer"] * len(TASKS)


def test_without_memory_for_pictures_none_comes_ahead(
    work: ProjectWork, steps: Steps, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only what an answering thread has at hand."""
    images = WatchedImages(steps)
    fetching_from(images, monkeypatch)
    bare = replace(work, settings=work.settings.model_copy(update={"picture_cache_mb": 0}))
    assert sum(one.answered for one in run(bare)) == len(TASKS)
    assert len(images.fetched) == len(TASKS)
    assert {name.split("_")[0] for name in images.threads} == {"answering"}


def test_without_an_address_the_words_say_what_to_set(settings: Settings) -> None:
    with pytest.raises(SettingsError, match=r"set label_studio_url and label_studio_token"):
        project_work.client_of(settings)
