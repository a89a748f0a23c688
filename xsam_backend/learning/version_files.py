"""The files of versions: what each changed of its base, under a name that its content decides."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

from xsam_backend.errors import CheckpointError
from xsam_backend.model.version import hash_file

DELTA = "delta.safetensors"
_NAME = re.compile(r"[\w.-]+\+[0-9a-f]{8}")


class VersionFiles:
    """A folder with one folder for each version."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def keep(self, delta: Path, base: str) -> str:
        """Copy a delta's file; the version's name: its base, and eight digits of the content's hash.

        Raises:
            CheckpointError: it can't be copied; nothing half is left.
        """
        name = f"{base}+{hash_file(delta)[:8]}"
        place = self._folder / name / DELTA
        if place.is_file():
            return name
        partial = place.with_name(DELTA + ".partial")
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(delta, partial)
            with partial.open("rb") as file:
                os.fsync(file.fileno())
            partial.replace(place)
        except OSError as error:
            partial.unlink(missing_ok=True)
            raise CheckpointError(f"{place}: can't be written ({error.strerror}): free some space") from error
        return name

    def delta(self, name: str) -> Path:
        """Where a version's delta lies.

        Raises:
            CheckpointError: there is none.
        """
        place = self._folder / name / DELTA
        if not _NAME.fullmatch(name) or not place.is_file():
            raise CheckpointError(
                f"version '{name}' has no files in {self._folder}: were they pruned, or not restored?"
            )
        return place

    def prune(self, name: str) -> int:
        """Delete a version's files, if they are there; how many bytes that frees."""
        folder = self._folder / name
        if not _NAME.fullmatch(name) or not folder.is_dir():
            return 0
        freed = sum(path.stat().st_size for path in folder.iterdir())
        shutil.rmtree(folder)
        return freed
