from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from xsam_backend.demo.ports import choose_port
from xsam_backend.errors import DemoError


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that somebody listens on."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield server.getsockname()[1]


@pytest.fixture
def free() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_the_one_asked_for(free: int) -> None:
    assert choose_port(free, 1, option="--port") == free


def test_the_usual_one(free: int) -> None:
    assert choose_port(None, free, option="--port") == free


def test_another_where_the_usual_one_is_taken(taken: int) -> None:
    chosen = choose_port(None, taken, option="--port")
    assert chosen != taken
    assert chosen > 1023


def test_one_asked_for_that_is_taken(taken: int) -> None:
    with pytest.raises(DemoError, match=rf"port {taken}, asked for with --port, is taken by another program: give"):
        choose_port(taken, 1, option="--port")


def test_not_the_one_that_the_other_server_gets(free: int) -> None:
    """Nobody listens there yet, so that it looks free."""
    assert choose_port(None, free, option="--port", not_these=(free,)) != free
    with pytest.raises(DemoError, match=rf"port {free}, asked for with --port, is the other server's: give another"):
        choose_port(free, 1, option="--port", not_these=(free,))
