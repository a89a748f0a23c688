"""Tasks that were annotated, and which kept picture each of their addresses is."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta, timezone
from typing import Any

from sqlalchemy import Engine, func, select, update
from sqlalchemy.dialects import postgresql, sqlite

from xsam_backend.store.clock_jumps import is_past
from xsam_backend.store.database import transaction
from xsam_backend.store.tables import TaskRow

FIRST_RETRY_S = 5.0
LONGEST_RETRY_S = 6 * 3600.0
"""Pictures that couldn't be copied are tried again: twice as late each time, up to this."""


@dataclass(frozen=True)
class TaskPicture:
    """One picture of a task.

    Attributes:
        to_name: the Image tag that shows it.
        item_index: its place in a list of pictures; None where the tag shows one.
        address: where it is to be had; None once it was copied, since addresses may hold signatures.
        sha256: of the kept picture; None until it was copied.
        size_hw: (height, width) in pixels, EXIF orientation applied; with ``sha256``.
        problem: why it couldn't be copied, at the last try.
    """

    to_name: str
    item_index: int | None
    address: str | None
    sha256: str | None = None
    size_hw: tuple[int, int] | None = None
    problem: str = ""


@dataclass(frozen=True)
class KeptTask:
    """A task and its pictures."""

    project_key: str
    task_id: int
    pictures: tuple[TaskPicture, ...]
    tries: int = 0


class Tasks:
    """Reads and writes tasks. Safe to use from several threads and processes."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._insert: Any = postgresql.insert if engine.dialect.name == "postgresql" else sqlite.insert

    def know(self, project_key: str, task_id: int, pictures: Sequence[TaskPicture]) -> None:
        """Keep a task's addresses. Of a known task, what was copied stays, as it was labelled; what still lacks is to
        be had from where the task says now.

        Raises:
            StoreError: the database cannot be written.
        """
        now = datetime.now(timezone.utc)
        insert = self._insert(TaskRow).values(
            project_key=project_key,
            task_id=task_id,
            **_columns(pictures),
            tries=0,
            next_try_at=now,
            deleted=False,
            first_seen_at=now,
        )
        self._write(insert.on_conflict_do_nothing(index_elements=["project_key", "task_id"]))
        self._readdress(project_key, task_id, pictures)

    def _readdress(self, project_key: str, task_id: int, pictures: Sequence[TaskPicture]) -> None:
        where = (TaskRow.project_key == project_key, TaskRow.task_id == task_id, TaskRow.lacks_pictures.is_(True))
        with transaction(self._engine, "the tasks") as session:
            row = session.scalars(select(TaskRow).where(*where)).one_or_none()
        if row is None:
            return
        kept = {(one.to_name, one.item_index): one for one in _from_row(row).pictures}
        now = [
            old
            if (old := kept.get((new.to_name, new.item_index))) and (old.sha256 or old.address == new.address)
            else new
            for new in pictures
        ]
        if tuple(now) == tuple(kept.values()):
            return
        news = {**_columns(now), "tries": 0, "next_try_at": datetime.now(timezone.utc)}
        # Unless a copy was noted meanwhile: then there is less to be told, and the next sync does.
        self._write(update(TaskRow).where(*where, TaskRow.pictures == row.pictures).values(**news))

    def copied(self, task: KeptTask, pictures: Sequence[TaskPicture]) -> None:
        """Note what a try to copy its pictures has brought, unless another service has copied all meanwhile."""
        delay_s = min(FIRST_RETRY_S * 2.0 ** min(task.tries, 30), LONGEST_RETRY_S)
        news = {
            **_columns(pictures),
            "tries": task.tries + 1,
            "next_try_at": datetime.now(timezone.utc) + timedelta(seconds=delay_s),
        }
        where = (TaskRow.project_key == task.project_key, TaskRow.task_id == task.task_id, TaskRow.deleted.is_(False))
        still_lacks = TaskRow.lacks_pictures.is_(True)
        self._write(update(TaskRow).where(*where, still_lacks).values(**news))

    def delete(self, project_key: str, task_ids: Iterable[int]) -> None:
        """Note that tasks are gone from Label Studio, also of ones that never were heard of. Final."""
        now = datetime.now(timezone.utc)
        for task_id in task_ids:
            insert = self._insert(TaskRow).values(
                project_key=project_key,
                task_id=task_id,
                **_columns(()),
                tries=0,
                next_try_at=now,
                deleted=True,
                first_seen_at=now,
            )
            self._write(
                insert.on_conflict_do_update(
                    index_elements=["project_key", "task_id"], set_={"deleted": True, "lacks_pictures": False}
                )
            )

    def lacking(self, limit: int = 100) -> list[KeptTask]:
        """Tasks with pictures that are due to be copied, the longest waiting first."""
        now = datetime.now(timezone.utc)
        wanted = (
            select(TaskRow)
            .where(TaskRow.lacks_pictures.is_(True), is_past(TaskRow.next_try_at, now, now))
            .order_by(TaskRow.next_try_at)
            .limit(limit)
        )
        with transaction(self._engine, "the tasks") as session:
            return [_from_row(row) for row in session.scalars(wanted)]

    def try_again(self, project_key: str) -> None:
        """Whatever a project's tasks lack is due at once."""
        where = (TaskRow.project_key == project_key, TaskRow.lacks_pictures.is_(True))
        self._write(update(TaskRow).where(*where).values(next_try_at=datetime.now(timezone.utc)))

    def of_project(self, project_key: str, task_ids: Collection[int] | None = None) -> list[KeptTask]:
        """The tasks that aren't deleted, in the order in which they came; all unless some, a few hundred at most, are
        named."""
        wanted = (
            select(TaskRow)
            .where(TaskRow.project_key == project_key, TaskRow.deleted.is_(False))
            .order_by(TaskRow.first_seen_at, TaskRow.task_id)
        )
        if task_ids is not None:
            wanted = wanted.where(TaskRow.task_id.in_(task_ids))
        with transaction(self._engine, "the tasks") as session:
            return [_from_row(row) for row in session.scalars(wanted)]

    def deleted(self, project_key: str) -> set[int]:
        """Numbers of the tasks that are gone from Label Studio."""
        wanted = select(TaskRow.task_id).where(TaskRow.project_key == project_key, TaskRow.deleted.is_(True))
        with transaction(self._engine, "the tasks") as session:
            return set(session.scalars(wanted))

    def count_lacking(self) -> int:
        """How many tasks have pictures that were not copied yet."""
        with transaction(self._engine, "the tasks") as session:
            wanted = select(func.count()).select_from(TaskRow).where(TaskRow.lacks_pictures.is_(True))
            return session.scalar(wanted) or 0

    def _write(self, statement: Any) -> None:
        with transaction(self._engine, "the tasks") as session:
            session.execute(statement)


def _columns(pictures: Sequence[TaskPicture]) -> dict[str, Any]:
    # An address that was copied from has done its work; it may be signed.
    kept = [picture if picture.sha256 is None else replace(picture, address=None) for picture in pictures]
    return {
        "pictures": json.dumps([asdict(picture) for picture in kept], separators=(",", ":")),
        "lacks_pictures": any(picture.sha256 is None for picture in kept),
    }


def _from_row(row: TaskRow) -> KeptTask:
    pictures = []
    for stored in json.loads(row.pictures):
        size_hw = stored.pop("size_hw")
        pictures.append(TaskPicture(**stored, size_hw=tuple(size_hw) if size_hw else None))
    return KeptTask(row.project_key, row.task_id, tuple(pictures), row.tries)
