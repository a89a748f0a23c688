"""Model versions that fine-tunings made, and which of them answers each project.

A version is its base model and what a fine-tuning changed of it; it is named by both, so the same changes are the
same version. What is deployed is a history that only grows: a promotion adds to it, and so does a rollback.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any, Literal, cast

from sqlalchemy import Engine, func, select, update
from sqlalchemy.dialects import postgresql, sqlite

from xsam_backend.errors import StoreError
from xsam_backend.store.database import transaction
from xsam_backend.store.tables import DeploymentRow, VersionRow

VersionState = Literal["promoted", "refused", "pruned"]
"""Passed the gate; didn't; its files are gone (the report stays)."""

PINNED, FOLDS = "the pinned part", "folds of what is new"
"""What a version was tested on, in its report: itself; or shorter trainings, each on what it left out."""


@dataclass(frozen=True)
class Version:
    """A version and how it came about.

    Attributes:
        base: the model that its changes belong to.
        parent: the version that the training started from; the base itself for a first one.
        report: what was learned from, how, and the gate's measures and reasons.
    """

    name: str
    project_key: str
    base: str
    parent: str
    state: VersionState
    job_id: int | None
    report: Mapping[str, Any]
    created_at: datetime = field(default_factory=lambda: datetime.now(timezone.utc))


@dataclass(frozen=True)
class Deployment:
    """From ``at`` on a project was answered by ``version``; None: by the base model."""

    project_key: str
    version: str | None
    reason: str
    at: datetime


class Versions:
    """Reads and writes versions. Safe to use from several threads and processes.

    Every method raises StoreError where the database cannot be read or written.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._insert: Any = postgresql.insert if engine.dialect.name == "postgresql" else sqlite.insert

    def add(self, version: Version) -> None:
        """Keep a version. Again, as after a kill, it changes nothing."""
        insert = self._insert(VersionRow).values(
            name=version.name,
            project_key=version.project_key,
            base=version.base,
            parent=version.parent,
            state=version.state,
            job_id=version.job_id,
            report=json.dumps(version.report),
            created_at=version.created_at,
        )
        self._write(insert.on_conflict_do_nothing(index_elements=["name"]))

    def get(self, name: str) -> Version | None:
        """A version by its name; None if there is none."""
        with transaction(self._engine, "the versions") as session:
            row = session.get(VersionRow, name)
            return _from_row(row) if row is not None else None

    def all(self, project_key: str | None = None) -> list[Version]:
        """Versions of a project, or of all, the newest first."""
        wanted = select(VersionRow).order_by(VersionRow.created_at.desc(), VersionRow.name)
        if project_key is not None:
            wanted = wanted.where(VersionRow.project_key == project_key)
        with transaction(self._engine, "the versions") as session:
            return [_from_row(row) for row in session.scalars(wanted)]

    def mark(self, name: str, state: VersionState) -> None:
        """Note a version's new state."""
        self._write(update(VersionRow).where(VersionRow.name == name).values(state=state))

    def deploy(self, project_key: str, version: str | None, reason: str, *, is_shared: bool = False) -> None:
        """From now on the project is answered by this version; None: by the base model. The same again adds nothing.

        Args:
            is_shared: it may be a version of another project. A project's model is its own unless somebody says so.

        Raises:
            StoreError: also if there is no such version of this project, or its files are gone.
        """
        if version is not None:
            known = self.get(version)
            if known is None or not (is_shared or self._is_of(known, project_key)):
                raise StoreError(f"expected a version of project {project_key}, got '{version}': see `models list`")
            if known.state == "pruned":
                raise StoreError(f"the files of version '{version}' were pruned: fine-tune again")
        history = self.history(project_key)
        if (history[0].version if history else None) == version:
            return
        row = DeploymentRow(project_key=project_key, version=version, reason=reason, at=datetime.now(timezone.utc))
        with transaction(self._engine, "the versions") as session:
            session.add(row)

    def _is_of(self, version: Version, project_key: str) -> bool:
        """Its own, or shared with it before: a rollback may lead back there."""
        own = version.project_key == project_key
        return own or any(deployment.version == version.name for deployment in self.history(project_key))

    def history(self, project_key: str) -> list[Deployment]:
        """What has answered a project, the newest first; before the first, the base did."""
        wanted = (
            select(DeploymentRow).where(DeploymentRow.project_key == project_key).order_by(DeploymentRow.id.desc())
        )
        with transaction(self._engine, "the versions") as session:
            return [Deployment(row.project_key, row.version, row.reason, row.at) for row in session.scalars(wanted)]

    def deployed(self) -> dict[str, str | None]:
        """What answers each project that ever had a version of its own."""
        newest = select(func.max(DeploymentRow.id)).group_by(DeploymentRow.project_key)
        wanted = select(DeploymentRow.project_key, DeploymentRow.version).where(DeploymentRow.id.in_(newest))
        with transaction(self._engine, "the versions") as session:
            return {key: version for key, version in session.execute(wanted)}

    def before(self, project_key: str) -> str | None:
        """What answered before what is deployed now: where a rollback leads. None is the base.

        Rolled back twice, it goes back twice: what was left by a rollback is passed over.

        Raises:
            StoreError: the project never had a version of its own.
        """
        names = [deployment.version for deployment in reversed(self.history(project_key))]
        if not names:
            raise StoreError(f"project {project_key} is answered by the base model, as it always was")
        path: list[str | None] = [None]
        for name in names:
            if name in path:
                del path[path.index(name) + 1 :]  # back on its own steps
            else:
                path.append(name)
        return path[-2] if len(path) > 1 else None

    def _write(self, statement: Any) -> None:
        with transaction(self._engine, "the versions") as session:
            session.execute(statement)


def _from_row(row: VersionRow) -> Version:
    return Version(
        name=row.name,
        project_key=row.project_key,
        base=row.base,
        parent=row.parent,
        state=cast(VersionState, row.state),
        job_id=row.job_id,
        report=json.loads(row.report),
        created_at=row.created_at,
    )
