"""What queues fine-tunings by itself: numbers and times."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from itertools import pairwise

import pytest
from learning_parts import KEY
from sqlalchemy import Engine

from xsam_backend.errors import SettingsError
from xsam_backend.learning.wishes import Schedule, Wishes
from xsam_backend.store.annotations import Annotations, KeptAnnotation
from xsam_backend.store.jobs import Jobs, Worker

WORKER = Worker("here/cpu", "here", 1, datetime(2026, 11, 28, tzinfo=timezone.utc))
AT = datetime(2026, 11, 22, 12, tzinfo=timezone.utc)


@pytest.fixture
def jobs(engines: dict[str, Engine]) -> Jobs:
    return Jobs(engines["store"])


@pytest.fixture
def annotations(engines: dict[str, Engine]) -> Annotations:
    return Annotations(engines["store"])


def accept(annotations: Annotations, *numbers: int) -> None:
    annotations.keep([KeptAnnotation(KEY, number, number, "accepted", AT) for number in numbers])


def test_every_so_many_annotations_are_a_job(jobs: Jobs, annotations: Annotations) -> None:
    wishes = Wishes(jobs, every=3)
    accept(annotations, 1, 2)
    assert wishes.queue_due() == []
    accept(annotations, 3)
    (job,) = wishes.queue_due()
    assert (job.project_key, job.reason, job.state) == (KEY, "count", "queued")
    assert wishes.queue_due() == [], "it stands for these three"
    claimed = jobs.claim(WORKER)
    assert claimed is not None
    accept(annotations, 4, 5)
    assert wishes.queue_due() == []
    accept(annotations, 6)
    assert len(wishes.queue_due()) == 1, "three more, while the first job runs"


def test_without_settings_nothing_is_queued(jobs: Jobs, annotations: Annotations) -> None:
    accept(annotations, *range(100))
    assert Wishes(jobs).queue_due() == []


def test_a_schedule_queues_projects_with_news_at_its_times(jobs: Jobs, annotations: Annotations) -> None:
    hourly = Wishes(jobs, schedule=Schedule("0 * * * *"))
    others = Wishes(jobs, schedule=Schedule("0 * * * *"))
    accept(annotations, 1)
    now = datetime.now(timezone.utc)
    hour = now.replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)
    assert hourly.queue_due(hour - timedelta(seconds=1)) == []
    (job,) = hourly.queue_due(hour + timedelta(seconds=4))
    assert job.reason == "schedule"
    assert hourly.queue_due(hour + timedelta(seconds=9)) == [], "one time, one job"
    claimed = jobs.claim(WORKER)
    assert claimed is not None
    assert others.queue_due(hour + timedelta(seconds=5)) == [], "another service: there is no news since that job"
    jobs.end(claimed, "done")
    assert hourly.queue_due(hour + timedelta(hours=1)) == [], "nothing new to learn from"
    accept(annotations, 2)
    assert hourly.queue_due(hour + timedelta(hours=1, minutes=30)) == [], "not before the next time"
    assert len(hourly.queue_due(hour + timedelta(hours=2))) == 1


@pytest.mark.parametrize(
    ("expression", "weekdays"),
    [("0 3 * * mon-fri", {0, 1, 2, 3, 4}), ("0 3 * * sun", {6}), ("0 3 * * *", set(range(7)))],
)
def test_weekdays_are_what_they_are_called(expression: str, weekdays: set[int]) -> None:
    schedule = Schedule(expression)
    moments = [datetime(2026, 11, 1, tzinfo=timezone.utc)]
    for _ in range(14):
        found = schedule.after(moments[-1])
        assert found is not None
        moments.append(found + timedelta(minutes=1))
    assert {moment.weekday() for moment in moments[1:]} == weekdays
    assert all(before < after for before, after in pairwise(moments))
    assert {(moment.hour, moment.minute) for moment in moments[1:]} == {(3, 1)}


@pytest.mark.parametrize(
    "expression",
    ["", "daily", "* * * *", "0 3 * * * *", "61 * * * *", "0 3 * * 0", "0 3 * * 1-5", "0 3 * * 7", "0 3 x * *"],
)
def test_what_is_no_cron_expression_is_said(expression: str) -> None:
    """Weekdays by number too: APScheduler counts from Monday, cron from Sunday."""
    with pytest.raises(SettingsError, match=r"train_schedule: expected a cron expression of five fields"):
        Schedule(expression)
