"""A folder for the files that targets read, for as long as the process lives."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory


@lru_cache(1)
def _held() -> TemporaryDirectory[str]:
    return TemporaryDirectory(prefix="fuzzing-")


def scratch_folder() -> Path:
    """The folder."""
    return Path(_held().name)


def scratch_file(content: bytes, name: str) -> Path:
    """A file in it with this content, in place of what it had."""
    path = scratch_folder() / name
    path.write_bytes(content)
    return path
