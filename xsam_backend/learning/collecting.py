"""From webhook events to kept annotations, and back to Label Studio's truth where events aren't enough.

An event that proved to be our Label Studio's is taken at its word. A hint (see ``store.inbox``) only says that
something happened: the project is synced, through the API. So is every known project at the start of the service,
since Label Studio sends an event once, whether or not anybody listens.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any, Protocol

from xsam_backend.errors import NotFoundError, ProjectGoneError, RequestError, StoreError
from xsam_backend.labelstudio.label_config import LabelConfig
from xsam_backend.learning.accepted import annotation_from, changed_at, number_of, task_pictures
from xsam_backend.store.annotations import Annotations
from xsam_backend.store.inbox import Event
from xsam_backend.store.inbox_reading import InboxReader
from xsam_backend.store.predictions import PredictionLog
from xsam_backend.store.projects import ProjectKey, Projects
from xsam_backend.store.tasks import KeptTask, Tasks

Json = Mapping[str, Any]

PROJECT_DELETED = "PROJECT_DELETED"
"""Comes to webhooks of a whole organization, and 1.23 makes none: of most projects it is found out by asking."""


class LabelStudioApi(Protocol):
    """What is needed of :class:`~xsam_backend.labelstudio.client.LabelStudioClient`."""

    def project(self, project_id: int) -> dict[str, Any]:
        """One project: ``id``, ``created_at``, ``title``, ``label_config``."""

    def has_project(self, project_id: int) -> bool:
        """Whether it is still there."""

    def tasks(self, project_id: int) -> Iterator[dict[str, Any]]:
        """Its tasks with their annotations."""

    def has_annotation(self, annotation_id: int) -> bool:
        """Whether it is still there."""

    def has_task(self, task_id: int) -> bool:
        """Whether it is still there."""


@dataclass(frozen=True)
class Synced:
    """What a sync has brought: how many annotations were news, how many had been deleted, and why tasks couldn't be
    understood, one sentence each."""

    project: ProjectKey
    tasks: int
    news: int
    deleted: int
    problems: tuple[str, ...] = ()


class Collector:
    """Keeps what annotators accept. One thread at a time; several processes may collect from one inbox."""

    def __init__(
        self, projects: Projects, tasks: Tasks, annotations: Annotations, predictions: PredictionLog, instance: str
    ) -> None:
        self._projects = projects
        self._tasks = tasks
        self._annotations = annotations
        self._predictions = predictions
        self._instance = instance

    def take_events(self, reader: InboxReader) -> Iterator[tuple[Event, Exception]]:
        """Keep what all unread events say. Those that can't be understood come out, with the reason; their projects
        are to be synced, so that what they meant isn't lost.

        Raises:
            StoreError: a database cannot be written. That event and those behind it are still unread.
        """
        for event in reader.unread():
            try:
                self.take_event(event)
            except StoreError:
                raise
            except Exception as error:  # whatever is in an event, those behind it must not wait for ever
                if event.project_key is not None:
                    self._projects.want_sync(event.project_key)
                yield event, error
            reader.done(event)
        reader.settle()

    def take_event(self, event: Event) -> None:
        """Keep what one event says.

        Raises:
            RequestError, LabelConfigError: it can't be understood.
            StoreError: a database cannot be written.
        """
        if event.action == PROJECT_DELETED:
            self._ask_for(event.body.get("project"))
        if event.project_key is None:
            return
        if not event.verified:
            self._projects.want_sync(event.project_key)
            return
        self._remember(ProjectKey.parse(event.project_key), event.body.get("project"))
        if event.action in ("ANNOTATION_CREATED", "ANNOTATION_UPDATED", "ANNOTATIONS_CREATED"):
            self._take_annotations(event.body, event.project_key)
        elif event.action == "ANNOTATIONS_DELETED":
            gone = _numbers(event.body.get("annotations"), "annotation")
            self._annotations.delete(event.project_key, gone, event.received_at)
        elif event.action == "TASKS_DELETED":
            self._tasks.delete(event.project_key, _numbers(event.body.get("tasks"), "task"))

    def _ask_for(self, project: object) -> None:
        """A deleted project comes with its id alone, and from anybody: Label Studio is asked whether it is gone."""
        number = number_of(project, "project")
        keys = (ProjectKey.parse(known.key) for known in self._projects.all())
        for key in keys:
            if (key.instance, key.project_id) == (self._instance, number):
                self._projects.want_sync(str(key))

    def _remember(self, key: ProjectKey, project: object) -> None:
        """Every event carries its project as it was then; events may overtake each other."""
        if not isinstance(project, Mapping):
            return
        title, label_config = project.get("title"), project.get("label_config")
        self._projects.remember(
            key,
            title if isinstance(title, str) and title else None,
            label_config if isinstance(label_config, str) and label_config else None,
            _moment(project.get("updated_at")),
        )

    def _take_annotations(self, body: Json, project_key: str) -> None:
        tasks = {number_of(task, "task"): task for task in _listed(body.get("task"))}
        by_task: dict[int, list[Json]] = {number: [] for number in tasks}
        for annotation in _listed(body.get("annotation")):
            number = number_of(annotation.get("task", next(iter(tasks), None)), "task")
            if number not in tasks:
                raise RequestError(f"annotation of task {number}: expected that task in the event, got {list(tasks)}")
            by_task[number].append(annotation)
        config = _config_of(body.get("project"))
        for number, of_task in by_task.items():
            self._take_task({**tasks[number], "annotations": of_task}, project_key, config)

    def _take_task(self, task: Json, project_key: str, config: LabelConfig) -> int:
        """Keep a task with its annotations; how many of them were news."""
        number = number_of(task, "task")
        annotations = [
            annotation_from(annotation, project_key, number, self._predictions)
            for annotation in _listed(task.get("annotations"))
        ]
        if not annotations:
            return 0
        self._tasks.know(project_key, number, task_pictures(task.get("data"), config))
        return self._annotations.keep(annotations)

    def sync(self, api: LabelStudioApi, project_id: int, expected: ProjectKey | None = None) -> Synced:
        """Fetch a project's truth: news are kept, and what is gone from Label Studio is noted. A task that can't be
        understood is told and costs no other.

        Args:
            expected: the project that is meant; None for any that has this number.

        Raises:
            ProjectGoneError: Label Studio hasn't it any more; that is noted, and nothing else changed.
            LabelStudioError: Label Studio cannot be asked.
            RequestError, LabelConfigError: its answer can't be understood, or the config has no picture.
            StoreError: a database cannot be written.
        """
        started = datetime.now(timezone.utc)
        project = self._fetched(api, project_id, expected)
        key = ProjectKey.from_webhook(self._instance, project)
        self._remember(key, project)
        self._projects.there(str(key))
        config = _config_of(project)
        kept = self._annotations.changed_at(str(key))
        known = {task.task_id: task for task in self._tasks.of_project(str(key))}
        unseen, unseen_tasks = set(kept), set(known)
        problems: list[str] = []
        tasks = news = 0
        for task in api.tasks(project_id):
            tasks += 1
            number = number_of(task, "task")
            unseen_tasks.discard(number)
            try:
                listed = {number_of(one, "annotation"): one for one in _listed(task.get("annotations"))}
                unseen -= set(listed)
                if number not in known or _lacks_pictures(known[number]) or not _are_old(listed, kept):
                    news += self._take_task(task, str(key), config)
            except RequestError as error:
                problems.append(f"task {number}: {error}")
        # A page may have been missed while tasks were deleted, and deletion is final: so ask about each.
        gone = [number for number in sorted(unseen) if not api.has_annotation(number)]
        self._annotations.delete(str(key), gone, started)
        self._tasks.delete(str(key), [number for number in sorted(unseen_tasks) if not api.has_task(number)])
        self._tasks.try_again(str(key))
        return Synced(key, tasks, news, len(gone), tuple(problems))

    def ask_after(self, api: LabelStudioApi, key: ProjectKey) -> None:
        """See whether Label Studio still has a known project, and what it is called now. Its tasks aren't read.

        Raises:
            ProjectGoneError: it hasn't; that is noted. LabelStudioError: it cannot be asked.
            StoreError: the database cannot be written.
        """
        self._remember(key, self._fetched(api, key.project_id, key))

    def _fetched(self, api: LabelStudioApi, project_id: int, expected: ProjectKey | None) -> Json:
        try:
            project = api.project(project_id)
        except NotFoundError:
            if expected is None or api.has_project(project_id):
                raise
            self._projects.gone(str(expected))
            raise ProjectGoneError(
                f"project {expected} is gone from Label Studio, or the token's user may not see it; what was kept of "
                "it stays"
            ) from None
        key = ProjectKey.from_webhook(self._instance, project)
        if expected in (None, key):
            return project
        self._projects.gone(str(expected))
        raise ProjectGoneError(
            f"expected project {expected}, Label Studio has {key} under that number: it was deleted, and that is "
            "another one; what was kept of it stays"
        )

    def import_export(self, rows: Iterable[object], key: ProjectKey, label_config: str) -> Synced:
        """Keep what a JSON export of a project holds. It says nothing about what was deleted.

        Raises:
            RequestError, LabelConfigError: it isn't such an export, or the config has no picture.
            StoreError: a database cannot be written.
        """
        config = LabelConfig.parse(label_config)
        self._projects.remember(key, label_config=label_config)
        tasks = news = 0
        for task in rows:
            if not isinstance(task, Mapping):
                raise RequestError("expected a JSON export: a list of tasks with data and annotations")
            tasks += 1
            news += self._take_task(task, str(key), config)
        return Synced(key, tasks, news, 0)


def _moment(said: object) -> datetime | None:
    """A time of Label Studio's; None where it says none."""
    try:
        moment = datetime.fromisoformat(str(said).replace("Z", "+00:00"))
    except ValueError:
        return None
    return moment if moment.tzinfo else None


def _lacks_pictures(task: KeptTask) -> bool:
    return any(picture.sha256 is None for picture in task.pictures)


def _are_old(annotations: Mapping[int, Json], kept: Mapping[int, datetime]) -> bool:
    """Whether all of them are kept as they are: then nothing needs to be read."""
    return all(
        number in kept and changed_at(annotation, number) <= kept[number]
        for number, annotation in annotations.items()
    )


def _config_of(project: object) -> LabelConfig:
    label_config = project.get("label_config") if isinstance(project, Mapping) else None
    return LabelConfig.parse(label_config if isinstance(label_config, str) else "")


def _listed(value: object) -> list[Json]:
    """One object, or a list of them.

    Raises:
        RequestError: it holds anything else.
    """
    values = value if isinstance(value, list) else [value] if value is not None else []
    if not all(isinstance(one, Mapping) for one in values):
        raise RequestError("expected annotations and tasks as objects, got something else")
    return list(values)


def _numbers(value: object, what: str) -> list[int]:
    return [number_of(one, what) for one in _listed(value)]
