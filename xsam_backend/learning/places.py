"""What a fine-tuning works with: stores, folders, the base model, by the service's settings."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xsam_backend.learning.pruning import KEEP
from xsam_backend.learning.rehearsal import SCENES
from xsam_backend.learning.version_files import VersionFiles
from xsam_backend.store.annotations import Annotations
from xsam_backend.store.database import opened_store
from xsam_backend.store.projects import Projects
from xsam_backend.store.shared_files import SharedFiles, shared_files
from xsam_backend.store.tasks import Tasks
from xsam_backend.store.versions import Versions


@dataclass(frozen=True)
class Places:
    """What a fine-tuning works with.

    Attributes:
        model, models: the base model, and where pulled ones lie by their names.
        device: "auto", "cpu", "cuda" or "cuda:1".
        folder: of the job.
        pictures: the kept ones.
        shared: where services on several machines have their files in common.
        steps: of the version's training; 0: by the number of its pictures.
        rehearsed: so many scenes ask whether the candidate still can what it could.
        kept: so many of the newest versions that passed the gate keep their files.
        four_bits: the language model is put in four bits meanwhile.
    """

    projects: Projects
    tasks: Tasks
    annotations: Annotations
    versions: Versions
    files: VersionFiles
    model: str
    models: Path
    device: str
    folder: Path
    pictures: Path
    shared: SharedFiles | None = None
    steps: int = 0
    rehearsed: int = SCENES
    kept: int = KEEP
    four_bits: bool = False


@contextmanager
def places_of(job_id: int, settings: Any) -> Iterator[Places]:
    """The places that the settings name, for one job; the database is open meanwhile."""
    shared = shared_files(settings.artefacts_url)
    with opened_store(settings.data_dir, settings.shared_database_url) as database:
        yield Places(
            projects=Projects(database),
            tasks=Tasks(database),
            annotations=Annotations(database),
            versions=Versions(database),
            files=VersionFiles(settings.versions_dir, shared),
            model=settings.model,
            models=settings.models_dir,
            device=settings.device,
            folder=settings.jobs_dir / str(job_id),
            pictures=settings.pictures_dir,
            shared=shared,
            steps=settings.train_steps,
            rehearsed=settings.train_rehearsal,
            kept=settings.versions_kept,
            four_bits=settings.train_four_bits,
        )
