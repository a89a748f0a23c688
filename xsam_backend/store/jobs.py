"""The queue of fine-tunings: one row per job, from the wish to the result.

It is a table of ours, and no library's queue, for two reasons. A queue that hands a task out and forgets it (huey)
loses the task of a killed worker; here a running job that nobody beats the heart of is claimed again. And what people
want to see of a job (stage, steps, time left, why it failed) has to be kept anyway.

Whoever claims a job counts its ``tries`` up, and may write to it only as long as that number is the row's: a worker
that was thought dead and wakes up finds out that its job was lost. Each statement is atomic on SQLite and PostgreSQL,
so several services may share one queue. Heartbeats are compared by the machines' clocks, so those should agree to
some seconds.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any, Literal

from sqlalchemy import Engine, and_, case, false, func, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session, aliased

from xsam_backend.errors import JobError
from xsam_backend.store.clock_jumps import TOO_FAR, is_past
from xsam_backend.store.database import transaction
from xsam_backend.store.tables import AnnotationRow, JobRow, ProjectRow

Reason = Literal["button", "count", "schedule", "command"]
State = Literal["queued", "running", "done", "failed", "cancelled"]

STALE_AFTER = timedelta(seconds=60)
"""A running job whose heart wasn't beaten for so long has lost its worker."""

PROJECT_GONE = "its project is gone from Label Studio"
"""Why jobs are cancelled that nobody cancelled."""

LONG_AGO = datetime(2000, 1, 1, tzinfo=timezone.utc)


class JobLost(JobError):
    """The job is another worker's now, or was ended: this one must let go of it."""


@dataclass(frozen=True)
class Worker:
    """A process that runs jobs.

    Attributes:
        place: the device on the machine; one job at a time runs there, and only one worker may say that it's there.
        started_at: with host and pid, tells the process from later ones of that number.
    """

    place: str
    host: str
    pid: int
    started_at: datetime


@dataclass(frozen=True)
class Job:
    """A job as it was read.

    Attributes:
        reason: what queued it.
        stage: what is being done, in words; ``step`` of ``steps`` of it are done (0 of 0: not counted).
        eta_s: how long the stage may still take, in seconds.
        cancel_wanted: the worker is to stop; it does so at its next step.
        host, pid, worker_started_at: the process that runs it, or ran it last.
        tries: how often it was claimed.
        error: why it failed, or was cancelled where nobody asked for that.
        result: what came of it: the model version it made, or why none was promoted.
        log_file: on ``host``.
    """

    id: int
    project_key: str
    reason: Reason
    state: State
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    stage: str
    step: int
    steps: int
    eta_s: float | None
    cancel_wanted: bool
    heartbeat_at: datetime | None
    host: str | None
    pid: int | None
    worker_started_at: datetime | None
    tries: int
    error: str | None
    result: Mapping[str, Any] | None
    log_file: str | None

    @property
    def is_over(self) -> bool:
        """Whether nothing more will come of it."""
        return self.state not in ("queued", "running")

    @property
    def is_abandoned(self) -> bool:
        """Whether its worker was killed, say, or the database restored: nobody beats its heart."""
        beaten = self.heartbeat_at or LONG_AGO
        return self.state == "running" and not -TOO_FAR <= _now() - beaten <= STALE_AFTER

    def as_json(self) -> dict[str, Any]:
        """All of it; moments as ISO 8601 in UTC."""
        return {
            name: value.isoformat(timespec="seconds") if isinstance(value, datetime) else value
            for name, value in self.__dict__.items()
        }


class Jobs:
    """Queues, hands out and ends jobs. Safe to use from several threads, processes and machines.

    Every method raises StoreError where the database cannot be read or written.

    Args:
        tries: a job is claimed so often at most; one whose workers all were killed fails then.
    """

    def __init__(self, engine: Engine, tries: int = 5) -> None:
        self._engine = engine
        self._tries = tries
        self._insert: Any = postgresql.insert if engine.dialect.name == "postgresql" else sqlite.insert

    def queue(self, project_key: str, reason: Reason) -> tuple[Job, bool]:
        """The queued job of a project, and whether it is new: while one is queued, it stands for all wishes."""
        insert = self._insert(JobRow).values(
            project_key=project_key,
            queued_for=project_key,
            reason=reason,
            state="queued",
            created_at=_now(),
            stage="",
            step=0,
            steps=0,
            cancel_wanted=False,
            tries=0,
        )
        with self._session() as session:
            while True:  # between the two statements, the one that is queued may be claimed
                keep = insert.on_conflict_do_nothing(index_elements=["queued_for"]).returning(JobRow.id)
                new_id = session.scalar(keep)
                row = session.scalars(select(JobRow).where(JobRow.queued_for == project_key)).first()
                if row is not None:
                    return _from_row(row), row.id == new_id

    def claim(self, worker: Worker) -> Job | None:
        """The oldest job that can run, which is ``worker``'s from now on; None if there is none.

        First come jobs that ran before and have lost their worker. A project's jobs run one after the other.
        """
        self._end_abandoned([worker.place])
        next_id = (
            select(JobRow.id)
            .where(self._claimable([worker.place]))
            .order_by(case((JobRow.place == worker.place, 0), (JobRow.state == "running", 1), else_=2), JobRow.id)
            .limit(1)
            .with_for_update(skip_locked=True)
        )
        claim = (
            update(JobRow)
            .where(JobRow.id == next_id.scalar_subquery())
            .values(
                state="running",
                queued_for=None,
                place=worker.place,
                started_at=func.coalesce(JobRow.started_at, _now()),
                heartbeat_at=_now(),
                host=worker.host,
                pid=worker.pid,
                worker_started_at=worker.started_at,
                tries=JobRow.tries + 1,
            )
            .returning(JobRow)
            .execution_options(synchronize_session=False)
        )
        with self._session() as session:
            row = session.scalars(claim).first()
            return _from_row(row) if row is not None else None

    def is_claimable(self, free_places: Collection[str]) -> bool:
        """Whether a worker would find something to do.

        Args:
            free_places: where no worker is, so that a job which ran there has lost its own.
        """
        with self._session() as session:
            wanted = or_(self._claimable(free_places), self._abandoned(free_places))
            return session.scalars(select(JobRow.id).where(wanted).limit(1)).first() is not None

    def beat(
        self, job: Job, *, stage: str | None = None, step: int = 0, steps: int = 0, eta_s: float | None = None
    ) -> bool:
        """Say that the job's worker lives and, with ``stage``, how far it is; whether it is to stop.

        Raises:
            JobLost: see there.
        """
        news: dict[str, Any] = {"heartbeat_at": _now()}
        if stage is not None:
            news |= {"stage": stage, "step": step, "steps": steps, "eta_s": eta_s}
        return self._update_own(job, news).cancel_wanted

    def note_log(self, job: Job, log_file: str) -> None:
        """Say where the log is. Raises JobLost."""
        self._update_own(job, {"log_file": log_file})

    def end(
        self,
        job: Job,
        state: Literal["done", "failed", "cancelled"],
        *,
        error: str | None = None,
        result: Mapping[str, Any] | None = None,
    ) -> Job:
        """What came of the job. Raises JobLost: then it isn't this worker's word that counts."""
        kept = None if result is None else json.dumps(result, separators=(",", ":"))
        why = JobRow.error if error is None else error  # of a cancel it may be known already
        news = {"error": why, "result": kept}
        return _from_row(self._update_own(job, {"state": state, **_OVER, "ended_at": _now(), **news}))

    def release(self, job: Job) -> None:
        """Leave the job to whoever claims it next, as if it hadn't been tried. Raises JobLost."""
        self._update_own(job, {"place": None, "heartbeat_at": LONG_AGO, "tries": JobRow.tries - 1})

    def cancel(self, job_id: int) -> Job:
        """End a job that is queued or has lost its worker; tell a running one to stop, which takes it a moment.

        Raises:
            JobError: there is no such job, or it is over.
        """
        ours = update(JobRow).where(JobRow.id == job_id)
        over = {"state": "cancelled", **_OVER, "ended_at": _now(), "cancel_wanted": True}
        with self._session() as session:
            session.execute(ours.where(or_(JobRow.state == "queued", self._abandoned([]))).values(**over))
            session.execute(ours.where(JobRow.state == "running").values(cancel_wanted=True))
        job = self.get(job_id)
        if job.is_over and not job.cancel_wanted:
            raise JobError(f"job {job_id} is {job.state}: only a queued or running one can be cancelled")
        return job

    def cancel_all(self, project_key: str, reason: str) -> list[Job]:
        """As ``cancel``, all jobs of a project that aren't over; they say why. How they are then."""
        ours = update(JobRow).where(JobRow.project_key == project_key).values(error=reason, cancel_wanted=True)
        over = {"state": "cancelled", **_OVER, "ended_at": _now()}
        with self._session() as session:
            ended = session.scalars(
                ours.where(or_(JobRow.state == "queued", self._abandoned([]))).values(**over).returning(JobRow.id)
            ).all()
            told = session.scalars(ours.where(JobRow.state == "running").returning(JobRow.id)).all()
        return [self.get(number) for number in (*ended, *told)]

    def get(self, job_id: int) -> Job:
        """One job.

        Raises:
            JobError: there is none of that number.
        """
        with self._session() as session:
            row = session.get(JobRow, job_id) if 0 <= job_id < 2**63 else None
            if row is None:
                raise JobError(f"there is no job {job_id}: `jobs list` has those that there are")
            return _from_row(row)

    def latest(self, limit: int = 50) -> list[Job]:
        """The jobs that were queued last, the latest first."""
        with self._session() as session:
            return [_from_row(row) for row in session.scalars(select(JobRow).order_by(JobRow.id.desc()).limit(limit))]

    def over_before(self, moment: datetime) -> list[int]:
        """Numbers of the jobs that ended before a moment."""
        over = select(JobRow.id).where(JobRow.state.not_in(("queued", "running")), JobRow.ended_at < moment)
        with self._session() as session:
            return list(session.scalars(over.order_by(JobRow.id)))

    def count(self) -> dict[str, int]:
        """How many jobs there are, by state."""
        with self._session() as session:
            rows = session.execute(select(JobRow.state, func.count()).group_by(JobRow.state))
            return {state: number for state, number in rows}

    def news(self) -> dict[str, int]:
        """How many annotations were accepted, or changed, since each project's last job was begun or cancelled.

        Projects that are gone from Label Studio have no news.
        """
        # By number, not by time: a job of a clock that was ahead must not be the last for long.
        begun = func.coalesce(JobRow.started_at, JobRow.ended_at, JobRow.created_at).label("at")
        newest = select(func.max(JobRow.id)).group_by(JobRow.project_key)
        last = select(JobRow.project_key, begun).where(JobRow.id.in_(newest)).subquery()
        now = _now()
        gone = select(ProjectRow.key).where(ProjectRow.gone_at.is_not(None))
        wanted = (
            select(AnnotationRow.project_key, func.count())
            .outerjoin(last, last.c.project_key == AnnotationRow.project_key)
            .where(AnnotationRow.state == "accepted", AnnotationRow.project_key.not_in(gone))
            .where(or_(last.c.at.is_(None), AnnotationRow.kept_at > last.c.at, last.c.at > now + TOO_FAR))
            # Else they would be news again and again, until that moment.
            .where(AnnotationRow.kept_at <= now + TOO_FAR)
            .group_by(AnnotationRow.project_key)
        )
        with self._session() as session:
            return {project: number for project, number in session.execute(wanted)}

    def _claimable(self, free_places: Collection[str]) -> Any:
        other = aliased(JobRow)
        is_free = ~select(other.id).where(other.project_key == JobRow.project_key, other.state == "running").exists()
        goes_on = and_(self._abandoned(free_places), JobRow.cancel_wanted.is_(False), JobRow.tries < self._tries)
        return or_(and_(JobRow.state == "queued", is_free), goes_on)

    def _abandoned(self, free_places: Collection[str]) -> Any:
        in_place = JobRow.place.in_(free_places) if free_places else false()
        return and_(
            JobRow.state == "running", or_(is_past(JobRow.heartbeat_at, _now() - STALE_AFTER, _now()), in_place)
        )

    def _end_abandoned(self, free_places: Collection[str]) -> None:
        """Jobs without a worker that nobody is to go on with: their stop was wanted, or tried often enough."""
        tired = (
            f"given up after {self._tries} tries: each time the process that ran it was killed. Its log says how far "
            "it came; often the machine had no memory left"
        )
        end = (
            update(JobRow)
            .where(self._abandoned(free_places), or_(JobRow.cancel_wanted.is_(True), JobRow.tries >= self._tries))
            .values(
                state=case((JobRow.cancel_wanted.is_(True), "cancelled"), else_="failed"),
                error=case((JobRow.cancel_wanted.is_(True), JobRow.error), else_=tired),
                ended_at=_now(),
                **_OVER,
            )
        )
        with self._session() as session:
            session.execute(end.execution_options(synchronize_session=False))

    def _update_own(self, job: Job, news: Mapping[str, Any]) -> JobRow:
        own = (JobRow.id == job.id, JobRow.state == "running", JobRow.tries == job.tries)
        wanted = update(JobRow).where(*own).values(**news).returning(JobRow)
        with self._session() as session:
            row = session.scalars(wanted.execution_options(synchronize_session=False)).first()
            if row is None:
                raise JobLost(f"job {job.id} isn't this worker's any more: another has it, or it ended")
            return row

    def _session(self) -> AbstractContextManager[Session]:
        return transaction(self._engine, "the queue of jobs")


_OVER: dict[str, Any] = {"queued_for": None, "place": None, "eta_s": None}
"""What an ended job holds no more, so that the next one can have it."""


def _from_row(row: JobRow) -> Job:
    values = {name: getattr(row, name) for name in Job.__dataclass_fields__}
    return Job(**values | {"result": None if row.result is None else json.loads(row.result)})


def _now() -> datetime:
    return datetime.now(timezone.utc)
