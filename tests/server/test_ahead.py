"""Pictures of the next tasks are encoded while nobody wants the model, and nobody ever waits for that."""

import threading
import time
from typing import Any

import numpy as np
import pytest
from app_parts import CONFIG, MemoryImages
from fake_predictor import FakePredictor

from xsam_backend.errors import LabelStudioError
from xsam_backend.inference.engine import Asker, Engine
from xsam_backend.inference.picture_memory import Budget, PictureMemory
from xsam_backend.inference.scheduling import Priority
from xsam_backend.labelstudio.label_config import LabelConfig
from xsam_backend.prompts import Point, Prompt, Task
from xsam_backend.server.ahead import Ahead
from xsam_backend.server.monitor import Monitor
from xsam_backend.store.projects import ProjectKey

PROJECT = ProjectKey.from_uid("here:8080", "21.1795347497")
CLICK = Prompt(Task.INTERACTIVE, (Point(5, 5),))


class Tasks:
    """Stands in for Label Studio: tasks 1 to 9, each with a picture of its number."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, int, int]] = []
        self.fault: Exception | None = None

    def tasks_after(self, project_id: int, task_id: int, count: int) -> list[dict[str, Any]]:
        self.asked.append((project_id, task_id, count))
        if self.fault is not None:
            raise self.fault
        return [{"id": number, "data": self.data(number)} for number in range(task_id + 1, 10)][:count]

    def data(self, number: int) -> Any:
        return {"image": "missing" if number == 5 else f"picture {number}"}


class Ready:
    """An engine that works ahead, and what it has done."""

    def __init__(self, tasks: int = 2) -> None:
        self.stages: list[str] = []
        self.engine = Engine(
            FakePredictor(before=self.stages.append), PictureMemory(Budget(10_000, 100_000, 900_000)), wait_limit_s=10
        )
        self.api, self.monitor = Tasks(), Monitor()
        self.ahead = Ahead(self.api, MemoryImages(), self.engine, self.monitor, tasks)
        self.ahead.start()

    def somebody_is_at(self, task: int) -> None:
        self.ahead.somebody_is_at(PROJECT, task, LabelConfig.parse(CONFIG))

    def wait_for(self, looks: int) -> None:
        end = time.monotonic() + 20
        while self.stages.count("prefix") < looks:
            assert time.monotonic() < end, self.stages
            time.sleep(0.01)


@pytest.fixture
def ready() -> Any:
    made = Ready()
    yield made
    made.ahead.close()


def test_the_first_click_on_the_next_task_finds_its_picture_encoded(ready: Ready) -> None:
    ready.somebody_is_at(1)
    ready.wait_for(2)
    ready.stages.clear()
    for number in (2, 3):
        image = MemoryImages().fetch(f"picture {number}")
        ready.engine.answer(image.pixels, image.sha256, [CLICK], Asker(Priority.INTERACTIVE))
    assert ready.stages == ["answer", "answer"]
    assert ready.api.asked == [(21, 1, 2)]


def test_each_place_is_looked_ahead_from_once(ready: Ready) -> None:
    for _ in range(5):
        ready.somebody_is_at(1)
    ready.wait_for(2)
    ready.somebody_is_at(1)
    ready.somebody_is_at(2)
    ready.wait_for(3)
    assert ready.api.asked == [(21, 1, 2), (21, 2, 2)]
    assert ready.stages.count("look") == 3, "task 3 was encoded before"


def test_while_somebody_works_nothing_is_done_ahead(ready: Ready) -> None:
    stop = threading.Event()

    def clicking() -> None:
        while not stop.is_set():
            ready.engine.answer(np.zeros((8, 8, 3), np.uint8), "a", [CLICK], Asker(Priority.INTERACTIVE))
            time.sleep(0.01)

    annotator = threading.Thread(target=clicking)
    annotator.start()
    ready.somebody_is_at(1)
    time.sleep(1)
    assert ready.stages.count("look") == 1, "that of the annotator's own picture"
    stop.set()
    annotator.join()
    ready.wait_for(3)


def test_a_picture_that_is_not_there_costs_the_others_nothing(ready: Ready, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    ready.somebody_is_at(4)
    ready.wait_for(1)
    assert "HTTP 404" in caplog.text
    assert not ready.monitor.last_problems, "whoever comes to it sees why"
    ready.somebody_is_at(8)
    ready.wait_for(2)


@pytest.mark.parametrize("fault", [LabelStudioError("refused"), KeyError("id")])
def test_the_thread_lives_on(ready: Ready, fault: Exception, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    ready.api.fault = fault
    ready.somebody_is_at(1)
    end = time.monotonic() + 20
    while "pictures ahead" not in caplog.text:
        assert time.monotonic() < end
        time.sleep(0.01)
    ready.api.fault = None
    ready.somebody_is_at(2)
    ready.wait_for(2)


def test_closing_ends_the_thread_while_others_have_the_model(ready: Ready) -> None:
    ready.somebody_is_at(1)
    ready.ahead.close()
    assert not ready.ahead.is_running
