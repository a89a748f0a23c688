from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from sqlalchemy import URL, Engine

from xsam_backend.store.database import History, database_url, open_database

Open = Callable[..., Engine]


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Open]:
    """``opened("inbox")`` is an engine in the test's folder (or on another ``url``), closed when the test ends."""
    with ExitStack() as stack:

        def open_and_remember(history: History, url: URL | None = None) -> Engine:
            engine = open_database(url or database_url(history, tmp_path), history)
            stack.callback(engine.dispose)
            return engine

        yield open_and_remember
