"""One process's model, asked about whole tasks as the service's batches ask it."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xsam_backend.config import Settings
from xsam_backend.inference.engine import Answered, Asker, Engine, Predictor
from xsam_backend.inference.picture_memory import Budget, PictureMemory
from xsam_backend.labelstudio.images import ImageSource
from xsam_backend.labelstudio.label_config import LabelConfig
from xsam_backend.labelstudio.recent_images import Images
from xsam_backend.learning.version_files import VersionFiles
from xsam_backend.prelabelling.in_step import ANSWERING
from xsam_backend.prompts import Exemplar, Prompt, Region
from xsam_backend.server.backend import Backend
from xsam_backend.server.batch_shares import BatchShares
from xsam_backend.server.fetching_ahead import FetchingAhead
from xsam_backend.server.monitor import Monitor
from xsam_backend.server.outside import fetch_policy, label_studio_client
from xsam_backend.server.project_exemplars import ProjectExemplars
from xsam_backend.server.protocol import TaskItem
from xsam_backend.store.annotations import Annotations
from xsam_backend.store.data_folder import Hold
from xsam_backend.store.database import database_url, open_database
from xsam_backend.store.picture_files import PictureFiles
from xsam_backend.store.pre_labels import PreLabels
from xsam_backend.store.predictions import PredictionLog
from xsam_backend.store.projects import ProjectKey, Projects
from xsam_backend.store.shared_files import shared_files
from xsam_backend.store.tasks import Tasks

AHEAD = 4
"""Pictures at most that are fetched and decoded before anybody wants them."""


def load(settings: Settings, version: str | None) -> Predictor[Any]:
    """The settings' model, with a version's changes.

    Raises:
        CheckpointError, StoreError: it can't be loaded.
    """
    from xsam_backend.model.predictor import load_predictor  # torch takes seconds to import
    from xsam_backend.model.versions import predictor_with_delta

    files = VersionFiles(settings.versions_dir, shared_files(settings.artefacts_url))
    delta = files.delta(version) if version is not None else None
    base = load_predictor(
        settings.model, settings.device, settings.dtype, settings.models_dir, compiled=settings.compile
    )
    return base if version is None or delta is None else predictor_with_delta(base, delta, version)


class _PictureByPicture(Engine):
    """Has one picture on the device, from its encoding to its last answer, however many threads ask: two would take
    twice the memory and not be faster. Nobody is more urgent here, so nobody need wait between stages."""

    def __init__(self, predictor: Predictor[Any]) -> None:
        super().__init__(predictor, PictureMemory(Budget(0, 0, 0)), wait_limit_s=threading.TIMEOUT_MAX)
        self._picture = threading.Lock()

    def answer(
        self, image: NDArray[np.uint8], image_sha256: str, prompts: Sequence[Prompt], asker: Asker
    ) -> Answered:
        with self._picture:
            return super().answer(image, image_sha256, prompts, asker)

    def exemplars(
        self, image: NDArray[np.uint8], image_sha256: str, regions: Sequence[tuple[Region, str]], asker: Asker
    ) -> list[Exemplar]:
        with self._picture:
            return super().exemplars(image, image_sha256, regions, asker)


class Answering:
    """Answers tasks; every region is logged by its id, as the service does, so that corrections can be told later.
    Safe to use from several threads.

    Args:
        images: where pictures come from; None: from where tasks say, as the service fetches them.

    Raises:
        StoreError: the database can't be opened, or is being restored.
    """

    def __init__(self, settings: Settings, predictor: Predictor[Any], images: Images | None = None) -> None:
        if settings.shared_database_url is None:  # nobody restores beneath it
            weakref.finalize(self, Hold(settings.data_dir).close)
        store = open_database(database_url("store", settings.data_dir, settings.shared_database_url), "store")
        monitor = Monitor()
        engine = _PictureByPicture(predictor)
        exemplars = ProjectExemplars(
            Annotations(store),
            Tasks(store),
            PictureFiles(settings.pictures_dir, shared_files(settings.artefacts_url)),
            engine,
            fetch_policy(settings).max_pixels,
            monitor.problem,
        )
        self.predictor = predictor
        self._ahead_bytes = settings.picture_cache_mb * 2**20
        self._images = images or ImageSource(fetch_policy(settings), label_studio_client(settings))
        self._backend = Backend(
            engine,
            self._images,
            PredictionLog(store),
            PreLabels(store),
            monitor,
            settings.instance,
            BatchShares(None, Projects(store), monitor, settings.batch_limit_s),
            exemplars,
        )

    def fetching(self, tasks: Sequence[TaskItem], config: LabelConfig) -> FetchingAhead:
        """The pictures of tasks that will be answered in about this order, for ``prediction``."""
        expected = [(url, task.id) for task in tasks for url in config.addresses(task.data)]
        return FetchingAhead(self._images, expected, AHEAD, self._ahead_bytes, readers=ANSWERING)

    def prediction(
        self, project: ProjectKey | None, task: TaskItem, config: LabelConfig, images: Images
    ) -> dict[str, Any]:
        """A task's prediction, as Label Studio takes it.

        Raises:
            XSamBackendError: there can be none; says why.
        """
        return self._backend.prelabel(project, task, config, self.predictor, images)
