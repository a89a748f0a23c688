"""What was predicted for each task last, before anybody labelled it: how sure, by which version, what it looks like.

The prediction log has the regions that were sent; a task where nothing was found has none there, and is here.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Engine, select
from sqlalchemy.dialects import postgresql, sqlite

from xsam_backend.store.database import transaction
from xsam_backend.store.tables import PreLabelRow

_KEPT_AS = np.dtype("<f2")


@dataclass(frozen=True, eq=False)
class PreLabel:
    """One task's last prediction in a batch.

    Attributes:
        base: the model that the version belongs to; vectors of one base compare.
        score: of the whole prediction, 0..1.
        vector: float32 (D,), what the task's pictures look like; kept in half precision.
    """

    project_key: str
    task_id: int
    model_version: str
    base: str
    score: float
    vector: NDArray[np.float32]
    predicted_at: datetime


class PreLabels:
    """Reads and writes them. Safe to use from several threads and processes."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._insert: Any = postgresql.insert if engine.dialect.name == "postgresql" else sqlite.insert

    def keep(self, pre_label: PreLabel) -> None:
        """In place of what was predicted before; an older one changes nothing.

        Raises:
            StoreError: the database cannot be written.
        """
        row = {**vars(pre_label), "vector": pre_label.vector.astype(_KEPT_AS).tobytes()}
        insert = self._insert(PreLabelRow).values(**row)
        upsert = insert.on_conflict_do_update(
            index_elements=["project_key", "task_id"],
            set_={name: insert.excluded[name] for name in row if name not in ("project_key", "task_id")},
            where=insert.excluded.predicted_at >= PreLabelRow.predicted_at,
        )
        with transaction(self._engine, f"what was predicted for task {pre_label.task_id}") as session:
            session.execute(upsert)

    def of_project(self, project_key: str) -> list[PreLabel]:
        """All of a project's tasks, by number."""
        wanted = select(PreLabelRow).where(PreLabelRow.project_key == project_key).order_by(PreLabelRow.task_id)
        with transaction(self._engine, "what was predicted of tasks") as session:
            return [_from_row(row) for row in session.scalars(wanted)]


def _from_row(row: PreLabelRow) -> PreLabel:
    return PreLabel(
        project_key=row.project_key,
        task_id=row.task_id,
        model_version=row.model_version,
        base=row.base,
        score=row.score,
        vector=np.frombuffer(row.vector, _KEPT_AS).astype(np.float32),
        predicted_at=row.predicted_at,
    )
