from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timezone

import pytest
from sqlalchemy import Engine

from xsam_backend.errors import StoreError
from xsam_backend.store.predictions import LoggedReason, LoggedRegion, PredictionLog

REGION = LoggedRegion(
    region_id="abc",
    project_key="local/1.2",
    task_id="114",
    model_version="tiny-1",
    from_name="brush",
    region_type="brushlabels",
    label="cat",
    score=0.87,
    interactive=True,
    prompt={"task": "intseg", "regions": ["click 3,4"]},
    value={"format": "rle", "rle": [0, 1, 2] * 1000, "brushlabels": ["cat"]},
    image_sha256="f" * 64,
    image_size_hw=(240, 320),
    created_at=datetime(2026, 11, 22, 12, 0, 0, 123456, tzinfo=timezone.utc),
)


WHY = LoggedReason(
    project_key="local/1.2",
    task_id="114",
    model_version="tiny-1",
    from_name="brush",
    prompt={"task": "ovseg", "phrases": ["cup", "unicorn"]},
    reason="'unicorn': nothing else scored 0.30 or more",
    image_sha256="f" * 64,
    image_size_hw=(240, 320),
    created_at=REGION.created_at,
)


@pytest.fixture
def log(opened: Callable[..., Engine]) -> PredictionLog:
    return PredictionLog(opened("store"))


def test_a_region_comes_back_as_it_was(log: PredictionLog) -> None:
    bare = replace(REGION, region_id="bare", project_key=None, task_id=None, label=None, score=None)
    log.add([REGION, bare])
    assert log.find(["abc", "bare", "drawn by hand"]) == {"abc": REGION, "bare": bare}


def test_many_ids_can_be_asked_at_once(log: PredictionLog) -> None:
    log.add([replace(REGION, region_id=str(number)) for number in range(1200)])
    assert len(log.find(str(number) for number in range(2000))) == 1200
    assert log.count() == {"tiny-1": 1200}


def test_all_or_none(log: PredictionLog) -> None:
    log.add([REGION])
    with pytest.raises(StoreError, match=r"cannot read or write 2 records") as error:
        log.add([replace(REGION, region_id="new"), REGION])
    assert log.find(["new"]) == {}
    assert len(str(error.value)) < 300, "the message must not repeat the masks"


def test_why_nothing_was_found_is_kept_beside_the_regions(log: PredictionLog) -> None:
    later = replace(WHY, task_id=None, reason="nothing scored 0.30 or more")
    log.add([REGION, WHY])
    log.add([later, replace(WHY, project_key=None)])
    assert log.reasons("local/1.2") == [later, WHY]
    assert log.reasons("local/1.2", most=1) == [later]
    assert log.reasons(None) == [replace(WHY, project_key=None)]
    assert log.count() == {"tiny-1": 1}, "of regions"
    with pytest.raises(StoreError, match="2 records of the prediction log"):
        log.add([WHY, REGION])
    assert len(log.reasons("local/1.2")) == 2, "all or none"


def test_moments_need_a_time_zone(log: PredictionLog) -> None:
    with pytest.raises(StoreError, match=r"time zone"):
        log.add([replace(REGION, created_at=datetime(2026, 1, 1))])


def test_nothing_to_log_is_no_write(log: PredictionLog) -> None:
    log.add([])
    assert log.count() == {}
