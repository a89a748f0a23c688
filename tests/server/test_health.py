"""``/health/live`` and ``/health/ready``: what each fails on, and that neither waits for what it tells of."""

from __future__ import annotations

import shutil
import sqlite3
import threading
import time
from collections import namedtuple
from contextlib import closing
from typing import Any

import pytest
from app_parts import MemoryImages, services_of
from flask import Flask

from xsam_backend.server import health as module
from xsam_backend.server.health import Health


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOOK_EVERY_S", 0.02)


def until(client: Any, path: str, status: int) -> dict[str, Any]:
    """What the page says once it has that status."""
    deadline = time.monotonic() + 15
    while (answer := client.get(path)).status_code != status:
        assert time.monotonic() < deadline, answer.get_json()
        time.sleep(0.02)
    said: dict[str, Any] = answer.get_json()
    return said


def test_all_is_well(make_app: Any) -> None:
    client = make_app(images=MemoryImages()).test_client()
    assert client.get("/health/live").get_json() == {"status": "live", "ailing": {}}
    assert client.get("/health/ready").get_json() == {"status": "ready", "lacking": {}}
    assert 'xsam_backend_ready{need="inbox"} 1.0' in client.get("/metrics").text


@pytest.mark.parametrize("name", ["inbox", "store"])
def test_a_database_that_is_held_for_long_makes_it_not_ready(make_app: Any, name: str) -> None:
    app: Flask = make_app()
    client = app.test_client()
    database = services_of(app).settings.data_dir / f"{name}.sqlite3"
    with closing(sqlite3.connect(database, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert "database is locked" in until(client, "/health/ready", 503)["lacking"][name]
        assert client.get("/health/live").status_code == 200, "a restart wouldn't help"
        assert f'xsam_backend_ready{{need="{name}"}} 0.0' in client.get("/metrics").text
    until(client, "/health/ready", 200)


def test_a_full_disk_makes_it_not_ready(make_app: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    client = make_app().test_client()
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**9, 10**9, 10**6))
    assert "1 MB free" in until(client, "/health/ready", 503)["lacking"]["disk"]
    assert "xsam_backend_disk_free_bytes 1e+06" in client.get("/metrics").text


def test_a_thread_that_ended_asks_for_a_restart(make_app: Any) -> None:
    app = make_app()
    services_of(app).collecting.close()
    client = app.test_client()
    assert client.get("/health/live").status_code == 503
    assert client.get("/health/live").get_json()["ailing"] == {"collecting": "its thread has ended"}
    assert client.get("/health/ready").status_code == 503
    assert client.get("/health").status_code == 200, "Label Studio's page says that somebody answers"


def test_a_model_that_hangs_asks_for_a_restart() -> None:
    stage_s = 5.0
    health = Health({}, {}, lambda: stage_s)
    assert health.ailing == {}
    stage_s = module.STUCK_S + 1
    assert "one stage for 601 s" in health.ailing["model"]


def test_what_hangs_is_told_and_hides_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "OLD_S", 0.2)
    go_on, hangs = threading.Event(), False

    def hanging() -> str:
        if hangs:
            go_on.wait(10)
        return ""

    words = ""
    health = Health({"hanging": hanging, "other": lambda: words}, {})
    health.start()
    hangs = True
    time.sleep(0.4)
    words = "full"
    time.sleep(0.2)
    begun = time.monotonic()
    assert health.lacking["hanging"].startswith("no answer for")
    assert health.lacking["other"] == "full"
    assert time.monotonic() - begun < 0.1
    go_on.set()
    health.close()


def test_what_raises_is_lacking() -> None:
    def broken() -> str:
        raise OSError("gone")

    health = Health({"x": broken}, {})
    health.start()
    assert health.lacking == {"x": "gone"}
    health.close()


def test_both_demand_the_login(make_app: Any) -> None:
    client = make_app(basic_auth_user="u", basic_auth_password="p").test_client()
    assert [client.get(f"/health/{name}").status_code for name in ("live", "ready")] == [401, 401]
