"""Metrics about what waits behind the requests: events to be read, pictures to be copied, Label Studio itself."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta, timezone

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy import Engine, func, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from xsam_backend.errors import StoreError
from xsam_backend.store.tables import CursorRow, EventRow

logger = logging.getLogger(__name__)

LATE_S = 120.0
"""Readers keep their place behind the newest events for a minute; what is read later than this is late."""

Count = Callable[[], int | None]
"""None: not known."""

WORDS: Mapping[str, str] = {
    "xsam_backend_label_studio_reachable": "1 where Label Studio's API answers and takes the token.",
    "xsam_backend_events_unread": "Webhook events that came more than two minutes ago and aren't read.",
    "xsam_backend_tasks_lacking_pictures": "Annotated tasks with pictures that couldn't be copied yet.",
}


class BacklogNumbers(Collector):
    """Gauges, each read when somebody asks. What can't be read must not cost the other metrics.

    Args:
        counts: by name, one of ``WORDS``.
    """

    def __init__(self, counts: Mapping[str, Count]) -> None:
        self._counts = counts

    def describe(self) -> Iterator[Metric]:
        """Named beforehand, so that registering reads no database."""
        yield from (GaugeMetricFamily(name, WORDS[name]) for name in self._counts)

    def collect(self) -> Iterator[Metric]:
        """All that are known."""
        for name, count in self._counts.items():
            try:
                value = count()
            except (StoreError, SQLAlchemyError) as error:
                logger.warning("%s: %s", name, getattr(error, "orig", None) or error)
                continue
            if value is not None:
                yield GaugeMetricFamily(name, WORDS[name], value=value)


def late_events(inbox: Engine, store: Engine, reader: str) -> int:
    """How many events a reader should have read by now, and hasn't.

    Raises:
        SQLAlchemyError: a database can't be read.
    """
    with Session(store) as session:
        row = session.get(CursorRow, reader)
        place = row.event_id if row else 0
    before = datetime.now(timezone.utc) - timedelta(seconds=LATE_S)
    wanted = select(func.count()).select_from(EventRow).where(EventRow.id > place, EventRow.received_at < before)
    with Session(inbox) as session:
        return session.scalar(wanted) or 0
