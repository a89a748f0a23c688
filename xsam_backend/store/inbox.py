"""The inbox: webhook events, on disk before they are acknowledged.

Label Studio sends each event once and waits one second. So the only thing done within that second is one small
transaction; whoever learns from the events reads them later with a cursor (:meth:`Inbox.after`).

An event whose sender proved to be our Label Studio is kept whole (secrets dropped). Anything else is a *hint*:
anybody could have sent it, so only its action and ids are kept, and the truth is fetched through the API.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from sqlalchemy import Engine, and_, func, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from xsam_backend.errors import StoreBusyError
from xsam_backend.store.database import prune_rows, store_error, transaction
from xsam_backend.store.tables import EventRow

SECRET_KEYS = frozenset(
    {
        "token",
        "access_token",
        "refresh_token",
        "api_key",
        "secret",
        "authorization",
        "password",
        "task_data_login",
        "task_data_password",
        "basic_auth_user",
        "basic_auth_pass",
    }
)
"""Keys that are dropped at any depth before an event is kept (``project.token``, ``task_data_password``, ...)."""

QUEUE_S = 2.0
"""Who is behind a writer that waits for another process gives up after so long: else waiting events would take all
threads of the service, one after the other."""

_IDS_OF = ("annotation", "annotations", "task", "tasks", "project")


@dataclass(frozen=True)
class Event:
    """A kept event. ``id`` grows; ``verified`` says that the sender knew our secret."""

    id: int
    action: str
    project_key: str | None
    verified: bool
    body: dict[str, Any]
    received_at: datetime


def without_secrets(value: Any) -> Any:
    """A copy of a JSON value without any key of :data:`SECRET_KEYS`, at any depth, in any case.

    >>> without_secrets({"project": {"id": 1, "token": "abc"}})
    {'project': {'id': 1}}
    """
    if isinstance(value, Mapping):
        return {k: without_secrets(v) for k, v in value.items() if str(k).lower() not in SECRET_KEYS}
    if isinstance(value, list):
        return [without_secrets(item) for item in value]
    return value


def hint_of(body: Mapping[str, Any]) -> dict[str, Any]:
    """Action and ids of an event, nothing that somebody could have made up to be learned from.

    >>> hint_of({"action": "TASKS_DELETED", "tasks": [{"id": 3, "data": {}}]})
    {'action': 'TASKS_DELETED', 'tasks': [{'id': 3}]}
    """

    def ids(value: Any) -> Any:
        if isinstance(value, list):
            return [ids(item) for item in value[:1000]]
        number = value.get("id") if isinstance(value, Mapping) else None
        return {"id": number} if type(number) is int else {}

    kept: dict[str, Any] = {name: ids(body[name]) for name in _IDS_OF if name in body}
    return {"action": str(body.get("action", ""))[:64], **kept}


def content_key(body: Mapping[str, Any], occasion: str = "") -> str:
    """64 hex digits that two deliveries of one event share. ``occasion`` tells apart events that may truly happen
    twice with one content, such as two presses of the training button."""
    canonical = json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(f"{occasion}\n{canonical}".encode()).hexdigest()


class Inbox:
    """Webhook events, durable. Safe to use from several threads and processes."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._insert: Any = postgresql.insert if engine.dialect.name == "postgresql" else sqlite.insert
        # SQLite lets waiting writers try again at random, so one of many may starve. A lock is fair to threads.
        self._writing = threading.Lock() if engine.dialect.name == "sqlite" else None

    def put(self, body: Mapping[str, Any], project_key: str | None, *, verified: bool, occasion: str = "") -> None:
        """Keep an event; on return it is on disk. A second delivery changes nothing, except that a verified one
        replaces the hint that an unverified one left.

        Raises:
            StoreBusyError, StoreError: it could not be written; the event must not be acknowledged.
        """
        clean = without_secrets(body)
        insert = self._insert(EventRow).values(
            content_key=content_key(clean, occasion),
            action=str(clean.get("action", ""))[:64],
            project_key=project_key,
            verified=verified,
            body=json.dumps(clean if verified else hint_of(clean), separators=(",", ":")),
            received_at=datetime.now(timezone.utc),
        )
        new = insert.excluded
        keep = insert.on_conflict_do_update(
            index_elements=["content_key"],
            set_={"verified": new.verified, "body": new.body},
            where=and_(EventRow.verified.is_(False), new.verified.is_(True)),
        )
        try:
            with self._turn(), Session(self._engine) as session, session.begin():
                session.execute(keep)
        except SQLAlchemyError as error:
            raise store_error(f"cannot keep the event {str(clean.get('action'))[:64]!r}", error) from error

    @contextmanager
    def _turn(self) -> Iterator[None]:
        if self._writing is None:
            yield
            return
        if not self._writing.acquire(timeout=QUEUE_S):
            raise StoreBusyError("the inbox is held by another process (database is locked): try again in a moment")
        try:
            yield
        finally:
            self._writing.release()

    def after(self, event_id: int = 0, limit: int = 1000) -> list[Event]:
        """The oldest ``limit`` events whose id is above ``event_id``, oldest first.

        Raises:
            StoreBusyError, StoreError: they can't be read.
        """
        with transaction(self._engine, "the inbox") as session:
            rows = session.scalars(select(EventRow).where(EventRow.id > event_id).order_by(EventRow.id).limit(limit))
            return [
                Event(row.id, row.action, row.project_key, row.verified, json.loads(row.body), row.received_at)
                for row in rows
            ]

    def prune(self, up_to: int, before: datetime, *, only_count: bool = False) -> int:
        """Delete the events up to a number that were received before a moment; how many they are.

        Args:
            up_to: so far every reader has come: what nobody has read stays, however old it is.
            only_count: and leave them.

        Raises:
            StoreError: the database can't be written.
        """
        old = (EventRow.id <= up_to, EventRow.received_at < before)
        return prune_rows(self._engine, "the inbox", EventRow.id, old, only_count=only_count)

    def count(self) -> dict[str, int]:
        """How many events are kept, by action."""
        with transaction(self._engine, "the inbox") as session:
            rows = session.execute(select(EventRow.action, func.count()).group_by(EventRow.action))
            return {action: number for action, number in rows}
