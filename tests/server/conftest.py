"""Fixtures: an application with the fake predictor, a small web server."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from app_parts import MakeApp, PictureServer, services_of
from fake_predictor import FakePredictor
from flask import Flask

from xsam_backend.config import load_settings
from xsam_backend.server.app import create_app


@pytest.fixture
def make_app(tmp_path: Path) -> Iterator[MakeApp]:
    """``make_app(predictor, images, **settings)``: an application, closed when the test ends."""
    with ExitStack() as stack:

        def make(predictor: Any = None, images: Any = None, **given: Any) -> Flask:
            settings = load_settings(**{"data_dir": tmp_path / "data", "train_worker": False, **given})
            app = create_app(settings, predictor or FakePredictor(), images)
            stack.callback(services_of(app).close)
            return app

        yield make


@pytest.fixture
def picture_server() -> Iterator[PictureServer]:
    server = PictureServer()
    yield server
    server.close()
