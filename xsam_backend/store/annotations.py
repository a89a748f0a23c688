"""What annotators accepted: the newest state of every annotation, whatever the order in which news of it came.

An annotation is known by project and Label Studio's number. News that are older than what is kept, or the same again,
change nothing. Deletion is final: Label Studio never gives a number twice, so whatever comes afterwards is old. It
may still tell what was deleted, where the deletion came first.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from typing import Any, Literal, cast

from sqlalchemy import CursorResult, Engine, case, func, or_, select
from sqlalchemy.dialects import postgresql, sqlite

from xsam_backend.store.database import transaction
from xsam_backend.store.packing import pack, unpack
from xsam_backend.store.tables import AnnotationRow, TaskRow

State = Literal["accepted", "skipped", "deleted"]

_CHUNK = 500  # databases limit the length of an IN list


@dataclass(frozen=True)
class ShownRegion:
    """A region of ours that the annotator was shown.

    Attributes:
        region_id: see :class:`~xsam_backend.store.predictions.LoggedRegion`, as all of these.
        value: as sent, before anybody changed it.
    """

    region_id: str
    model_version: str
    from_name: str
    region_type: str
    label: str | None
    score: float | None
    interactive: bool
    value: Mapping[str, Any]


@dataclass(frozen=True)
class KeptAnnotation:
    """One annotation as it was left last.

    Attributes:
        task_id: None only of a deletion that came before anything else.
        changed_at: Label Studio's time of the last change.
        annotator: number of the user who made it; None where Label Studio doesn't say.
        ground_truth: marked as such in Label Studio.
        result: Label Studio's regions.
        shown: our regions that the annotator had in front of them, kept or not.
    """

    project_key: str
    annotation_id: int
    task_id: int | None
    state: State
    changed_at: datetime
    annotator: int | None = None
    ground_truth: bool = False
    result: Sequence[Mapping[str, Any]] = ()
    shown: Sequence[ShownRegion] = ()


class Annotations:
    """Reads and writes annotations. Safe to use from several threads and processes."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._insert: Any = postgresql.insert if engine.dialect.name == "postgresql" else sqlite.insert

    def keep(self, annotations: Sequence[KeptAnnotation]) -> int:
        """Keep what is news, all or nothing; how many were. What was shown before still counts as shown.

        Raises:
            StoreError: the database cannot be written.
        """
        changed = 0
        # Read in a transaction of its own: SQLite refuses one that begins with reading and then must wait.
        annotations = [self._with_shown_before(annotation) for annotation in annotations]
        with transaction(self._engine, f"{len(annotations)} annotations") as session:
            for annotation in annotations:
                done = cast("CursorResult[Any]", session.execute(self._upsert(annotation)))
                changed += done.rowcount
        return changed

    def _with_shown_before(self, annotation: KeptAnnotation) -> KeptAnnotation:
        with transaction(self._engine, "the annotations") as session:
            row = session.get(AnnotationRow, (annotation.project_key, annotation.annotation_id))
            before = _from_row(row).shown if row is not None else ()
        shown = {region.region_id: region for region in (*before, *annotation.shown)}
        return replace(annotation, shown=tuple(shown.values()))

    def _upsert(self, annotation: KeptAnnotation) -> Any:
        insert = self._insert(AnnotationRow).values(
            project_key=annotation.project_key,
            annotation_id=annotation.annotation_id,
            task_id=annotation.task_id,
            state=annotation.state,
            changed_at=annotation.changed_at,
            annotator=annotation.annotator,
            ground_truth=annotation.ground_truth,
            result=pack(list(annotation.result)),
            shown=pack([region.__dict__ for region in annotation.shown]),
            kept_at=datetime.now(timezone.utc),
        )
        new = insert.excluded
        is_deleted = AnnotationRow.state == "deleted"
        if annotation.state == "deleted":  # the last content stays: what was deleted teaches, too
            news = {"state": new.state, "changed_at": new.changed_at, "kept_at": new.kept_at}
            is_news = ~is_deleted
        else:
            keys = ("task_id", "annotator", "ground_truth", "result", "shown", "kept_at")
            news = {key: new[key] for key in keys}
            news |= {
                key: case((is_deleted, getattr(AnnotationRow, key)), else_=new[key])
                for key in ("state", "changed_at")
            }
            lacks_content = is_deleted & AnnotationRow.task_id.is_(None)
            is_news = lacks_content | (~is_deleted & (new.changed_at > AnnotationRow.changed_at))
        return insert.on_conflict_do_update(index_elements=["project_key", "annotation_id"], set_=news, where=is_news)

    def delete(self, project_key: str, annotation_ids: Iterable[int], at: datetime) -> int:
        """Note that these are gone from Label Studio; how many that is news of."""
        return self.keep([KeptAnnotation(project_key, number, None, "deleted", at) for number in annotation_ids])

    def changed_at(self, project_key: str) -> dict[int, datetime]:
        """The kept times of a project's annotations that aren't deleted, by number."""
        wanted = select(AnnotationRow.annotation_id, AnnotationRow.changed_at).where(
            AnnotationRow.project_key == project_key, AnnotationRow.state != "deleted"
        )
        with transaction(self._engine, "the annotations") as session:
            return {number: moment for number, moment in session.execute(wanted)}

    def of_tasks(self, project_key: str, task_ids: Sequence[int] | None = None) -> Iterator[KeptAnnotation]:
        """A project's annotations by task and number, deleted ones too; all unless tasks are given.

        Those of deleted tasks are left out.
        """
        gone = select(TaskRow.task_id).where(TaskRow.project_key == project_key, TaskRow.deleted.is_(True))
        base = (
            select(AnnotationRow)
            .where(AnnotationRow.project_key == project_key)
            .where(or_(AnnotationRow.task_id.is_(None), AnnotationRow.task_id.not_in(gone)))
            .order_by(AnnotationRow.task_id, AnnotationRow.annotation_id)
        )
        with transaction(self._engine, "the annotations") as session:
            if task_ids is None:
                yield from (_from_row(row) for row in session.scalars(base.execution_options(yield_per=200)))
                return
            for start in range(0, len(task_ids), _CHUNK):
                chunk = base.where(AnnotationRow.task_id.in_(task_ids[start : start + _CHUNK]))
                yield from (_from_row(row) for row in session.scalars(chunk))

    def newest_tasks(self, project_key: str, count: int) -> dict[int, datetime]:
        """The tasks that were accepted last, and when, the last one first; at most so many."""
        last = func.max(AnnotationRow.changed_at)
        wanted = (
            select(AnnotationRow.task_id, last)
            .where(
                AnnotationRow.project_key == project_key,
                AnnotationRow.state == "accepted",
                AnnotationRow.task_id.is_not(None),
            )
            .group_by(AnnotationRow.task_id)
            .order_by(last.desc(), AnnotationRow.task_id.desc())
        )
        with transaction(self._engine, "the annotations") as session:
            return {number: moment for number, moment in session.execute(wanted.limit(count)) if number is not None}

    def labelled_tasks(self, project_key: str) -> set[int]:
        """Numbers of the tasks that somebody has accepted or skipped."""
        wanted = select(AnnotationRow.task_id).where(
            AnnotationRow.project_key == project_key,
            AnnotationRow.state != "deleted",
            AnnotationRow.task_id.is_not(None),
        )
        with transaction(self._engine, "the annotations") as session:
            return {number for number in session.scalars(wanted.distinct()) if number is not None}

    def count(self) -> dict[str, dict[str, int]]:
        """How many there are, by project and state."""
        counted: dict[str, dict[str, int]] = {}
        with transaction(self._engine, "the annotations") as session:
            wanted = select(AnnotationRow.project_key, AnnotationRow.state, func.count())
            for project, state, number in session.execute(
                wanted.group_by(AnnotationRow.project_key, AnnotationRow.state)
            ):
                counted.setdefault(project, {})[state] = number
        return counted


def _from_row(row: AnnotationRow) -> KeptAnnotation:
    state: Any = row.state
    return KeptAnnotation(
        project_key=row.project_key,
        annotation_id=row.annotation_id,
        task_id=row.task_id,
        state=state,
        changed_at=row.changed_at,
        annotator=row.annotator,
        ground_truth=row.ground_truth,
        result=tuple(unpack(row.result)),
        shown=tuple(ShownRegion(**region) for region in unpack(row.shown)),
    )
