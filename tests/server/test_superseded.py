"""A click whose object was clicked again while it waited is answered with nothing at once; other requests are not."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
from app_parts import MakeApp, MemoryImages, click, request_of, services_of
from fake_predictor import FakePredictor

WITHIN_S = 20


class Taken:
    """A service that knows the picture; its model answers somebody else until ``free`` is set."""

    def __init__(self, make_app: MakeApp) -> None:
        self._begins, self._taken, self.free = threading.Event(), threading.Event(), threading.Event()
        self.app = make_app(FakePredictor(before=self._before), MemoryImages())
        self.engine = services_of(self.app).engine
        self._pool = ThreadPoolExecutor(8)
        assert self._reply(clicked(1, region="before"))[0] == 200

    def _before(self, _stage: str) -> None:
        if self._begins.is_set() and not self._taken.is_set():
            self._taken.set()
            assert self.free.wait(WITHIN_S)

    def post(self, body: dict[str, Any], waiting: int) -> Future[Any]:
        """Sent, in a thread of its own; then so many requests wait for the model."""
        reply = self._pool.submit(self._reply, body)
        ends = time.monotonic() + WITHIN_S
        while self.engine.waiting != waiting:
            assert time.monotonic() < ends, f"{self.engine.waiting} wait, not {waiting}"
            time.sleep(0.002)
        return reply

    def _reply(self, body: dict[str, Any]) -> Any:
        answer = self.app.test_client().post("/predict", json=body)
        return answer.status_code, answer.get_json()

    @contextmanager
    def by_somebody_else(self) -> Iterator[None]:
        """The block begins when the model is taken."""
        self._begins.set()
        other = self._pool.submit(self._reply, request_of("somebody else's"))
        try:
            assert self._taken.wait(WITHIN_S)
            yield
        finally:
            self.free.set()
            self._pool.shutdown()
        assert other.result()[0] == 200


@pytest.fixture
def taken(make_app: MakeApp) -> Taken:
    return Taken(make_app)


def clicked(count: int, *, task: int = 1, region: str = "first") -> dict[str, Any]:
    """What the page sends after so many clicks on one object."""
    context = [click(30 + 10 * number, 40) | {"id": f"{region}-{number}"} for number in range(count)]
    body = request_of("a", context=context)
    body["tasks"][0]["id"] = task
    return body


def regions(reply: Future[Any]) -> list[Any]:
    status, body = reply.result(WITHIN_S)
    assert status == 200, body
    (entry,) = body["results"]
    found: list[Any] = entry["result"]
    return found


def test_a_further_click_ends_the_request_before_it(taken: Taken) -> None:
    with taken.by_somebody_else():
        older = taken.post(clicked(1), waiting=1)
        assert not older.done()
        newer = taken.post(clicked(2), waiting=1)
        assert regions(older) == [], "while the model is still taken"
        assert not newer.done()
        taken.free.set()
        assert len(regions(newer)) == 1


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        (clicked(2, task=2), "another task"),
        (clicked(2, region="second"), "another object of the same task"),
        (clicked(2) | {"project": "22.1795347498"}, "another project"),
        (clicked(1), "the same again: who sends twice may wait for both"),
    ],
    ids=["task", "object", "project", "same"],
)
def test_others_do_not(taken: Taken, other: dict[str, Any], reason: str) -> None:
    with taken.by_somebody_else():
        older, newer = taken.post(clicked(1), waiting=1), taken.post(other, waiting=2)
        assert not older.done(), reason
        taken.free.set()
        assert len(regions(older)) == len(regions(newer)) == 1, reason


def test_an_older_context_that_comes_late_ends_itself_only(taken: Taken) -> None:
    """Requests may overtake each other on their way."""
    with taken.by_somebody_else():
        newer = taken.post(clicked(2), waiting=1)
        older = taken.post(clicked(1), waiting=1)
        assert regions(older) == []
        taken.free.set()
        assert len(regions(newer)) == 1
