"""The queue of bulk pre-labelling: one row per task that is too much for a reply, from the request to its end.

Only numbers are kept. A task's picture, and the label config, are read from Label Studio when the task's turn comes:
they are as they are then, signed addresses stay off this disk, and what somebody else claims of a task counts for
nothing.

Whoever takes a row, a request or a worker, counts its ``tries`` up and leaves a ``holder`` of its own on it; only
that one may say what came of it. A row that was taken and is due again has lost its holder. Each statement is atomic
on SQLite and PostgreSQL, so several services may share the queue; their clocks should agree to some seconds.

What is over stays for a while, and isn't handed to a request that asks for it again: Label Studio chose the request's
tasks some time before, and may have got a prediction since. It waits for the worker then, which looks.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any, cast

from sqlalchemy import Engine, Table, and_, bindparam, case, delete, func, not_, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session, aliased

from xsam_backend.store.bulk_progress import STATES, Over, Progress, State
from xsam_backend.store.clock_jumps import is_past
from xsam_backend.store.database import transaction
from xsam_backend.store.tables import BulkTaskRow, UtcDateTime

LATELY = timedelta(minutes=10)
"""Label Studio may have chosen a request's tasks so long before it sends them; it waits 100 s for many things."""

LONG_AGO = datetime(2000, 1, 1, tzinfo=timezone.utc)

RATE_OVER = timedelta(minutes=5)
"""A rate is that of the last minutes."""


@dataclass(frozen=True)
class BulkTask:
    """A task that a worker holds.

    Attributes:
        model_version: what answers the project's button when it was pressed.
        tries: how often it was taken, this time included.
    """

    project_key: str
    task_id: int
    model_version: str
    holder: str
    tries: int


@dataclass(frozen=True)
class Reserved:
    """Tasks of a request. ``mine`` are held by it; ``others`` are queued already and left where they are."""

    holder: str
    mine: frozenset[int]
    others: frozenset[int]


@dataclass(frozen=True)
class Outcome:
    """What came of a task that was held.

    Attributes:
        due_at: when to look at it again; None where it is over.
        counts: False where it wasn't tried in earnest.
    """

    state: State
    due_at: datetime | None = None
    error: str | None = None
    counts: bool = True


class BulkTasks:
    """Reserves, hands out and ends tasks. Safe to use from several threads, processes and machines.

    Every method raises StoreError where the database cannot be read or written.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._insert: Any = postgresql.insert if engine.dialect.name == "postgresql" else sqlite.insert

    def reserve(
        self,
        project_key: str,
        task_ids: Collection[int],
        model_version: str,
        until: datetime,
        *,
        queued_only: bool = False,
    ) -> Reserved:
        """Hold tasks for a request until it settles them, at the latest until ``until``.

        A task that is queued already stays as it is, unless nobody has it and it is for another version: the newest
        request counts.
        One that was begun and is over since a moment ago waits from now on. Where nothing is left to do of a project,
        its counts begin anew, apart from these.

        Args:
            queued_only: hold what waits in the queue (for whatever version) and was never begun; add nothing.
        """
        holder = uuid.uuid4().hex
        taken = {"state": "in reply", "holder": holder, "due_at": until, "model_version": model_version}
        wanted = sorted(set(task_ids))
        with self._session() as session:
            if queued_only:
                ours = update(BulkTaskRow).where(
                    BulkTaskRow.project_key == project_key, BulkTaskRow.task_id.in_(wanted)
                )
                held = ours.where(BulkTaskRow.state == "waiting", BulkTaskRow.tries == 0)
                session.execute(held.values(**taken, tries=BulkTaskRow.tries + 1))
                again = {"state": "waiting", "due_at": _now(), "model_version": model_version, "tries": 1}
                session.execute(ours.where(_is_over_lately()).values(**again, error=None, ended_at=None))
            elif wanted:
                self._forget_what_is_over(session, project_key)
                fresh = {**taken, "project_key": project_key, "tries": 1, "error": None, "ended_at": None}
                session.execute(self._take_over(), [{**fresh, "task_id": task_id} for task_id in wanted])
            known = select(BulkTaskRow.task_id, BulkTaskRow.holder).where(
                BulkTaskRow.project_key == project_key, BulkTaskRow.due_at.is_not(None)
            )
            if len(wanted) <= _FEW:
                known = known.where(BulkTaskRow.task_id.in_(wanted))
            held_by = {task_id: whose for task_id, whose in session.execute(known)}
        mine = {task_id for task_id, whose in held_by.items() if whose == holder}
        return Reserved(holder, frozenset(mine), frozenset(set(wanted) & set(held_by) - mine))

    def settle(self, holder: str, outcomes: Mapping[int, Outcome]) -> None:
        """Say what came of tasks that ``holder`` has; all others that it has wait from now on, as if never held."""
        table = cast(Table, BulkTaskRow.__table__)
        now = _now()
        told = (
            update(table)
            .where(table.c.holder == holder, table.c.task_id == bindparam("task"))
            .values(
                state=bindparam("new_state"),
                due_at=bindparam("new_due_at"),
                error=bindparam("new_error"),
                ended_at=bindparam("new_ended_at"),
                tries=table.c.tries - bindparam("given_back"),
                holder=None,
            )
        )
        rows = [
            {
                "task": task_id,
                "new_state": outcome.state,
                "new_due_at": outcome.due_at,
                "new_error": outcome.error,
                "new_ended_at": now if outcome.due_at is None else None,
                "given_back": 0 if outcome.counts else 1,
            }
            for task_id, outcome in outcomes.items()
        ]
        rest = update(BulkTaskRow).where(BulkTaskRow.holder == holder)
        with self._session() as session:
            if rows:
                session.connection().execute(told, rows)
            session.execute(rest.values(state="waiting", holder=None, due_at=now, tries=BulkTaskRow.tries - 1))

    def claim(self, instance: str, until: datetime) -> BulkTask | None:
        """The task that is due longest, held until ``until``; None if none is. Those tried before come later.

        Args:
            instance: of this Label Studio's projects only; see :class:`~xsam_backend.store.projects.ProjectKey`.
        """
        next_id = self._due(instance).with_only_columns(BulkTaskRow.id).limit(1).with_for_update(skip_locked=True)
        claim = (
            update(BulkTaskRow)
            .where(BulkTaskRow.id == next_id.scalar_subquery())
            .values(state="working", holder=uuid.uuid4().hex, due_at=until, tries=BulkTaskRow.tries + 1)
            .returning(BulkTaskRow)
            .execution_options(synchronize_session=False)
        )
        with self._session() as session:
            row = session.scalars(claim).first()
            return None if row is None else BulkTask(*(getattr(row, name) for name in BulkTask.__dataclass_fields__))

    def upcoming(self, project_key: str, limit: int) -> list[int]:
        """Tasks of a project that are due and were never taken, the next ones first."""
        instance = project_key.rpartition("/")[0]
        wanted = self._due(instance).where(BulkTaskRow.project_key == project_key, BulkTaskRow.tries == 0)
        with self._session() as session:
            return list(session.scalars(wanted.with_only_columns(BulkTaskRow.task_id).limit(limit)))

    def end_project(self, project_key: str, state: Over, error: str | None = None) -> int:
        """End all tasks of a project that aren't over, whoever holds them; how many these were."""
        ours = update(BulkTaskRow).where(BulkTaskRow.project_key == project_key, BulkTaskRow.due_at.is_not(None))
        over = {"state": state, "due_at": None, "holder": None, "error": error, "ended_at": _now()}
        with self._session() as session:
            ended: Any = session.execute(ours.values(**over).execution_options(synchronize_session=False))
            return int(ended.rowcount)

    def recover(self) -> int:
        """Free what a process that is no more has held; how many these were. For the only process of a database."""
        held = update(BulkTaskRow).where(BulkTaskRow.holder.is_not(None))
        with self._session() as session:
            freed: Any = session.execute(held.values(state="waiting", holder=None, due_at=_now()))
            return int(freed.rowcount)

    def progress(self) -> list[Progress]:
        """Of every project that has tasks here, by key."""
        since = _now() - RATE_OVER
        counted = select(BulkTaskRow.project_key, BulkTaskRow.state, func.count()).group_by(
            BulkTaskRow.project_key, BulkTaskRow.state
        )
        lately = (
            select(BulkTaskRow.project_key, func.count(), func.min(BulkTaskRow.ended_at))
            .where(BulkTaskRow.state == "done", not_(is_past(BulkTaskRow.ended_at, since, _now())))
            .group_by(BulkTaskRow.project_key)
        )
        with self._session() as session:
            by_project: dict[str, dict[str, int]] = {}
            for key, state, number in session.execute(counted):
                by_project.setdefault(key, dict.fromkeys(STATES, 0))[state] = number
            rates = {key: _rate(number, first) for key, number, first in session.execute(lately)}
        return [Progress(key, by_project[key], rates.get(key, 0.0)) for key in sorted(by_project)]

    def count(self) -> dict[str, int]:
        """How many tasks there are, by state."""
        with self._session() as session:
            rows = session.execute(select(BulkTaskRow.state, func.count()).group_by(BulkTaskRow.state))
            return {state: number for state, number in rows}

    def troubles(self, project_key: str, limit: int = 50) -> list[tuple[int, str, str]]:
        """Tasks that failed or are to be tried again, with state and reason; the failed ones first."""
        wanted = (
            select(BulkTaskRow.task_id, BulkTaskRow.state, BulkTaskRow.error)
            .where(BulkTaskRow.project_key == project_key, BulkTaskRow.error.is_not(None))
            .where(BulkTaskRow.state.in_(("failed", "waiting")))
            .order_by(BulkTaskRow.state, BulkTaskRow.task_id)
            .limit(limit)
        )
        with self._session() as session:
            return [(task_id, state, error or "") for task_id, state, error in session.execute(wanted)]

    def _due(self, instance: str) -> Any:
        ours = BulkTaskRow.project_key.startswith(f"{instance}/", autoescape=True)
        due = select(BulkTaskRow).where(is_past(BulkTaskRow.due_at, _now(), _now()), ours)
        return due.order_by(BulkTaskRow.due_at, BulkTaskRow.id)

    def _take_over(self) -> Any:
        """Insert; or take what is over or nobody's and of another version; but let wait what is over lately."""
        insert = self._insert(BulkTaskRow)
        new, lately = insert.excluded, _is_over_lately()
        taken = {name: new[name] for name in ("model_version", "tries", "error", "ended_at")}
        other = and_(BulkTaskRow.holder.is_(None), BulkTaskRow.model_version != new.model_version)
        return insert.on_conflict_do_update(
            index_elements=["project_key", "task_id"],
            set_={
                **taken,
                "state": case((lately, "waiting"), else_=new.state),
                "holder": case((lately, None), else_=new.holder),
                "due_at": case((lately, _now()), else_=new.due_at),
            },
            where=or_(BulkTaskRow.due_at.is_(None), other),
        )

    def _forget_what_is_over(self, session: Session, project_key: str) -> None:
        other = aliased(BulkTaskRow)
        is_busy = select(other.id).where(other.project_key == project_key, other.due_at.is_not(None)).exists()
        over = delete(BulkTaskRow).where(BulkTaskRow.project_key == project_key, ~is_busy, not_(_is_over_lately()))
        session.execute(over.execution_options(synchronize_session=False))

    def _session(self) -> AbstractContextManager[Session]:
        return transaction(self._engine, "the queue of bulk pre-labelling")


_FEW = 500
"""Databases limit the length of an IN list."""


def _is_over_lately() -> Any:
    """Of rows: begun, and over since a moment ago. Never unknown, so that it can be negated."""
    ended_at = func.coalesce(BulkTaskRow.ended_at, LONG_AGO, type_=UtcDateTime())
    is_late = not_(is_past(ended_at, _now() - LATELY, _now()))
    return and_(BulkTaskRow.due_at.is_(None), BulkTaskRow.tries > 0, is_late)


def _rate(number: int, first: datetime) -> float:
    """Tasks a second, from the first of them until now."""
    return (number - 1) / max((_now() - first).total_seconds(), 0.001)


def _now() -> datetime:
    return datetime.now(timezone.utc)
