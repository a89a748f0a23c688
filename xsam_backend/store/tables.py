"""The tables. Two families that live in two SQLite files (or side by side in one PostgreSQL database).

The inbox has its own file so that no long transaction of anything else can lock it: a webhook has one second.
A change here needs a migration below ``migrations/``; a test compares the two.
"""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

from sqlalchemy import BigInteger, Boolean, DateTime, Float, Index, Integer, LargeBinary, String, Text
from sqlalchemy.engine import Dialect
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeDecorator


class UtcDateTime(TypeDecorator[datetime]):
    """A moment, always aware and in UTC. SQLite forgets time zones; this puts UTC back."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Aware moments only: a naive one would silently mean another moment elsewhere."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"expected a moment with a time zone, got {value!r}")
        return value.astimezone(timezone.utc)

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        """The moment in UTC."""
        if value is None:
            return None
        moment: datetime = value
        return moment.replace(tzinfo=timezone.utc) if moment.tzinfo is None else moment.astimezone(timezone.utc)


RowId = BigInteger().with_variant(Integer, "sqlite")
"""SQLite numbers rows by itself only where the type is exactly INTEGER."""


class InboxTables(DeclarativeBase):
    """The inbox's family."""


class EventRow(InboxTables):
    """One webhook event as it came, secrets dropped."""

    __tablename__ = "inbox_events"
    __table_args__ = {"sqlite_autoincrement": True}  # noqa: RUF012  ids grow for ever, so readers can keep a cursor

    id: Mapped[int] = mapped_column(RowId, primary_key=True, autoincrement=True)
    content_key: Mapped[str] = mapped_column(String(64), unique=True)
    action: Mapped[str] = mapped_column(String(64))
    project_key: Mapped[str | None] = mapped_column(String(255), index=True)
    verified: Mapped[bool] = mapped_column(Boolean)
    body: Mapped[str] = mapped_column(Text)
    received_at: Mapped[datetime] = mapped_column(UtcDateTime)


class StoreTables(DeclarativeBase):
    """Everything but the inbox."""


class ProjectRow(StoreTables):
    """A Label Studio project that has called."""

    __tablename__ = "projects"

    key: Mapped[str] = mapped_column(String(255), primary_key=True)
    title: Mapped[str | None] = mapped_column(Text)
    label_config: Mapped[str | None] = mapped_column(Text)
    updated_at: Mapped[datetime] = mapped_column(UtcDateTime)
    sync_wanted_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    told_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    gone_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    synced_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    confirmed: Mapped[bool] = mapped_column(Boolean)


class PredictionRow(StoreTables):
    """One region that was sent to Label Studio."""

    __tablename__ = "predictions"

    region_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    project_key: Mapped[str | None] = mapped_column(String(255), index=True)
    task_id: Mapped[str | None] = mapped_column(String(64))
    model_version: Mapped[str] = mapped_column(String(255))
    from_name: Mapped[str] = mapped_column(String(255))
    region_type: Mapped[str] = mapped_column(String(64))
    label: Mapped[str | None] = mapped_column(Text)
    score: Mapped[float | None] = mapped_column(Float)
    interactive: Mapped[bool] = mapped_column(Boolean)
    prompt: Mapped[str] = mapped_column(Text)
    value: Mapped[bytes] = mapped_column(LargeBinary)
    image_sha256: Mapped[str] = mapped_column(String(64))
    image_height_px: Mapped[int] = mapped_column(Integer)
    image_width_px: Mapped[int] = mapped_column(Integer)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, index=True)


class NothingFoundRow(StoreTables):
    """A prompt that found nothing, or not all that it asked for, and why."""

    __tablename__ = "nothing_found"

    id: Mapped[int] = mapped_column(RowId, primary_key=True, autoincrement=True)
    project_key: Mapped[str | None] = mapped_column(String(255), index=True)
    task_id: Mapped[str | None] = mapped_column(String(64))
    model_version: Mapped[str] = mapped_column(String(255))
    from_name: Mapped[str] = mapped_column(String(255))
    prompt: Mapped[str] = mapped_column(Text)
    reason: Mapped[str] = mapped_column(Text)
    image_sha256: Mapped[str] = mapped_column(String(64))
    image_height_px: Mapped[int] = mapped_column(Integer)
    image_width_px: Mapped[int] = mapped_column(Integer)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, index=True)


class PreLabelRow(StoreTables):
    """What was predicted for a task last."""

    __tablename__ = "pre_labels"

    project_key: Mapped[str] = mapped_column(String(255), primary_key=True)
    task_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    model_version: Mapped[str] = mapped_column(String(255))
    base: Mapped[str] = mapped_column(String(255))
    score: Mapped[float] = mapped_column(Float)
    vector: Mapped[bytes] = mapped_column(LargeBinary)
    predicted_at: Mapped[datetime] = mapped_column(UtcDateTime)


class BulkTaskRow(StoreTables):
    """A task of a batch that Label Studio can't wait for. ``due_at`` is empty once it is over."""

    __tablename__ = "bulk_tasks"
    __table_args__ = (
        Index("ix_bulk_tasks_task", "project_key", "task_id", unique=True),
        Index("ix_bulk_tasks_due", "due_at", "id"),
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(RowId, primary_key=True, autoincrement=True)
    project_key: Mapped[str] = mapped_column(String(255))
    task_id: Mapped[int] = mapped_column(BigInteger)
    model_version: Mapped[str] = mapped_column(String(255))
    state: Mapped[str] = mapped_column(String(16))
    due_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    holder: Mapped[str | None] = mapped_column(String(32), index=True)
    tries: Mapped[int] = mapped_column(Integer)
    error: Mapped[str | None] = mapped_column(Text)
    ended_at: Mapped[datetime | None] = mapped_column(UtcDateTime)


class TaskRow(StoreTables):
    """A task of which an annotation came, and its pictures."""

    __tablename__ = "tasks"

    project_key: Mapped[str] = mapped_column(String(255), primary_key=True)
    task_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    pictures: Mapped[str] = mapped_column(Text)
    lacks_pictures: Mapped[bool] = mapped_column(Boolean, index=True)
    tries: Mapped[int] = mapped_column(Integer)
    next_try_at: Mapped[datetime] = mapped_column(UtcDateTime)
    deleted: Mapped[bool] = mapped_column(Boolean)
    first_seen_at: Mapped[datetime] = mapped_column(UtcDateTime)


class AnnotationRow(StoreTables):
    """An annotation as it was left last."""

    __tablename__ = "annotations"
    __table_args__ = (Index("ix_annotations_news", "project_key", "state", "kept_at"),)

    project_key: Mapped[str] = mapped_column(String(255), primary_key=True)
    annotation_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    task_id: Mapped[int | None] = mapped_column(BigInteger)
    state: Mapped[str] = mapped_column(String(16))
    changed_at: Mapped[datetime] = mapped_column(UtcDateTime)
    annotator: Mapped[int | None] = mapped_column(BigInteger)
    ground_truth: Mapped[bool] = mapped_column(Boolean)
    result: Mapped[bytes] = mapped_column(LargeBinary)
    shown: Mapped[bytes] = mapped_column(LargeBinary)
    kept_at: Mapped[datetime] = mapped_column(UtcDateTime)


class CursorRow(StoreTables):
    """How far a reader of the inbox has come."""

    __tablename__ = "cursors"

    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    event_id: Mapped[int] = mapped_column(BigInteger)


class SecretRow(StoreTables):
    """A secret that the services of one database share."""

    __tablename__ = "secrets"

    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    value: Mapped[str] = mapped_column(Text)


class JobRow(StoreTables):
    """A fine-tuning that is wanted, under way or over."""

    __tablename__ = "jobs"
    __table_args__ = {"sqlite_autoincrement": True}  # noqa: RUF012  a number is never given twice

    id: Mapped[int] = mapped_column(RowId, primary_key=True, autoincrement=True)
    project_key: Mapped[str] = mapped_column(String(255), index=True)
    queued_for: Mapped[str | None] = mapped_column(String(255), unique=True)
    place: Mapped[str | None] = mapped_column(String(255), unique=True)
    reason: Mapped[str] = mapped_column(String(16))
    state: Mapped[str] = mapped_column(String(16), index=True)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    started_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    ended_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    stage: Mapped[str] = mapped_column(Text)
    step: Mapped[int] = mapped_column(Integer)
    steps: Mapped[int] = mapped_column(Integer)
    eta_s: Mapped[float | None] = mapped_column(Float)
    cancel_wanted: Mapped[bool] = mapped_column(Boolean)
    heartbeat_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    host: Mapped[str | None] = mapped_column(String(255))
    pid: Mapped[int | None] = mapped_column(Integer)
    worker_started_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    tries: Mapped[int] = mapped_column(Integer)
    error: Mapped[str | None] = mapped_column(Text)
    result: Mapped[str | None] = mapped_column(Text)
    log_file: Mapped[str | None] = mapped_column(Text)


class VersionRow(StoreTables):
    """A model version that a fine-tuning made for a project."""

    __tablename__ = "versions"

    name: Mapped[str] = mapped_column(String(255), primary_key=True)
    project_key: Mapped[str] = mapped_column(String(255), index=True)
    base: Mapped[str] = mapped_column(String(255))
    parent: Mapped[str] = mapped_column(String(255))
    state: Mapped[str] = mapped_column(String(16))
    job_id: Mapped[int | None] = mapped_column(BigInteger)
    report: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)


class DeploymentRow(StoreTables):
    """From when on a project is answered by which version."""

    __tablename__ = "deployments"
    __table_args__ = {"sqlite_autoincrement": True}  # noqa: RUF012

    id: Mapped[int] = mapped_column(RowId, primary_key=True, autoincrement=True)
    project_key: Mapped[str] = mapped_column(String(255), index=True)
    version: Mapped[str | None] = mapped_column(String(255))
    reason: Mapped[str] = mapped_column(Text)
    at: Mapped[datetime] = mapped_column(UtcDateTime)
