"""What a project's labels look like, from what was accepted in it: how its other tasks are pre-labelled by example.

Objects of the pictures that were accepted last are shown to the model once; what it makes of them is kept until
something else is accepted or another version is promoted.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from datetime import datetime
from itertools import groupby

from xsam_backend.errors import ImageError, StoreError
from xsam_backend.inference.engine import Asker, Engine
from xsam_backend.labelstudio.decoding import decode_image
from xsam_backend.learning.choosing import choose
from xsam_backend.learning.examples import Example, examples_of
from xsam_backend.prompts import Exemplar
from xsam_backend.store.annotations import Annotations
from xsam_backend.store.picture_files import PictureFiles
from xsam_backend.store.tasks import Tasks

LOOKED_THROUGH = 50
"""So many of the tasks that were accepted last are looked through for examples."""

KEPT = 100
"""Of so many projects and versions the exemplars are kept: a few kilobytes each."""

_Key = tuple[str, tuple[str, ...], str]


class ProjectExemplars:
    """Exemplars by project and version. Safe to use from several threads.

    Args:
        max_pixels: larger pictures are passed over.
        problem: is told of pictures that can't be used.
    """

    def __init__(
        self,
        annotations: Annotations,
        tasks: Tasks,
        files: PictureFiles,
        engine: Engine,
        max_pixels: int,
        problem: Callable[[Exception, str], object],
    ) -> None:
        self._annotations, self._tasks, self._files = annotations, tasks, files
        self._engine, self._max_pixels, self._problem = engine, max_pixels, problem
        self._kept: OrderedDict[_Key, tuple[dict[int, datetime], tuple[Exemplar, ...]]] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, project_key: str, labels: Sequence[str], asker: Asker) -> tuple[Exemplar, ...]:
        """Exemplars of those of the labels that somebody has accepted something of.

        Args:
            asker: with the predictor that will be asked; others don't understand its exemplars.

        Raises:
            BusyError: no turn came in time.
            StoreError: the database can't be read.
        """
        newest = self._annotations.newest_tasks(project_key, LOOKED_THROUGH)
        assert asker.predictor is not None
        key = (project_key, tuple(labels), asker.predictor.model_version)
        with self._lock:
            known = self._kept.get(key)
        if known is not None and known[0] == newest:
            return known[1]
        found = self._look_at(self._examples(project_key, labels, newest), asker)
        with self._lock:
            self._kept[key] = (newest, found)
            self._kept.move_to_end(key)
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        return found

    def _examples(self, project_key: str, labels: Sequence[str], newest: dict[int, datetime]) -> tuple[Example, ...]:
        tasks = self._tasks.of_project(project_key, newest)
        chosen = choose(tasks, self._annotations.of_tasks(project_key, list(newest)))
        rank = {number: place for place, number in enumerate(newest)}
        return examples_of(sorted(chosen.choices, key=lambda choice: rank[choice.task_id]), labels)

    def _look_at(self, examples: Sequence[Example], asker: Asker) -> tuple[Exemplar, ...]:
        found: list[Exemplar] = []
        by_picture = sorted(examples, key=lambda example: example.sha256)
        for sha256, of_picture in groupby(by_picture, key=lambda example: example.sha256):
            try:
                pixels, _ = decode_image(self._files.read(sha256), max_pixels=self._max_pixels)
            except (ImageError, StoreError) as error:  # the others do as well
                self._problem(error, f"an accepted picture, {sha256}")
                continue
            regions = [(example.region, example.label) for example in of_picture]
            found += self._engine.exemplars(pixels, sha256, regions, asker)
        return tuple(found)
