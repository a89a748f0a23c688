from __future__ import annotations

import logging

import numpy as np
import pytest
from fake_predictor import FakePredictor

from xsam_backend.errors import ImageError, StoreError
from xsam_backend.inference.engine import Asker, Engine
from xsam_backend.inference.picture_memory import Budget, PictureMemory
from xsam_backend.inference.scheduling import Priority
from xsam_backend.prompts import Point, Prompt, Task
from xsam_backend.server.app import STATUS_OF
from xsam_backend.server.monitor import CALLERS_ERRORS, Monitor


def test_a_callers_mistake_is_a_line_without_traceback(caplog: pytest.LogCaptureFixture) -> None:
    monitor = Monitor()
    problem = monitor.problem(ImageError("no such file"), "task 5")
    assert (problem.kind, problem.message, problem.error_id) == ("ImageError", "no such file", "")
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert record.exc_info is None


def test_our_fault_has_an_id_that_finds_the_traceback(caplog: pytest.LogCaptureFixture) -> None:
    try:
        raise KeyError("inner detail")
    except KeyError as error:
        problem = Monitor().problem(error, "task 5")
    assert "inner detail" not in problem.message
    (record,) = caplog.records
    assert problem.error_id in record.getMessage()
    assert record.exc_info is not None


def test_a_store_that_cannot_be_written_is_our_fault_in_its_own_words(caplog: pytest.LogCaptureFixture) -> None:
    problem = Monitor().problem(StoreError("the disk is full"), "project 21.17")
    assert problem.message == "the disk is full"
    assert problem.error_id
    (record,) = caplog.records
    assert problem.error_id in record.getMessage()
    assert record.exc_info is not None


def test_every_error_with_a_status_of_its_own_is_a_callers() -> None:
    assert set(STATUS_OF) == set(CALLERS_ERRORS)


def test_the_last_problems_are_kept_latest_first_and_all_are_counted() -> None:
    monitor = Monitor(keep=3)
    for number in range(5):
        monitor.problem(ImageError(str(number)), "task")
    assert [problem.message for problem in monitor.last_problems] == ["4", "3", "2"]
    assert b'xsam_backend_problems_total{kind="ImageError"} 5.0' in monitor.metrics()


def test_a_note_is_said_once_and_newer_words_replace_it() -> None:
    monitor = Monitor()
    for message in ("set it", "set it", "set it to x", "set it to x"):
        monitor.note("LabelStudioUrlMissing", "setup", message)
    assert [problem.message for problem in monitor.last_problems] == ["set it to x"]
    assert b'xsam_backend_problems_total{kind="LabelStudioUrlMissing"} 2.0' in monitor.metrics()


def test_the_engines_numbers_are_in_the_metrics() -> None:
    monitor = Monitor()
    engine = Engine(FakePredictor(), PictureMemory(Budget(200, 2000, 20_000)), wait_limit_s=5)
    monitor.watch(engine)
    prompt = Prompt(Task.INTERACTIVE, (Point(1, 1),))
    for _ in range(3):
        engine.answer(np.zeros((9, 9, 3), np.uint8), "a", [prompt], Asker(Priority.BATCH))
    text = monitor.metrics().decode()
    assert 'xsam_backend_cache_hits_total{layer="states"} 2.0' in text
    assert 'xsam_backend_cache_misses_total{layer="outputs"} 1.0' in text
    assert 'xsam_backend_cache_bytes{layer="prefixes"} 10000.0' in text
    assert 'xsam_backend_cache_capacity_bytes{layer="prefixes"} 20000.0' in text
    assert 'xsam_backend_cache_entries{layer="states"} 1.0' in text


def test_what_lasted_is_over_when_it_is() -> None:
    """And when it comes again, it is news."""
    monitor = Monitor()
    monitor.note("LabelStudioError", "Label Studio", "cannot be reached")
    monitor.note("Lost", "elsewhere", "something")
    monitor.over("Label Studio")
    elsewhere, there = monitor.last_problems
    assert (there.over_at is not None, elsewhere.over_at) == (True, None)
    monitor.note("LabelStudioError", "Label Studio", "cannot be reached")
    assert [(one.where, one.over_at) for one in monitor.last_problems] == [
        ("Label Studio", None),
        ("elsewhere", None),
    ]
