"""What a project's labels look like, from what was accepted in it: how its other tasks are pre-labelled by example.

Objects of the pictures that were accepted last are shown to the model once; what it makes of them is kept, also while
others are accepted: somebody waits for the next task.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from datetime import datetime
from itertools import groupby

import numpy as np

from xsam_backend.errors import ImageError, StoreError
from xsam_backend.inference.engine import Asker, Engine
from xsam_backend.labelstudio.context import labels_by_example
from xsam_backend.labelstudio.decoding import decode_image
from xsam_backend.labelstudio.label_config import LabelConfig
from xsam_backend.learning.choosing import choose
from xsam_backend.learning.examples import Example, examples_of
from xsam_backend.prompts import Exemplar
from xsam_backend.store.annotations import Annotations
from xsam_backend.store.picture_files import PictureFiles
from xsam_backend.store.tasks import KeptTask, TaskPicture, Tasks

LOOKED_THROUGH = 50
"""So many of the tasks that were accepted last are looked through for examples."""

KEPT = 100
"""Of so many projects and versions it is kept which exemplars they have."""

SEEN = 5000
"""So many objects' exemplars are kept: a few kilobytes each."""

_Key = tuple[str, tuple[str, ...], frozenset[str], str]
_Accepted = tuple[dict[int, datetime], dict[int, tuple[TaskPicture, ...]]]
"""When tasks were accepted, and their pictures: a task may be known before its pictures are copied."""

_Object = tuple[str, str, str, str]
"""Version, picture, label, and what the mask hashes to."""


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
        self._kept: OrderedDict[_Key, tuple[_Accepted, tuple[Exemplar, ...]]] = OrderedDict()
        self._seen: OrderedDict[_Object, Exemplar] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, project_key: str, config: LabelConfig, asker: Asker) -> tuple[Exemplar, ...]:
        """Exemplars of those of the labels that ``config`` looks for by example and somebody has accepted.

        Args:
            asker: with the predictor that will be asked; others don't understand its exemplars.

        Raises:
            BusyError: no turn came in time.
            StoreError: the database can't be read.
        """
        if not labels_by_example(config):
            return ()
        newest = self._annotations.newest_tasks(project_key, LOOKED_THROUGH)
        assert asker.predictor is not None
        key = (project_key, labels_by_example(config), config.asks_only, asker.predictor.model_version)
        with self._lock:
            known = self._kept.get(key)
        tasks = self._tasks.of_project(project_key, newest)
        accepted = (newest, {task.task_id: task.pictures for task in tasks})
        if known is not None and known[0] == accepted:
            return known[1]
        found = self._look_at(self._examples(project_key, config, newest, tasks), asker)
        with self._lock:
            self._kept[key] = (accepted, found)
            self._kept.move_to_end(key)
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        return found

    def _examples(
        self, project_key: str, config: LabelConfig, newest: dict[int, datetime], tasks: Sequence[KeptTask]
    ) -> tuple[Example, ...]:
        chosen = choose(tasks, self._annotations.of_tasks(project_key, list(newest)), config.asks_only)
        rank = {number: place for place, number in enumerate(newest)}
        return examples_of(sorted(chosen.choices, key=lambda choice: rank[choice.task_id]), labels_by_example(config))

    def _look_at(self, examples: Sequence[Example], asker: Asker) -> tuple[Exemplar, ...]:
        found: dict[_Object, Exemplar] = {}
        by_picture = sorted(examples, key=lambda example: example.sha256)
        for sha256, of_picture in groupby(by_picture, key=lambda example: example.sha256):
            asked = {_object(example, asker): example for example in of_picture}
            with self._lock:
                known = {key: self._seen[key] for key in asked if key in self._seen}
            unknown = {key: example for key, example in asked.items() if key not in known}
            found |= known
            if not unknown:
                continue
            try:
                pixels, _ = decode_image(self._files.read(sha256), max_pixels=self._max_pixels)
            except (ImageError, StoreError) as error:  # the others do as well
                self._problem(error, f"an accepted picture, {sha256}")
                continue
            regions = [(example.region, example.label) for example in unknown.values()]
            exemplars = self._engine.exemplars(pixels, sha256, regions, asker)
            looked_at = dict(zip(unknown, exemplars, strict=True))
            found |= looked_at
            with self._lock:
                self._seen |= looked_at
                while len(self._seen) > SEEN:
                    self._seen.popitem(last=False)
        return tuple(found.values())


def _object(example: Example, asker: Asker) -> _Object:
    assert asker.predictor is not None
    drawn = hashlib.sha256(np.packbits(example.region.mask).tobytes()).hexdigest()
    return asker.predictor.model_version, example.sha256, example.label, drawn
