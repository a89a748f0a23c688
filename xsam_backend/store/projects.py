"""Which project a request is about, and what is known of it.

Label Studio names one project in two ways: ``"21.1795347497"`` (id and creation second) in setup and predict, and
``{"id": 21, "created_at": "2026-11-22T11:38:17.732496Z"}`` in webhooks. Both become one :class:`ProjectKey`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

from sqlalchemy import Engine, delete, func, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from xsam_backend.errors import RequestError, StoreError
from xsam_backend.store.clock_jumps import is_past
from xsam_backend.store.database import transaction
from xsam_backend.store.tables import ProjectRow

UNCONFIRMED_LIMIT = 200
"""Most projects that are known by setup requests alone: those come from anybody, with a label config each."""

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
class Listed:
    """A project in a listing, without its label config, which may have a million characters. ``gone_at``: since when
    Label Studio hasn't it any more; None: it has."""

    key: str
    title: str | None
    updated_at: datetime
    gone_at: datetime | None = None


@dataclass(frozen=True)
class Project(Listed):
    """All that is known of a project.

    Attributes:
        confirmed: the label config is what Label Studio itself has said, or the operator; else a setup request has,
            which anybody can send.
    """

    label_config: str | None = None
    confirmed: bool = False


class Projects:
    """The projects that have called. Safe to use from several threads.

    Raises, whatever is asked:
        StoreError: the database can't be read or written.
    """

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
        """Keep what Label Studio or the operator says; None leaves what is known. Writes nothing where nothing
        changed. Where the project was gone, its truth is to be fetched.

        Args:
            as_of: Label Studio's time of the project's last change, if it says: what was so before what is known
                changes nothing. None: it is so now.
        """
        given = {"title": title, "label_config": label_config, "told_at": as_of, "confirmed": True}
        news: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
        is_news = None if as_of is None else or_(ProjectRow.told_at.is_(None), ProjectRow.told_at <= as_of)
        now = datetime.now(timezone.utc)
        with transaction(self._engine, f"project {key}") as session:
            known = session.get(ProjectRow, str(key))
            if known is not None and not known.confirmed:
                news.setdefault("label_config", None)  # not what a setup request has said
            if known is not None and known.gone_at is not None:
                news["sync_wanted_at"] = now
            elif known is not None and all(getattr(known, name) == value for name, value in news.items()):
                return
            self._put(session, key, {**news, "updated_at": now}, is_news)

    def hear_of(self, key: ProjectKey, label_config: str | None) -> bool:
        """Keep what a setup request says, which comes each time that somebody opens a page, and from anybody. It
        changes nothing about a config that is confirmed. Where it isn't, or the project was gone, Label Studio's
        truth is to be fetched: True where that is news.

        Args:
            label_config: one that could be read; None: leave what is known.

        Raises:
            StoreError: also where too many projects are known by such requests alone.
        """
        news: dict[str, Any] = {} if label_config is None else {"label_config": label_config}
        now = datetime.now(timezone.utc)
        with transaction(self._engine, f"project {key}") as session:
            known = session.get(ProjectRow, str(key))
            if known is None and self._unconfirmed(session) >= UNCONFIRMED_LIMIT:
                raise StoreError(
                    f"project {key} isn't kept: {UNCONFIRMED_LIMIT} projects have called that Label Studio hasn't "
                    "confirmed: set label_studio_url and label_studio_token, and basic auth against forged setups"
                )
            if known is not None and known.gone_at is None:
                if known.confirmed or all(getattr(known, name) == value for name, value in news.items()):
                    return False
            elif known is not None and known.confirmed:
                news = {}
            unless_confirmed = ProjectRow.confirmed.is_(False) if news else None
            self._put(session, key, {**news, "sync_wanted_at": now, "updated_at": now}, unless_confirmed)
        return True

    def _put(self, session: Session, key: ProjectKey, news: dict[str, Any], where: Any) -> None:
        insert = self._insert(ProjectRow).values(**{"confirmed": False, **news, "key": str(key)})
        session.execute(insert.on_conflict_do_update(index_elements=["key"], set_=news, where=where))

    def _unconfirmed(self, session: Session) -> int:
        return session.scalar(select(func.count()).where(ProjectRow.confirmed.is_(False))) or 0

    def gone(self, key: str) -> None:
        """Note that Label Studio hasn't the project any more. What was kept of it stays; but of one that it never
        confirmed there is nothing, and it is forgotten."""
        gone = update(ProjectRow).where(ProjectRow.key == key)
        now = datetime.now(timezone.utc)
        with transaction(self._engine, f"project {key}") as session:
            session.execute(delete(ProjectRow).where(ProjectRow.key == key, ProjectRow.confirmed.is_(False)))
            session.execute(gone.values(gone_at=func.coalesce(ProjectRow.gone_at, now), sync_wanted_at=None))

    def there(self, key: str) -> None:
        """Note that Label Studio has the project, also where it was thought gone."""
        self._write(
            update(ProjectRow).where(ProjectRow.key == key, ProjectRow.gone_at.is_not(None)).values(gone_at=None)
        )

    def want_sync(self, key: str | None = None) -> None:
        """Note that something may have been missed of a known project, or of all: its truth is to be fetched, also
        where a sync is under way that may have passed it already."""
        wanted = update(ProjectRow)
        if key is not None:
            wanted = wanted.where(ProjectRow.key == key)
        self._write(wanted.values(sync_wanted_at=datetime.now(timezone.utc)))

    def want_sync_of_old(self, instance: str, older_than: timedelta) -> None:
        """The same of an instance's projects that were synced longer ago, or never, and aren't gone: an event that
        was lost on its way leaves no trace."""
        now = datetime.now(timezone.utc)
        wanted = update(ProjectRow).where(
            ProjectRow.key.startswith(f"{instance}/", autoescape=True),
            ProjectRow.gone_at.is_(None),
            ProjectRow.sync_wanted_at.is_(None),
            or_(ProjectRow.synced_at.is_(None), is_past(ProjectRow.synced_at, now - older_than, now)),
        )
        self._write(wanted.values(sync_wanted_at=now))

    def sync_wanted(self) -> list[tuple[str, datetime]]:
        """Keys of the projects whose truth is to be fetched and since when, the longest waiting first."""
        wanted = select(ProjectRow.key, ProjectRow.sync_wanted_at).where(ProjectRow.sync_wanted_at.is_not(None))
        with transaction(self._engine, "which projects are to be synced") as session:
            return [(key, at) for key, at in session.execute(wanted.order_by(ProjectRow.sync_wanted_at)) if at]

    def synced(self, key: str, wanted_at: datetime) -> None:
        """The truth as of ``wanted_at`` was fetched; what was wanted since still is, whatever the clock said then."""
        done = update(ProjectRow).where(ProjectRow.key == key, ProjectRow.sync_wanted_at == wanted_at)
        self._write(done.values(sync_wanted_at=None, synced_at=datetime.now(timezone.utc)))

    def _write(self, statement: Any) -> None:
        with transaction(self._engine, "which projects are to be synced") as session:
            session.execute(statement)

    def knows(self, key: ProjectKey) -> bool:
        """Whether the project has called before, and isn't gone."""
        with transaction(self._engine, f"project {key}") as session:
            there = select(ProjectRow.key).where(ProjectRow.key == str(key), ProjectRow.gone_at.is_(None))
            return session.scalar(there) is not None

    def of(self, key: str) -> Project | None:
        """All that is known of one project; None if it never called."""
        with transaction(self._engine, f"project {key}") as session:
            row = session.get(ProjectRow, key)
            if row is None:
                return None
            return Project(row.key, row.title, row.updated_at, row.gone_at, row.label_config, confirmed=row.confirmed)

    def all(self, limit: int | None = None) -> list[Listed]:
        """Every known project, or the first ``limit``, the latest changed first."""
        listed = select(ProjectRow.key, ProjectRow.title, ProjectRow.updated_at, ProjectRow.gone_at)
        with transaction(self._engine, "the projects") as session:
            rows = session.execute(listed.order_by(ProjectRow.updated_at.desc()).limit(limit))
            return [Listed(*row) for row in rows]
