"""The prediction log: every region that was sent, by its id; and why none was where somebody had asked for it.

Label Studio stores no interactive prediction, and an accepted suggestion comes back as if drawn by hand. Only this
log tells which annotated region was ours, which model version made it, and what it looked like before a correction.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Engine, func, insert, select

from xsam_backend.store.database import prune_rows, transaction
from xsam_backend.store.packing import pack, unpack
from xsam_backend.store.tables import NothingFoundRow, PredictionRow


@dataclass(frozen=True)
class LoggedRegion:
    """One region as sent.

    Attributes:
        region_id: the id that the annotation will carry if the region is accepted.
        project_key: see :class:`~xsam_backend.store.projects.ProjectKey`; None for callers without a project.
        task_id: Label Studio's task, as text; None where the caller gave none.
        from_name, region_type: the control tag and the kind of region, such as ``brushlabels``.
        score: 0..1.
        interactive: asked for by a click, box or phrase (True) or in a batch (False).
        prompt: what was asked, in words and numbers; JSON object.
        value: the region's ``value`` as sent: geometry and labels, per cent of the picture.
        image_sha256: of the picture's file.
        image_size_hw: (height, width) in pixels, EXIF orientation applied.
    """

    region_id: str
    project_key: str | None
    task_id: str | None
    model_version: str
    from_name: str
    region_type: str
    label: str | None
    score: float | None
    interactive: bool
    prompt: dict[str, Any]
    value: dict[str, Any]
    image_sha256: str
    image_size_hw: tuple[int, int]
    created_at: datetime


@dataclass(frozen=True)
class LoggedReason:
    """Why a prompt found nothing, or not all that it asked for; fields as of ``LoggedRegion``.

    Attributes:
        from_name: the control tag that regions would have been written to.
    """

    project_key: str | None
    task_id: str | None
    model_version: str
    from_name: str
    prompt: dict[str, Any]
    reason: str
    image_sha256: str
    image_size_hw: tuple[int, int]
    created_at: datetime


Logged = LoggedRegion | LoggedReason


class PredictionLog:
    """Reads and writes the log. Safe to use from several threads."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def add(self, records: Sequence[Logged]) -> None:
        """Keep regions and reasons, all or none.

        Raises:
            StoreBusyError: another process holds the database.
            StoreError: it cannot be written, or a region id is there already.
        """
        if not records:
            return
        with transaction(self._engine, f"{len(records)} records of the prediction log") as session:
            for table, kind in ((PredictionRow, LoggedRegion), (NothingFoundRow, LoggedReason)):
                rows = [_to_row(record) for record in records if isinstance(record, kind)]
                if rows:
                    session.execute(insert(table), rows)

    def find(self, region_ids: Iterable[str]) -> dict[str, LoggedRegion]:
        """The logged regions among ``region_ids``, by id; ids that are not ours are left out."""
        wanted = list(region_ids)
        found: dict[str, LoggedRegion] = {}
        with transaction(self._engine, "the prediction log") as session:
            for start in range(0, len(wanted), 500):  # databases limit the length of an IN list
                chunk = wanted[start : start + 500]
                for row in session.scalars(select(PredictionRow).where(PredictionRow.region_id.in_(chunk))):
                    found[row.region_id] = _from_row(row)
        return found

    def batch_of_task(self, project_key: str, task_id: int) -> list[LoggedRegion]:
        """What was sent for a task in batches, the newest first: its pre-annotations."""
        wanted = (
            select(PredictionRow)
            .where(PredictionRow.project_key == project_key, PredictionRow.task_id == str(task_id))
            .where(PredictionRow.interactive.is_(False))
            .order_by(PredictionRow.created_at.desc(), PredictionRow.region_id)
        )
        with transaction(self._engine, "the prediction log") as session:
            return [_from_row(row) for row in session.scalars(wanted)]

    def reasons(self, project_key: str | None, most: int = 100) -> list[LoggedReason]:
        """Why a project's prompts found nothing, the newest first; None: those of callers without a project."""
        wanted = (
            select(NothingFoundRow)
            .where(NothingFoundRow.project_key == project_key)
            .order_by(NothingFoundRow.id.desc())
            .limit(most)
        )
        with transaction(self._engine, "the prediction log") as session:
            return [
                LoggedReason(
                    project_key=row.project_key,
                    task_id=row.task_id,
                    model_version=row.model_version,
                    from_name=row.from_name,
                    prompt=json.loads(row.prompt),
                    reason=row.reason,
                    image_sha256=row.image_sha256,
                    image_size_hw=(row.image_height_px, row.image_width_px),
                    created_at=row.created_at,
                )
                for row in session.scalars(wanted)
            ]

    def prune(self, before: datetime, *, only_count: bool = False) -> int:
        """Delete what was sent before a moment, regions and reasons; how many they are. Whatever is accepted of the
        regions later looks as if it were drawn by hand.

        Raises:
            StoreError: the database can't be written.
        """
        return sum(
            prune_rows(self._engine, "the prediction log", key, (at < before,), only_count=only_count)
            for key, at in (
                (PredictionRow.region_id, PredictionRow.created_at),
                (NothingFoundRow.id, NothingFoundRow.created_at),
            )
        )

    def count(self) -> dict[str, int]:
        """How many regions are logged, by model version."""
        with transaction(self._engine, "the prediction log") as session:
            rows = session.execute(
                select(PredictionRow.model_version, func.count()).group_by(PredictionRow.model_version)
            )
            return {version: number for version, number in rows}


def _to_row(record: Logged) -> dict[str, Any]:
    row = dict(record.__dict__)
    row["image_height_px"], row["image_width_px"] = row.pop("image_size_hw")
    row["prompt"] = json.dumps(record.prompt, separators=(",", ":"))
    if isinstance(record, LoggedRegion):
        row["value"] = pack(record.value)
    return row


def _from_row(row: PredictionRow) -> LoggedRegion:
    return LoggedRegion(
        region_id=row.region_id,
        project_key=row.project_key,
        task_id=row.task_id,
        model_version=row.model_version,
        from_name=row.from_name,
        region_type=row.region_type,
        label=row.label,
        score=row.score,
        interactive=row.interactive,
        prompt=json.loads(row.prompt),
        value=unpack(row.value),
        image_sha256=row.image_sha256,
        image_size_hw=(row.image_height_px, row.image_width_px),
        created_at=row.created_at,
    )
