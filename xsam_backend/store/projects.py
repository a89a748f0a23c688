"""Which project a request is about, and what is known of it.

Label Studio names one project in two ways: ``"21.1795347497"`` (id and creation second) in setup and predict, and
``{"id": 21, "created_at": "2026-11-22T11:38:17.732496Z"}`` in webhooks. Both become one :class:`ProjectKey`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from sqlalchemy import Engine, func, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from xsam_backend.errors import RequestError, StoreError
from xsam_backend.store.tables import ProjectRow

_PROJECT_UID = re.compile(r"(\d{1,18})\.(\d{1,18})", re.ASCII)


@dataclass(frozen=True)
class ProjectKey:
    """Instance (address of the Label Studio), project id and creation second. ``str()`` of it is the stored key."""

    instance: str
    project_id: int
    created_s: int

    def __str__(self) -> str:
        return f"{self.instance}/{self.project_id}.{self.created_s}"

    @classmethod
    def parse(cls, key: str) -> ProjectKey:
        """From what ``str()`` gave.

        Raises:
            RequestError: it is no such key.
        """
        instance, _, uid = key.rpartition("/")
        return cls.from_uid(instance, uid)

    @classmethod
    def from_uid(cls, instance: str, uid: object) -> ProjectKey:
        """From setup's or predict's ``project``, such as ``"21.1795347497"``.

        Raises:
            RequestError: it has another form.
        """
        match = _PROJECT_UID.fullmatch(uid) if isinstance(uid, str) else None
        if match is None:
            raise RequestError(f"project: expected '<id>.<creation second>', got {str(uid)[:40]!r}")
        return cls(instance, int(match[1]), int(match[2]))

    @classmethod
    def from_webhook(cls, instance: str, project: object) -> ProjectKey:
        """From a webhook's ``project`` object: its ``id`` and ``created_at``.

        Raises:
            RequestError: one of the two is missing or has another form.
        """
        if isinstance(project, Mapping):
            project_id, created_at = project.get("id"), project.get("created_at")
            if type(project_id) is int and 0 <= project_id < 10**18 and isinstance(created_at, str):
                try:
                    moment = datetime.fromisoformat(created_at.replace("Z", "+00:00"))
                    return cls(instance, project_id, int(moment.timestamp()))
                except (ValueError, OverflowError):
                    pass
        raise RequestError("project: expected an object with a number 'id' and a time 'created_at'")


@dataclass(frozen=True)
class Project:
    """What is known of a project. ``gone_at``: since when Label Studio hasn't it any more; None: it has."""

    key: str
    title: str | None
    label_config: str | None
    updated_at: datetime
    gone_at: datetime | None = None


class Projects:
    """The projects that have called. Safe to use from several threads."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._insert: Any = postgresql.insert if engine.dialect.name == "postgresql" else sqlite.insert

    def remember(
        self,
        key: ProjectKey,
        title: str | None = None,
        label_config: str | None = None,
        as_of: datetime | None = None,
    ) -> None:
        """Keep what is given; None leaves what is known. Writes nothing where nothing changed, since Label Studio
        calls setup each time that somebody opens a page. Where the project was gone, its truth is to be fetched.

        Args:
            as_of: Label Studio's time of the project's last change, if it says: what was so before what is known
                changes nothing. None: it is so now.

        Raises:
            StoreError: the database cannot be written.
        """
        given = {"title": title, "label_config": label_config, "told_at": as_of}
        news: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
        is_news = None if as_of is None else or_(ProjectRow.told_at.is_(None), ProjectRow.told_at <= as_of)
        now = datetime.now(timezone.utc)
        try:
            with Session(self._engine) as session, session.begin():
                known = session.get(ProjectRow, str(key))
                if known is not None and known.gone_at is not None:
                    news["sync_wanted_at"] = now
                elif known is not None and all(getattr(known, name) == value for name, value in news.items()):
                    return
                news["updated_at"] = now
                insert = self._insert(ProjectRow).values(key=str(key), **news)
                session.execute(insert.on_conflict_do_update(index_elements=["key"], set_=news, where=is_news))
        except SQLAlchemyError as error:
            raise StoreError(f"cannot keep project {key}: {error}") from error

    def gone(self, key: str) -> None:
        """Note that Label Studio hasn't the project any more. What was kept of it stays.

        Raises:
            StoreError: the database cannot be written.
        """
        gone = update(ProjectRow).where(ProjectRow.key == key)
        now = datetime.now(timezone.utc)
        self._write(gone.values(gone_at=func.coalesce(ProjectRow.gone_at, now), sync_wanted_at=None))

    def there(self, key: str) -> None:
        """Note that Label Studio has the project, also where it was thought gone."""
        self._write(
            update(ProjectRow).where(ProjectRow.key == key, ProjectRow.gone_at.is_not(None)).values(gone_at=None)
        )

    def want_sync(self, key: str | None = None) -> None:
        """Note that something may have been missed of a known project, or of all: its truth is to be fetched, also
        where a sync is under way that may have passed it already.

        Raises:
            StoreError: the database cannot be written.
        """
        wanted = update(ProjectRow)
        if key is not None:
            wanted = wanted.where(ProjectRow.key == key)
        self._write(wanted.values(sync_wanted_at=datetime.now(timezone.utc)))

    def sync_wanted(self) -> list[tuple[str, datetime]]:
        """Keys of the projects whose truth is to be fetched and since when, the longest waiting first."""
        wanted = select(ProjectRow.key, ProjectRow.sync_wanted_at).where(ProjectRow.sync_wanted_at.is_not(None))
        with Session(self._engine) as session:
            return [(key, at) for key, at in session.execute(wanted.order_by(ProjectRow.sync_wanted_at)) if at]

    def synced(self, key: str, wanted_at: datetime) -> None:
        """The truth as of ``wanted_at`` was fetched; what was wanted later still is."""
        done = update(ProjectRow).where(ProjectRow.key == key, ProjectRow.sync_wanted_at <= wanted_at)
        self._write(done.values(sync_wanted_at=None))

    def _write(self, statement: Any) -> None:
        try:
            with Session(self._engine) as session, session.begin():
                session.execute(statement)
        except SQLAlchemyError as error:
            raise StoreError(f"cannot note a project's sync: {getattr(error, 'orig', error)}") from error

    def knows(self, key: ProjectKey) -> bool:
        """Whether the project has called before, and isn't gone.

        Raises:
            StoreError: the database cannot be read.
        """
        try:
            with Session(self._engine) as session:
                known = session.get(ProjectRow, str(key))
                return known is not None and known.gone_at is None
        except SQLAlchemyError as error:
            raise StoreError(f"cannot look project {key} up: {error}") from error

    def all(self) -> list[Project]:
        """Every known project, the latest changed first."""
        with Session(self._engine) as session:
            rows = session.scalars(select(ProjectRow).order_by(ProjectRow.updated_at.desc()))
            return [Project(row.key, row.title, row.label_config, row.updated_at, row.gone_at) for row in rows]
