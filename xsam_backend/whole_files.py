"""Files that are whole or not there, also after a power cut: written beside their place, flushed to disk, moved."""

from __future__ import annotations

import os
from pathlib import Path

PARTIAL = ".partial"


def write_whole(path: Path, content: bytes) -> None:
    """Write a file; its folder is made.

    Raises:
        OSError: it can't be written. What was there before is as it was, nothing else is left.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + PARTIAL)
    try:
        partial.write_bytes(content)
        move_into_place(partial, path)
    except OSError:
        partial.unlink(missing_ok=True)
        raise


def move_into_place(partial: Path, path: Path) -> None:
    """Move a file that was written beside its place there. On return both bytes and name are on the disk.

    Raises:
        OSError: it can't be.
    """
    force(partial)
    partial.replace(path)
    force(path.parent)


def force(path: Path) -> None:
    """Wait until a file's bytes, or a folder's names, are on the disk."""
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
