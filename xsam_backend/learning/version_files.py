"""The files of versions: what each changed of its base, under a name that its content decides."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from xsam_backend.errors import CheckpointError
from xsam_backend.model.version import hash_file
from xsam_backend.whole_files import PARTIAL, force, move_into_place

DELTA = "delta.safetensors"
BEFORE_AFTER = "before-after-"
"""Beginning of the names of pictures that show what changed."""

_NAME = re.compile(r"[\w.-]+\+[0-9a-f]{8}")


class VersionFiles:
    """A folder with one folder for each version."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def keep(self, delta: Path, base: str, pictures: Sequence[Path] = ()) -> str:
        """Copy a delta's file and the pictures that show what changed; the version's name: its base, and eight digits
        of the content's hash.

        Raises:
            CheckpointError: they can't be copied; no half version is left.
        """
        name = f"{base}+{hash_file(delta)[:8]}"
        place = self._folder / name
        if (place / DELTA).is_file():
            return name
        try:
            place.mkdir(parents=True, exist_ok=True)
            for picture in pictures:
                shutil.copyfile(picture, place / picture.name)
            partial = place / (DELTA + PARTIAL)
            shutil.copyfile(delta, partial)
            move_into_place(partial, place / DELTA)  # last: with it the version is there
            force(self._folder)
        except OSError as error:
            shutil.rmtree(place, ignore_errors=True)
            raise CheckpointError(f"{place}: can't be written ({error.strerror}): free some space") from error
        return name

    def pictures(self, name: str) -> list[str]:
        """Names of the pictures that show what a version changed; none where its files are gone."""
        if not _NAME.fullmatch(name):
            return []
        return sorted(path.name for path in (self._folder / name).glob(f"{BEFORE_AFTER}*.jpg"))

    def picture(self, version: str, name: str) -> Path | None:
        """The file of one of ``pictures``; None if it's none of them."""
        return self._folder / version / name if name in self.pictures(version) else None

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
