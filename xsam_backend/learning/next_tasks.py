"""Which tasks to label next: those that the model knows least about, unlike each other and unlike what is labelled.

The rule. Of a project's tasks that nobody has accepted or skipped:

1. Those that were pre-labelled come first, as ``spread_choice`` has them: their weight is 1 minus the prediction's
   score, their distance that of their pictures. Labelled tasks that were pre-labelled once count as chosen already.
   Where another version of the same base made the last prediction, its score says nothing of the deployed one: such a
   task weighs as much as those of the deployed version do on average.
2. Those that were never pre-labelled with this base come last, the lowest number first: nothing is known of them.

Known are tasks that were pre-labelled, or annotated once.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from xsam_backend.learning.spread_choice import spread_choice
from xsam_backend.store.annotations import Annotations
from xsam_backend.store.pre_labels import PreLabel, PreLabels
from xsam_backend.store.tasks import Tasks

LEAST_WEIGHT = 0.01
"""Nothing is so sure that it need never be seen."""

UNKNOWN_WEIGHT = 0.5


def next_tasks(
    project_key: str,
    count: int,
    *,
    version: str,
    base: str,
    pre_labels: PreLabels,
    annotations: Annotations,
    tasks: Tasks,
) -> list[int]:
    """Numbers of ``count`` tasks, or of all that are left, the one to label first first.

    Args:
        version: what answers the project now.
        base: the model that it belongs to.
    """
    labelled, gone = annotations.labelled_tasks(project_key), tasks.deleted(project_key)
    predicted = [one for one in pre_labels.of_project(project_key) if one.task_id not in gone]
    there = [one for one in predicted if one.base == base]
    asked = [one for one in there if one.task_id not in labelled]
    taken = _stacked([one for one in there if one.task_id in labelled])
    chosen = [asked[i].task_id for i in spread_choice(_weights(asked, version), _stacked(asked), taken, count)]
    known = {one.task_id for one in predicted} | {one.task_id for one in tasks.of_project(project_key)}
    never = sorted(known - labelled - {one.task_id for one in asked})
    return [*chosen, *never][:count]


def _weights(asked: Sequence[PreLabel], version: str) -> NDArray[np.float64]:
    sure = np.array([one.score if one.model_version == version else np.nan for one in asked], np.float64)
    weights = np.maximum(1 - sure, LEAST_WEIGHT)
    unknown = np.isnan(sure)
    usual = float(weights[~unknown].mean()) if (~unknown).any() else UNKNOWN_WEIGHT
    return np.where(unknown, usual, weights)


def _stacked(pre_labels: Sequence[PreLabel]) -> NDArray[np.float32]:
    return np.stack([one.vector for one in pre_labels]) if pre_labels else np.zeros((0, 0), np.float32)
