"""Which versions' files are no longer needed, and their deletion. Reports stay."""

from __future__ import annotations

from collections.abc import Iterator

from xsam_backend.learning.version_files import VersionFiles
from xsam_backend.store.versions import Versions

KEEP = 5


def prune(
    versions: Versions,
    files: VersionFiles,
    keep: int,
    *,
    refused: int = 0,
    project_key: str | None = None,
    only_say: bool = False,
) -> Iterator[tuple[str, int]]:
    """Delete the files of old versions; their names, and how many bytes each frees.

    What answers any project stays, and what a rollback of any leads to. Of each project the newest that passed the
    gate stay besides, and the newest that it refused: somebody may know better.

    Args:
        keep, refused: so many of those.
        project_key: of this project alone; None: of each.
        only_say: and delete nothing; the bytes are those on this machine.

    Raises:
        StoreError: the database can't be read or written. OSError: a file can't be deleted.
    """
    deployed = versions.deployed()
    needed = {*deployed.values(), *(versions.before(key) for key in deployed)}
    every = versions.all(project_key)
    for key in sorted({version.project_key for version in every}):
        of_project = [version for version in every if version.project_key == key]
        for state, count in (("promoted", keep), ("refused", refused)):
            needed.update([version.name for version in of_project if version.state == state][:count])
        for version in of_project:
            if version.name in needed:
                continue
            if only_say:
                if (held := files.nbytes(version.name)) or version.state != "pruned":
                    yield version.name, held
                continue
            if version.state != "pruned":
                versions.mark(version.name, "pruned")  # first: a version without files must not be deployed
            freed = files.prune(version.name)  # of pruned ones, what a kill has left
            if freed or version.state != "pruned":
                yield version.name, freed
