"""Loopback ports: the one asked for, the one of last time, or any that is free."""

from __future__ import annotations

import socket

from xsam_backend.errors import DemoError

LOOPBACK = "127.0.0.1"


def choose_port(asked: int | None, usual: int, *, option: str, not_these: tuple[int, ...] = ()) -> int:
    """The port to listen on: ``asked`` if given, else ``usual`` where it is free, else any free one.

    Args:
        option: where ``asked`` comes from, for the message.
        not_these: promised to others, who don't listen yet.

    Raises:
        DemoError: the port that was asked for can't be had.
    """
    if asked is not None:
        problem = "is the other server's" if asked in not_these else _problem(asked)
        if problem is not None:
            raise DemoError(
                f"port {asked}, asked for with {option}, {problem}: give another one, or leave {option} out to have "
                "a free one chosen"
            )
        return asked
    if usual not in not_these and _problem(usual) is None:
        return usual
    while (free := _free_port()) in not_these:
        pass
    return free


def _problem(port: int) -> str | None:
    """Why nobody can listen on a port now, or None."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # one that was closed a moment ago is free
        try:
            probe.bind((LOOPBACK, port))
        except PermissionError:
            return "is for administrators only"
        except OSError:
            return "is taken by another program"
    return None


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])
