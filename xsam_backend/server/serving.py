"""The application under gunicorn: one process, since the weights are loaded once, and threads."""

from __future__ import annotations

import errno
import logging
import os
import socket
import sys
from contextlib import suppress

from flask import Flask
from gunicorn.app.base import BaseApplication
from gunicorn.arbiter import Arbiter

from xsam_backend.config import Settings
from xsam_backend.errors import SettingsError, XSamBackendError
from xsam_backend.model.folders import model_folder
from xsam_backend.server.app import create_app
from xsam_backend.server.http_worker import OTHER_CONNECTIONS, Worker
from xsam_backend.server.logs import GunicornLogger, configure_logging

logger = logging.getLogger(__name__)

GRACE_S = 30
"""After SIGTERM: how long predictions under way may still take."""


class Service(BaseApplication):  # type: ignore[misc]
    """gunicorn with our settings; reads no gunicorn config file and no command line."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._app: Flask | None = None
        super().__init__()

    def load_config(self) -> None:
        """Tell gunicorn what it needs to know."""
        settings = self._settings
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        for name, value in {
            "bind": f"{host}:{settings.port}",
            "workers": 1,
            "worker_class": type("Worker", (Worker,), {"most_bytes": settings.max_request_mb * 2**20}),
            "threads": settings.threads,
            "worker_connections": settings.threads + OTHER_CONNECTIONS,
            # The watchdog would kill a worker that loads weights for minutes; a stuck thread it can't see anyway.
            "timeout": 0,
            "graceful_timeout": GRACE_S,
            "keepalive": 5,
            "sendfile": False,  # it would wait for the client
            "loglevel": settings.log_level.lower(),
            "logger_class": GunicornLogger,
            "control_socket_disable": True,
            "worker_exit": lambda _arbiter, _worker: self._close(),
        }.items():
            self.cfg.set(name, value)

    def load(self) -> Flask:
        """Runs in the worker, after the fork (CUDA does not survive one) and before it lets requests in."""
        try:
            self._app = create_app(self._settings)
        except XSamBackendError as error:
            logger.error("cannot start: %s", error)
            sys.exit(Arbiter.APP_LOAD_ERROR)
        logger.info("model %s is ready", self._app.extensions["xsam_backend"].engine.model_version)
        return self._app

    def _close(self) -> None:
        if self._app is not None:
            self._app.extensions["xsam_backend"].close()


def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT. Ends the process: exit status 0 after a stop, 1 where it cannot start."""
    configure_logging(settings.log_level, settings.log_format)
    try:
        model_folder(settings.model, settings.models_dir)
        _expect_free(settings.host, settings.port)
    except XSamBackendError as error:  # gunicorn would say first that it listens, and of a port try it for seconds
        logger.error("cannot start: %s", error)
        sys.exit(1)
    master = os.getpid()
    try:
        Service(settings).run()
    except SystemExit as stop:
        if os.getpid() != master:  # the worker, forked inside run(): its number is a message to the master
            raise
        sys.exit(1 if stop.code else 0)


def _expect_free(host: str, port: int) -> None:
    """Raises SettingsError: another program listens there. What else may be wrong with it, gunicorn finds out."""
    with suppress(socket.gaierror):
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # one that was closed a moment ago is free
            try:
                probe.bind(address)
            except OSError as error:
                if error.errno == errno.EADDRINUSE:
                    raise SettingsError(
                        f"port {port} of {host} is taken by another program, maybe an earlier one of these: end "
                        "that, or give another port with --port, and in Label Studio's model settings"
                    ) from error
