"""Tasks of the bulk queue, seen through one by one: what is written, what is tried again, what ends."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from app_parts import CONFIG, MemoryImages, services_of
from bulk_parts import LabelStudioDouble
from fake_predictor import FakePredictor

from xsam_backend.errors import LabelStudioError
from xsam_backend.inference.engine import Predictor
from xsam_backend.inference.scheduling import Priority
from xsam_backend.server import bulk_outcomes, bulk_reading, bulk_worker
from xsam_backend.server.bulk_outcomes import TRIES
from xsam_backend.server.bulk_worker import BulkWorker
from xsam_backend.server.services import Services
from xsam_backend.store.bulk_tasks import BulkTasks

KEY = "local/21.1795347497"


class Killed(BaseException):
    """The process ends here."""


class Work:
    """A queue with some tasks, and a worker that is driven by hand."""

    def __init__(self, parts: Services, labels: LabelStudioDouble) -> None:
        self.parts = parts
        self.labels = labels
        self.named: dict[str, Predictor[Any]] = {}
        self.queue: BulkTasks = parts.bulk_tasks
        self.restart()

    def restart(self) -> None:
        """A new process."""
        self.queue.recover()
        self.worker = BulkWorker(
            self.queue,
            self.parts.backend.prelabel,
            self.labels,
            self.parts.deployed.predictor_of,
            lambda name: self.named.get(name),
            self.parts.monitor,
            "local",
        )

    def put(self, *task_ids: int, version: str = "fake-1", key: str = KEY) -> None:
        until = datetime.now(timezone.utc) + timedelta(minutes=1)
        self.queue.settle(self.queue.reserve(key, task_ids, version, until).holder, {})

    def run(self) -> None:
        """Until nothing is due."""
        while self.worker.work_one():
            pass

    @property
    def counts(self) -> dict[str, int]:
        return self.queue.count()

    @property
    def told(self) -> list[str]:
        return [problem.message for problem in self.parts.monitor.last_problems]


@pytest.fixture
def labels() -> LabelStudioDouble:
    return LabelStudioDouble(*range(1, 31))


@pytest.fixture
def begin(make_app: Callable[..., Any], labels: LabelStudioDouble) -> Callable[..., Work]:
    """``begin(predictor)``: the parts of a service without a Label Studio of its own, and work on ``labels``."""
    return lambda predictor=None: Work(services_of(make_app(predictor, MemoryImages())), labels)


@pytest.fixture
def work(begin: Callable[..., Work]) -> Work:
    return begin()


@pytest.fixture
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is tried again is due at once."""
    monkeypatch.setattr(bulk_outcomes, "RETRY_AFTER_S", (0.0,) * (TRIES - 1))


def test_each_task_gets_what_a_reply_would_hold(work: Work, labels: LabelStudioDouble) -> None:
    work.put(3, 1, 2)
    work.run()
    assert [call for call in labels.calls if call.startswith("predict")] == ["predict 1", "predict 2", "predict 3"]
    (prediction,) = labels.predictions[1]
    assert [region["value"]["polygonlabels"] for region in prediction["result"]] == [["cat"], ["dog"]]
    assert 0 < prediction["score"] < 1
    assert prediction["model_version"] == "fake-1"
    logged = work.parts.predictions.find(region["id"] for region in prediction["result"])
    assert {(one.project_key, one.task_id, one.interactive) for one in logged.values()} == {(KEY, "1", False)}
    assert work.counts == {"done": 3}


def test_label_studio_is_asked_about_many_tasks_at_once(work: Work, labels: LabelStudioDouble) -> None:
    work.put(*range(1, 31))
    work.run()
    assert labels.read_together == [21, 9]
    assert labels.calls.count("project") == 1
    assert set(map(len, labels.predictions.values())) == {1}


def test_what_was_begun_before_is_read_anew(work: Work, labels: LabelStudioDouble) -> None:
    work.put(1, 2, 3)
    assert work.worker.work_one()
    task = work.queue.claim("local", datetime.now(timezone.utc))
    assert task is not None
    labels.predictions[task.task_id].append({"model_version": "fake-1"})  # by whoever had it
    work.run()
    assert labels.versions() | {4: []} == {n: ["fake-1"] if n < 4 else [] for n in range(1, 31)}


def test_a_kill_between_writing_and_noting_it_doubles_nothing(work: Work, labels: LabelStudioDouble) -> None:
    def kill(task_id: int) -> None:
        if task_id == 2:
            labels.stored = lambda _task_id: None
            raise Killed

    labels.stored = kill
    work.put(1, 2, 3)
    with pytest.raises(Killed):
        work.run()
    assert work.counts == {"done": 1, "working": 1, "waiting": 1}
    work.restart()
    work.run()
    assert [labels.versions()[task_id] for task_id in (1, 2, 3)] == [["fake-1"]] * 3
    assert work.counts == {"done": 3}


@pytest.mark.usefixtures("no_waiting")
def test_an_answer_that_got_lost_doubles_nothing(work: Work, labels: LabelStudioDouble) -> None:
    def lose(_task_id: int) -> None:
        labels.stored = lambda _task_id: None
        raise LabelStudioError("did not answer within 30 s")

    labels.stored = lose
    work.put(1)
    work.run()
    assert (labels.versions()[1], work.counts) == (["fake-1"], {"done": 1})


def test_predictions_of_other_versions_are_no_obstacle(work: Work, labels: LabelStudioDouble) -> None:
    labels.predictions[1].append({"model_version": "older"})
    work.put(1)
    work.run()
    assert labels.versions()[1] == ["older", "fake-1"]


def test_all_waits_for_a_label_studio_that_is_down(
    work: Work, labels: LabelStudioDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [1000.0]
    monkeypatch.setattr(bulk_worker.time, "monotonic", lambda: clock[0])

    def down(_call: str) -> None:
        raise LabelStudioError("Label Studio cannot be reached")

    labels.trouble = down
    work.put(1, 2)
    for wait_s in (5, 10, 20, 40, 80, 160, 300, 300):
        work.run()
        assert work.counts == {"waiting": 2}
        assert work.worker.paused == "Label Studio cannot be reached"
        asked = len(labels.calls)
        clock[0] += wait_s - 1
        work.run()
        assert len(labels.calls) == asked, "nobody is asked before the pause is over"
        clock[0] += 1
    labels.trouble = lambda _call: None
    work.run()
    assert (work.counts, work.worker.paused) == ({"done": 2}, "")
    assert work.told == ["Label Studio cannot be reached"], "said once"


def test_a_picture_that_is_gone_blocks_nobody(work: Work, labels: LabelStudioDouble) -> None:
    labels.data[1] = {"image": "missing"}
    work.put(1, 2, 3)
    work.run()
    assert work.counts == {"waiting": 1, "done": 2}
    assert work.queue.troubles(KEY) == [(1, "waiting", "missing: HTTP 404")]


@pytest.mark.usefixtures("no_waiting")
@pytest.mark.parametrize(("picture", "words"), [("missing", "missing: HTTP 404"), ("crash", "unexpected error")])
def test_tries_are_bounded(work: Work, labels: LabelStudioDouble, picture: str, words: str) -> None:
    labels.data[1] = {"image": picture}
    work.put(1, 2)
    work.run()
    assert work.counts == {"failed": 1, "done": 1}
    ((task_id, state, error),) = work.queue.troubles(KEY)
    assert (task_id, state) == (1, "failed")
    assert words in error
    assert labels.read_together == [2] + [1] * (TRIES - 1)


@pytest.mark.usefixtures("no_waiting")
def test_a_picture_that_comes_back_is_answered(work: Work, labels: LabelStudioDouble) -> None:
    labels.data[1] = {"image": "missing"}
    work.put(1)
    assert work.worker.work_one()
    labels.data[1] = {"image": "here"}
    work.run()
    assert (work.counts, work.queue.troubles(KEY)) == ({"done": 1}, [])


def test_what_cannot_succeed_is_tried_once(work: Work, labels: LabelStudioDouble) -> None:
    labels.data[1] = {"other": "a"}
    work.put(1)
    work.run()
    ((_, state, error),) = work.queue.troubles(KEY)
    assert (state, "the task's data has only ['other']" in error) == ("failed", True)
    assert labels.read_together == [1]


def test_a_task_that_kills_the_process_fails_and_the_others_are_answered(
    begin: Callable[..., Work], labels: LabelStudioDouble
) -> None:
    def kill(call: str) -> None:
        if call == "predict 1":
            raise Killed

    labels.trouble = kill
    work = begin()
    work.put(1, 2, 3)
    kills = 0
    while True:
        try:
            work.run()
            break
        except Killed:
            kills += 1
            work.restart()
    assert (kills, work.counts) == (TRIES, {"failed": 1, "done": 2})
    assert "the process ended while it answered this task" in work.queue.troubles(KEY)[0][2]


def test_clicks_that_leave_no_time_cost_no_try(
    work: Work, labels: LabelStudioDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk_outcomes, "BUSY_RETRY_S", 0.0)
    monkeypatch.setattr(work.parts.engine, "_wait_limit_s", 0.01)
    work.put(1)
    with work.parts.engine._turns.take(Priority.INTERACTIVE, 1):
        for _ in range(TRIES + 2):
            assert work.worker.work_one()
    work.run()
    assert work.counts == {"done": 1}


def test_deleted_tasks_are_dropped(work: Work, labels: LabelStudioDouble) -> None:
    work.put(1, 2, 3)
    labels.delete(2)
    work.run()
    assert work.counts == {"done": 2, "dropped": 1}
    assert 2 not in labels.predictions


@pytest.mark.usefixtures("no_waiting")
def test_a_task_that_is_deleted_while_it_is_answered_is_dropped(work: Work, labels: LabelStudioDouble) -> None:
    labels.trouble = lambda call: labels.delete(1) if call == "predict 1" and 1 in labels.data else None
    work.put(1)
    work.run()
    assert work.counts == {"dropped": 1}


@pytest.mark.parametrize("now", [None, {"id": 21, "created_at": "2027-01-01T00:00:00Z", "label_config": CONFIG}])
def test_a_project_that_is_gone_takes_its_tasks_along(work: Work, labels: LabelStudioDouble, now: Any) -> None:
    """Also where another one has its number: after a restored backup, say."""
    work.put(1, 2, 3)
    labels.project_row = now
    work.run()
    assert work.counts == {"dropped": 3}
    assert set(map(len, labels.predictions.values())) == {0}
    assert work.told == [
        "3 tasks that waited to be pre-labelled are dropped: project local/21.1795347497 is not in Label Studio any "
        "more: its tasks are dropped"
    ]


@pytest.mark.usefixtures("no_waiting")
def test_a_project_that_goes_meanwhile_is_noticed_at_once(work: Work, labels: LabelStudioDouble) -> None:
    """Its config was read a moment ago."""

    def go(call: str) -> None:
        if call == "predict 2":
            labels.project_row = None
            labels.data.clear()

    labels.trouble = go
    work.put(*range(1, 31))
    work.run()
    assert work.counts == {"done": 1, "dropped": 29}


def test_a_label_config_without_outputs_fails_them_all_at_once(work: Work, labels: LabelStudioDouble) -> None:
    work.put(1, 2, 3)
    labels.project_row = {**(labels.project_row or {}), "label_config": "<View/>"}
    work.run()
    assert work.counts == {"failed": 3}
    assert labels.calls == ["project"]
    assert "the label config has no picture" in work.told[0]


def test_the_label_config_is_the_one_that_label_studio_has(
    work: Work, labels: LabelStudioDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    work.put(1)
    work.run()
    labels.project_row = {**(labels.project_row or {}), "label_config": CONFIG.replace("dog", "horse")}
    work.put(2)
    work.run()
    monkeypatch.setattr(bulk_reading, "FRESH_S", 0.0)
    work.put(3)
    work.run()
    found = [labels.predictions[number][0]["result"][1]["value"]["polygonlabels"] for number in (1, 2, 3)]
    assert found == [["dog"], ["dog"], ["horse"]]


def test_the_version_of_the_request_answers_for_as_long_as_it_can_be_loaded(
    work: Work, labels: LabelStudioDouble
) -> None:
    """A promotion in the middle: what was pressed once is of one version."""
    work.put(1, 2, version="before")
    work.named["before"] = FakePredictor("before")
    assert work.worker.work_one()
    work.run()
    assert [labels.versions()[number] for number in (1, 2)] == [["before"]] * 2
    work.named.clear()
    work.put(3, version="before")
    work.run()
    assert labels.versions()[3] == ["fake-1"], "what answers the project now"
    work.put(3, version="before")
    work.run()
    assert labels.versions()[3] == ["fake-1"]


def test_a_service_goes_on_by_itself_until_it_is_closed(work: Work, labels: LabelStudioDouble) -> None:
    work.put(*range(1, 31))
    work.worker.start()
    for _ in range(400):
        if work.counts == {"done": 30}:
            break
        work.worker._threads[0].join(0.02)
    work.worker.close()
    assert work.counts == {"done": 30}
    assert set(map(len, labels.predictions.values())) == {1}
    assert not any(thread.is_alive() for thread in work.worker._threads)
