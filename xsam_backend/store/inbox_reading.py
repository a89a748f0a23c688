"""Reading the inbox to its end, again after a kill, and past events that were committed late.

On PostgreSQL two services number their events before they commit them, so a lower number may show up after a higher
one. The kept place therefore stays behind the newest events for a while, and what is read twice must be idempotent.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from itertools import takewhile
from typing import Any

from sqlalchemy import Engine, func, select
from sqlalchemy.dialects import postgresql, sqlite

from xsam_backend.store.database import transaction
from xsam_backend.store.inbox import Event, Inbox
from xsam_backend.store.tables import CursorRow

SETTLED_AFTER = timedelta(seconds=60)
"""No event is committed so long after it was received: writers give up long before."""


def read_by_all(store: Engine) -> int:
    """The number up to which every reader has read the inbox, now and after a restart; 0 if there is no reader.

    Raises:
        StoreError: the database can't be read.
    """
    with transaction(store, "how far the inbox is read") as session:
        return session.scalar(select(func.min(CursorRow.event_id))) or 0


class InboxReader:
    """One reader's way through the inbox. Not for several threads; several processes may read under one name.

    Args:
        store: where its place is kept.
        name: of the reader.
    """

    def __init__(self, inbox: Inbox, store: Engine, name: str) -> None:
        self._inbox = inbox
        self._store = store
        self._name = name
        self._insert: Any = postgresql.insert if store.dialect.name == "postgresql" else sqlite.insert
        self._place = self._kept_place()
        self._read: dict[int, float] = {}  # above the place: number -> time.monotonic() when it was done

    def unread(self, limit: int = 100) -> Iterator[Event]:
        """Events that this reader hasn't been given, oldest first; ``limit`` per look at the database."""
        after = self._place
        while events := self._inbox.after(after, limit):
            yield from (event for event in events if event.id not in self._read)
            after = events[-1].id

    def done(self, event: Event) -> None:
        """The event needn't be read again, not even after a restart once it has settled."""
        self._read[event.id] = time.monotonic()

    def settle(self) -> None:
        """Keep how far all is read and settled.

        Raises:
            StoreError: the database cannot be written.
        """
        place = self._place
        while events := self._inbox.after(place, 100):
            settled = list(takewhile(self._has_settled, events))
            if settled:
                place = settled[-1].id
            if len(settled) < len(events):
                break
        if place > self._place:
            self._keep_place(place)
            self._place = place
            self._read = {number: at for number, at in self._read.items() if number > place}

    def _has_settled(self, event: Event) -> bool:
        """Done, and so long ago that none before it is still to come. The machine's clock alone doesn't tell: it may
        have been ahead, and the event received a year from now."""
        if event.id not in self._read:
            return False
        wait_s = SETTLED_AFTER.total_seconds()
        received_long_ago = event.received_at < datetime.now(timezone.utc) - SETTLED_AFTER
        return received_long_ago or self._read[event.id] <= time.monotonic() - wait_s

    def _kept_place(self) -> int:
        with transaction(self._store, "how far the inbox is read") as session:
            row = session.get(CursorRow, self._name)
            return row.event_id if row else 0

    def _keep_place(self, place: int) -> None:
        insert = self._insert(CursorRow).values(name=self._name, event_id=place)
        with transaction(self._store, "how far the inbox is read") as session:
            session.execute(
                insert.on_conflict_do_update(
                    index_elements=["name"],
                    set_={"event_id": insert.excluded.event_id},
                    where=CursorRow.event_id < insert.excluded.event_id,
                )
            )
