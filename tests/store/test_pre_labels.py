"""The last prediction of each task, whatever order they are written in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta, timezone

import numpy as np
import pytest
from sqlalchemy import Engine

from xsam_backend.errors import StoreError
from xsam_backend.store.pre_labels import PreLabel, PreLabels

AT = datetime(2026, 11, 22, 12, tzinfo=timezone.utc)
FIRST = PreLabel("local/1.2", 7, "tiny-1+0000000a", "tiny-1", 0.625, np.array([0.6, -0.8], np.float32), AT)


@pytest.fixture
def pre_labels(opened: Callable[..., Engine]) -> PreLabels:
    return PreLabels(opened("store"))


def test_it_comes_back_as_it_was(pre_labels: PreLabels) -> None:
    pre_labels.keep(FIRST)
    pre_labels.keep(replace(FIRST, project_key="local/2.2"))
    (found,) = pre_labels.of_project("local/1.2")
    np.testing.assert_allclose(found.vector, FIRST.vector, atol=1e-3)
    assert found.vector.dtype == np.float32
    assert replace(found, vector=FIRST.vector).__dict__ == FIRST.__dict__


def test_the_newest_counts_in_whatever_order_they_come(pre_labels: PreLabels) -> None:
    later = replace(FIRST, score=0.25, model_version="tiny-1", predicted_at=AT + timedelta(seconds=1))
    for pre_label in (FIRST, later, FIRST):
        pre_labels.keep(pre_label)
    (found,) = pre_labels.of_project("local/1.2")
    assert (found.score, found.model_version, found.predicted_at) == (0.25, "tiny-1", later.predicted_at)


def test_tasks_come_by_number(pre_labels: PreLabels) -> None:
    for number in (30, 4, 200):
        pre_labels.keep(replace(FIRST, task_id=number))
    assert [one.task_id for one in pre_labels.of_project("local/1.2")] == [4, 30, 200]
    assert pre_labels.of_project("local/9.9") == []


def test_what_cannot_be_kept_is_said(pre_labels: PreLabels) -> None:
    with pytest.raises(StoreError, match=r"cannot read or write what was predicted for task 7"):
        pre_labels.keep(replace(FIRST, predicted_at=datetime(2026, 1, 1)))
