"""What queues fine-tunings without anybody asking: the number of new annotations, and a schedule."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

from apscheduler.triggers.cron import CronTrigger

from xsam_backend.errors import SettingsError
from xsam_backend.store.clock_jumps import TOO_FAR
from xsam_backend.store.jobs import Job, Jobs


class Schedule:
    """Moments that a cron expression names: minute, hour, day, month, weekday, in the machine's local time.

    APScheduler reads the expression and knows when the clocks change. Its scheduler isn't used: jobs are rows of
    ours, see ``store.jobs``.

    Raises:
        SettingsError: it is no such expression.
    """

    def __init__(self, expression: str) -> None:
        words = "train_schedule: expected a cron expression of five fields, such as '0 3 * * mon-fri'"
        if any(character.isdigit() for character in "".join(expression.split()[4:5]).partition("/")[0]):
            raise SettingsError(f"{words}, with weekdays by name (some count them from Sunday), got {expression!r}")
        try:
            self._trigger = CronTrigger.from_crontab(expression)
        except ValueError as error:
            raise SettingsError(f"{words}, got {expression!r} ({error})") from error

    def after(self, moment: datetime) -> datetime | None:
        """The first of them that is later than ``moment``; None if there is none."""
        found: datetime | None = self._trigger.get_next_fire_time(None, moment + timedelta(microseconds=1))
        return found


class Wishes:
    """Queues what is due. Several services may do so with one queue: what one has queued is no news to the others.

    Args:
        every: so many new annotations of a project are enough; 0: numbers don't count.
        schedule: None: times don't count. A moment at which no service runs is passed over.
    """

    def __init__(self, jobs: Jobs, every: int = 0, schedule: Schedule | None = None) -> None:
        self._jobs = jobs
        self._every = every
        self._schedule = schedule
        self._looked_at = datetime.now(timezone.utc)

    def queue_due(self, now: datetime | None = None) -> list[Job]:
        """Queue what is due by now (UTC); what is new of it.

        Raises:
            StoreError: the database can't be read or written; what is due stays so.
        """
        now = now or datetime.now(timezone.utc)
        if self._looked_at > now + TOO_FAR:  # by a clock that was ahead: the next moment would be long after it
            self._looked_at = now
        due_at = self._schedule.after(self._looked_at) if self._schedule else None
        is_time = due_at is not None and due_at <= now
        queued = []
        if self._every or is_time:
            for project, number in self._jobs.news().items():
                if is_time or number >= self._every > 0:
                    job, is_new = self._jobs.queue(project, "schedule" if is_time else "count")
                    queued += [job] if is_new else []
        if is_time:
            self._looked_at = now
        return queued
