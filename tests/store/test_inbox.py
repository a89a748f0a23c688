import json
import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine

from xsam_backend.errors import StoreError
from xsam_backend.store.inbox import SECRET_KEYS, Inbox, content_key, hint_of, without_secrets

CREATED = {
    "action": "ANNOTATION_CREATED",
    "annotation": {"id": 10, "result": [{"id": "rg1", "value": {"x": 1}}]},
    "task": {"id": 114, "data": {"image": "/data/upload/1/a.png"}},
    "project": {"id": 21, "token": "h4K0NRX-token", "task_data_password": "pw-pw"},
}


@pytest.fixture
def inbox(opened: Callable[..., Engine]) -> Inbox:
    return Inbox(opened("inbox"))


def test_a_verified_event_is_kept_whole_without_its_secrets(inbox: Inbox) -> None:
    inbox.put(CREATED, "local/21.5", verified=True)
    (event,) = inbox.after()
    assert event.action == "ANNOTATION_CREATED"
    assert event.project_key == "local/21.5"
    assert event.body["annotation"] == CREATED["annotation"]
    assert event.body["project"] == {"id": 21}


def test_an_unverified_event_leaves_only_a_hint(inbox: Inbox) -> None:
    inbox.put(CREATED, None, verified=False)
    (event,) = inbox.after()
    assert not event.verified
    assert event.body == {
        "action": "ANNOTATION_CREATED",
        "annotation": {"id": 10},
        "task": {"id": 114},
        "project": {"id": 21},
    }


@pytest.mark.parametrize(
    ("first", "second", "verified", "whole"),
    [
        (True, True, True, True),
        (False, False, False, False),
        (False, True, True, True),
        (True, False, True, True),
    ],
    ids=["delivered twice", "guessed twice", "proof arrives later", "a forger cannot undo a proof"],
)
def test_the_same_event_is_kept_once(inbox: Inbox, first: bool, second: bool, verified: bool, whole: bool) -> None:
    inbox.put(CREATED, None, verified=first)
    inbox.put(dict(reversed(CREATED.items())), None, verified=second)
    (event,) = inbox.after()
    assert event.verified is verified
    assert ("result" in event.body["annotation"]) is whole


def test_two_presses_of_a_button_are_two_events(inbox: Inbox) -> None:
    body = {"action": "START_TRAINING", "project": {"id": 1}}
    inbox.put(body, None, verified=True, occasion="1")
    inbox.put(body, None, verified=True, occasion="2")
    assert inbox.count() == {"START_TRAINING": 2}


def test_a_cursor_reads_on_from_where_it_was(inbox: Inbox) -> None:
    for number in range(5):
        inbox.put({"action": "TASKS_DELETED", "tasks": [{"id": number}]}, None, verified=True)
    first = inbox.after(limit=2)
    rest = inbox.after(first[-1].id)
    assert [event.body["tasks"][0]["id"] for event in [*first, *rest]] == [0, 1, 2, 3, 4]


def test_many_threads_lose_nothing(inbox: Inbox) -> None:
    def put(number: int) -> None:
        inbox.put({"action": "TASKS_DELETED", "tasks": [{"id": number}]}, None, verified=True)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(put, range(80)))
    assert inbox.count() == {"TASKS_DELETED": 80}


def test_a_long_transaction_on_the_store_does_not_lock_the_inbox(opened: Callable[..., Engine], inbox: Inbox) -> None:
    with opened("store").connect() as connection:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        inbox.put(CREATED, None, verified=True)
    assert len(inbox.after()) == 1


def test_a_locked_inbox_is_said_and_not_acknowledged(tmp_path: Path, inbox: Inbox) -> None:
    other = sqlite3.connect(tmp_path / "inbox.sqlite3")
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(StoreError, match=r"cannot keep the event 'ANNOTATION_CREATED'") as failed:
        inbox.put(CREATED, None, verified=True)
    other.close()
    told = "".join(traceback.format_exception(failed.value))
    assert "a.png" not in told, "what the event holds belongs into no log"


def test_every_acknowledged_event_survives_a_kill(tmp_path: Path, opened: Callable[..., Engine]) -> None:
    """A process is killed with SIGKILL while it writes; whatever it had acknowledged must be there."""
    writer = textwrap.dedent(
        """
        import sys
        from pathlib import Path
        from xsam_backend.store.database import database_url, open_database
        from xsam_backend.store.inbox import Inbox
        inbox = Inbox(open_database(database_url("inbox", Path(sys.argv[1])), "inbox"))
        number = 0
        while True:
            inbox.put({"action": "TASKS_DELETED", "tasks": [{"id": number}]}, None, verified=True)
            print(number, flush=True)
            number += 1
        """
    )
    process = subprocess.Popen([sys.executable, "-c", writer, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    acknowledged = [int(process.stdout.readline()) for _ in range(50)]
    os.kill(process.pid, signal.SIGKILL)
    acknowledged += [int(line) for line in process.stdout.read().split()]
    process.stdout.close()
    process.wait()
    events = Inbox(opened("inbox")).after()
    kept = {event.body["tasks"][0]["id"] for event in events}
    assert set(acknowledged) <= kept


def test_each_commit_of_the_inbox_is_flushed_to_disk(opened: Callable[..., Engine]) -> None:
    """What power loss needs and a test cannot pull the plug for: synchronous=FULL (2) in WAL mode."""
    with opened("inbox").connect() as connection:
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=8) | st.sampled_from(sorted(SECRET_KEYS)), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(_json)
def test_no_secret_key_is_left_at_any_depth(value: object) -> None:
    def keys(node: object) -> set[str]:
        if isinstance(node, dict):
            return {str(k).lower() for k in node} | set().union(*map(keys, node.values()))
        return set().union(*map(keys, node)) if isinstance(node, list) else set()

    clean = without_secrets(value)
    assert not keys(clean) & SECRET_KEYS
    assert without_secrets(clean) == clean


@given(st.dictionaries(st.sampled_from(["annotation", "task", "tasks", "project", "action"]), _json))
def test_a_hint_holds_ids_only(body: dict[str, object]) -> None:
    def leaves(node: object) -> list[object]:
        if isinstance(node, dict):
            return [leaf for inner in node.values() for leaf in leaves(inner)]
        return [leaf for inner in node for leaf in leaves(inner)] if isinstance(node, list) else [node]

    hint = hint_of(body)
    hint.pop("action")
    assert all(type(leaf) is int for leaf in leaves(hint))


@given(_json, st.text(max_size=3))
def test_content_keys_survive_a_json_round_trip(value: object, occasion: str) -> None:
    body = {"action": "X", "value": value}
    assert content_key(body, occasion) == content_key(json.loads(json.dumps(body)), occasion)
    assert content_key(body, occasion) != content_key(body, occasion + "x")
