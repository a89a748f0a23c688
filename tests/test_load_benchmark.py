"""What the "load" suite says of a batch beside annotators is about a batch that was there."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from itertools import count, islice
from pathlib import Path
from typing import Any

import pytest
import requests
from web_server import Answer, WebServer, web_server

from benchmarks import load
from benchmarks.load import Measured, batches, places, tables
from benchmarks.service_metrics import mean_seconds, samples, stage_totals


@pytest.fixture
def service() -> Iterator[WebServer]:
    with web_server() as server:
        yield server


def tasks() -> Iterator[tuple[int, Path]]:
    return ((number, Path(f"{number}.png")) for number in count())


def answered(handler: Any) -> Answer:
    asked = json.loads(handler.body)["tasks"]
    return 200, {}, json.dumps({"results": [{"result": []} for _ in asked]}).encode()


def test_a_batch_goes_on_after_it_was_refused(service: WebServer) -> None:
    asked, reached = [], threading.Event()

    def answer(handler: Any) -> Answer:
        asked.append([task["id"] for task in json.loads(handler.body)["tasks"]])
        if len(asked) == 1:
            return 429, {"Retry-After": "0.01"}, b"{}"
        if len(asked) == 3:
            reached.set()
        return answered(handler)

    service.routes["/predict"] = answer
    measured = Measured()
    with batches(service.url, tasks(), measured):
        assert reached.wait(20)
    assert asked[:3] == [[0, 1, 2, 3], [0, 1, 2, 3], [4, 5, 6, 7]], "the same again, then the next"
    assert measured.batched == 4 * (len(asked) - 1)


def test_a_batch_that_died_ends_the_suite(service: WebServer) -> None:
    reached = threading.Event()

    def fail(_: Any) -> Answer:
        reached.set()
        return 500, {}, b"{}"

    service.routes["/predict"] = fail
    with pytest.raises(requests.HTTPError, match="500"), batches(service.url, tasks(), Measured()):
        assert reached.wait(20)
    service.routes["/predict"] = answered
    seen = threading.Event()

    def few() -> Iterator[tuple[int, Path]]:
        yield from islice(tasks(), load.IN_A_BATCH)
        seen.set()

    with pytest.raises(RuntimeError, match="raise BATCHED"), batches(service.url, few(), Measured()):
        assert seen.wait(20)


def test_what_stages_took_between_two_readings(service: WebServer) -> None:
    def told(looks: int, looked_s: float) -> bytes:
        name = "xsam_backend_stage_seconds"
        lines = [f"# TYPE {name} histogram"]
        for stage, seconds, times in (("look", looked_s, looks), ("answer", 1.0, 10)):
            lines.append(f'{name}_bucket{{stage="{stage}",le="+Inf"}} {times}')
            lines += [f'{name}_sum{{stage="{stage}"}} {seconds}', f'{name}_count{{stage="{stage}"}} {times}']
        return ("\n".join(lines) + "\n").encode()

    service.put("/metrics", told(2, 1.0))
    before = stage_totals(service.url)
    assert samples(service.url, "xsam_backend_stage_seconds_count", "stage") == {"look": 2, "answer": 10}
    service.put("/metrics", told(6, 2.0))
    assert mean_seconds(before, stage_totals(service.url)) == {"look": 0.25}, "what did not run has no mean"


def test_whether_the_rise_is_less_than_a_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "ANNOTATORS", {1: 10.0, 4: 10.0})
    stages = [{"look": 0.2, "answer": 0.1, "wait": 9.0}, {"look": 0.4, "answer": 0.1, "wait": 9.0}]
    alone = {number: Measured([0.1] * 20, 0, 0, 10.0) for number in (1, 4)}
    beside = {
        1: Measured([0.3] * 20, 0, 5, 10.0, stages),
        4: Measured([0.5] * 20, 2, 5, 10.0, stages),
    }
    clicks, rises = tables(alone, beside)
    assert [row[0] for row in clicks.rows] == [1, 1, 4, 4]
    assert [(row[0], row[2], row[4]) for row in rises.rows] == [(1, "look", "yes"), (4, "look", "no")]
    assert [row[1] for row in rises.rows] == pytest.approx([200, 400])
    assert [row[3] for row in rises.rows] == pytest.approx([300, 300]), "a wait is no stage"


def test_places_stay_those_that_were_clicked_before() -> None:
    assert places(3) == places(3) != places(4)
    assert len(set(places(3))) == load.PLACES
