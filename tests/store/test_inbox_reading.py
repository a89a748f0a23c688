"""Every event is read, also after a kill and where numbers are committed out of order."""

from collections.abc import Callable
from datetime import datetime, timedelta, timezone

import pytest
from sqlalchemy import Engine, text

from xsam_backend.store.inbox import Inbox
from xsam_backend.store.inbox_reading import SETTLED_AFTER, InboxReader


@pytest.fixture
def inbox_engine(opened: Callable[..., Engine]) -> Engine:
    return opened("inbox")


@pytest.fixture
def reader(inbox_engine: Engine, opened: Callable[..., Engine]) -> Callable[[], InboxReader]:
    store = opened("store")
    return lambda: InboxReader(Inbox(inbox_engine), store, "test")


def put(engine: Engine, number: int, age: timedelta = 2 * SETTLED_AFTER) -> None:
    moment = (datetime.now(timezone.utc) - age).replace(tzinfo=None)
    with engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO inbox_events (id, content_key, action, verified, body, received_at) "
                "VALUES (:id, :key, 'X', 1, '{}', :at)"
            ),
            {"id": number, "key": str(number), "at": str(moment)},
        )


def numbers(reader: InboxReader, limit: int = 100) -> list[int]:
    found = []
    for event in reader.unread(limit):
        reader.done(event)
        found.append(event.id)
    reader.settle()
    return found


def test_all_is_read_once_however_much_there_is(inbox_engine: Engine, reader: Callable[[], InboxReader]) -> None:
    for number in range(1, 251):
        put(inbox_engine, number)
    first = reader()
    assert numbers(first, limit=7) == list(range(1, 251))
    assert numbers(first) == []
    assert numbers(reader()) == [], "settled, so a new process needn't read it"


def test_young_events_are_read_at_once_and_again_after_a_kill(
    inbox_engine: Engine, reader: Callable[[], InboxReader]
) -> None:
    put(inbox_engine, 1)
    put(inbox_engine, 2, age=timedelta(0))
    first = reader()
    assert numbers(first) == [1, 2]
    assert numbers(first) == []
    assert numbers(reader()) == [2]


def test_a_lower_number_that_is_committed_later_is_read(
    inbox_engine: Engine, reader: Callable[[], InboxReader]
) -> None:
    put(inbox_engine, 2, age=timedelta(0))
    first = reader()
    assert numbers(first) == [2]
    put(inbox_engine, 1, age=timedelta(0))
    assert numbers(first) == [1]


def test_what_was_not_done_comes_again_with_all_behind_it(
    inbox_engine: Engine, reader: Callable[[], InboxReader]
) -> None:
    for number in (1, 2, 3):
        put(inbox_engine, number)
    first = reader()
    events = first.unread()
    first.done(next(events))
    next(events)  # its handling failed
    first.settle()
    assert numbers(reader()) == [2, 3]
