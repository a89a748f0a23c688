from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from backend_process import BackendProcess
from ls_client import LsClient
from ls_server import BINARY_VARIABLE, LabelStudio, find_binary
from sqlalchemy import Engine

from xsam_backend.store.database import database_url, open_database


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def store(data_dir: Path) -> Iterator[Engine]:
    engine = open_database(database_url("store", data_dir), "store")
    yield engine
    engine.dispose()


@pytest.fixture(scope="session")
def label_studio() -> Iterator[LabelStudio]:
    """A running Label Studio; skipped where none is installed."""
    binary = find_binary()
    if binary is None:
        pytest.skip(
            f"Label Studio is not installed: set {BINARY_VARIABLE} to its script (see the README's test command)"
        )
    with LabelStudio(binary) as server:
        yield server


@pytest.fixture(scope="session")
def ls_client(label_studio: LabelStudio) -> Iterator[LsClient]:
    client = LsClient(label_studio.url, label_studio.token)
    yield client
    client.close()


@pytest.fixture(scope="session")
def seeing_backend(label_studio: LabelStudio, tmp_path_factory: pytest.TempPathFactory) -> Iterator[BackendProcess]:
    """Our backend, which sees what is on painted pictures."""
    settings = {"label_studio_url": label_studio.url, "label_studio_token": label_studio.token}
    with BackendProcess(tmp_path_factory.mktemp("seeing") / "data", sees=True, settings=settings) as running:
        yield running
