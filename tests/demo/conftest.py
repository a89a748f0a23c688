from __future__ import annotations

import io
from pathlib import Path

import pytest

from xsam_backend.demo.folder import DemoFolder
from xsam_backend.demo.progress import Progress


@pytest.fixture
def folder(tmp_path: Path) -> DemoFolder:
    return DemoFolder(tmp_path / "demo")


@pytest.fixture
def said() -> io.StringIO:
    """What a ``progress`` has said."""
    return io.StringIO()


@pytest.fixture
def progress(said: io.StringIO) -> Progress:
    return Progress(said, rewrites=False)
