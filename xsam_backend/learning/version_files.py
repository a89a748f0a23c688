"""The files of versions: what each changed of its base, under a name that its content decides.

Where services share their files, a version lies there too, and a service's own folder holds copies.
"""

from __future__ import annotations

import logging
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from xsam_backend.errors import CheckpointError, StoreError
from xsam_backend.model.version import hash_file
from xsam_backend.store.shared_files import SharedFiles
from xsam_backend.whole_files import PARTIAL, force, move_into_place

logger = logging.getLogger(__name__)

DELTA = "delta.safetensors"
BEFORE_AFTER = "before-after-"
"""Beginning of the names of pictures that show what changed."""

_NAME = re.compile(r"[\w.-]+\+[0-9a-f]{8}")


class VersionFiles:
    """A folder with one folder for each version."""

    def __init__(self, folder: Path, shared: SharedFiles | None = None) -> None:
        self._folder = folder
        self._shared = shared
        self._looked_for: set[str] = set()

    def keep(self, delta: Path, base: str, pictures: Sequence[Path] = ()) -> str:
        """Copy a delta's file and the pictures that show what changed; the version's name: its base, and eight digits
        of the content's hash.

        Raises:
            CheckpointError, StoreError: they can't be copied; no half version is left.
        """
        name = f"{base}+{hash_file(delta)[:8]}"
        place = self._folder / name
        if not (place / DELTA).is_file():
            self._copy(delta, pictures, place)
        if self._shared is not None:
            for picture in sorted(place.glob(f"{BEFORE_AFTER}*.jpg")):
                self._shared.put(picture, f"{_shared_folder(name)}/{picture.name}")
            self._shared.put(place / DELTA, f"{_shared_folder(name)}/{DELTA}")
        return name

    def _copy(self, delta: Path, pictures: Sequence[Path], place: Path) -> None:
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

    def pictures(self, name: str) -> list[str]:
        """Names of the pictures that show what a version changed; none where its files are gone."""
        if not _NAME.fullmatch(name):
            return []
        found = sorted(path.name for path in (self._folder / name).glob(f"{BEFORE_AFTER}*.jpg"))
        if found or self._shared is None or name in self._looked_for:
            return found
        place = self._folder / name
        self._looked_for.add(name)  # a page shows many versions: each is asked about once
        try:
            for file in self._shared.names(_shared_folder(name)):
                if file.startswith(BEFORE_AFTER) and file.endswith(".jpg"):
                    self._shared.fetch(
                        f"{_shared_folder(name)}/{file}", self._folder / name / file, lambda _picture: True
                    )
        except StoreError as error:  # only people look at them
            logger.warning("%s", error)
        return sorted(path.name for path in place.glob(f"{BEFORE_AFTER}*.jpg"))

    def picture(self, version: str, name: str) -> Path | None:
        """The file of one of ``pictures``; None if it's none of them."""
        return self._folder / version / name if name in self.pictures(version) else None

    def delta(self, name: str) -> Path:
        """Where a version's delta lies; it is fetched first where only others have it.

        Raises:
            CheckpointError: there is none.
            StoreError: what services share can't be asked for.
        """
        place = self._folder / name / DELTA
        if not _NAME.fullmatch(name) or not (place.is_file() or self._fetched(name, place)):
            where = f"{self._folder}, nor in {self._shared.url}" if self._shared else self._folder
            raise CheckpointError(
                f"version '{name}' has no files in {where}: were they pruned, or not restored? Where another "
                "machine made it, set artefacts_url on both"
            )
        return place

    def _fetched(self, name: str, place: Path) -> bool:
        digits = name.rpartition("+")[2]
        return self._shared is not None and self._shared.fetch(
            f"{_shared_folder(name)}/{DELTA}", place, lambda found: hash_file(found).startswith(digits)
        )

    def nbytes(self, name: str) -> int:
        """How much a version's files take in this folder."""
        folder = self._folder / name
        is_there = _NAME.fullmatch(name) is not None and folder.is_dir()
        return sum(path.stat().st_size for path in folder.iterdir()) if is_there else 0

    def prune(self, name: str) -> int:
        """Delete a version's files, if they are there; how many bytes that frees.

        Raises:
            OSError, StoreError: they can't be deleted.
        """
        folder = self._folder / name
        if not _NAME.fullmatch(name):
            return 0
        freed = self._shared.remove(_shared_folder(name)) if self._shared is not None else 0
        if folder.is_dir():
            freed += self.nbytes(name)
            shutil.rmtree(folder)
        return freed


def _shared_folder(name: str) -> str:
    return f"versions/{name}"
