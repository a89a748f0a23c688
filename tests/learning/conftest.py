"""A store in the test's folder, with everything that collecting needs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from learning_parts import INSTANCE, Parts
from sqlalchemy import Engine

from xsam_backend.learning.collecting import Collector
from xsam_backend.store.annotations import Annotations
from xsam_backend.store.database import database_url, open_database
from xsam_backend.store.inbox import Inbox
from xsam_backend.store.predictions import PredictionLog
from xsam_backend.store.projects import Projects
from xsam_backend.store.tasks import Tasks


@pytest.fixture
def engines(tmp_path: Path) -> Iterator[dict[str, Engine]]:
    opened = {
        "store": open_database(database_url("store", tmp_path), "store"),
        "inbox": open_database(database_url("inbox", tmp_path), "inbox"),
    }
    yield opened
    for engine in opened.values():
        engine.dispose()


@pytest.fixture
def parts(engines: dict[str, Engine]) -> Parts:
    store = engines["store"]
    projects, tasks, annotations = Projects(store), Tasks(store), Annotations(store)
    log = PredictionLog(store)
    collector = Collector(projects, tasks, annotations, log, INSTANCE)
    return Parts(store, Inbox(engines["inbox"]), projects, tasks, annotations, log, collector)
