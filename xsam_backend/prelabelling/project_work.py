"""Pre-labelling the tasks of a Label Studio project. What is done is what Label Studio has: nothing is kept here.

A prediction is written if, and only if, the task has none of the version that answers; whether it has one is asked
before the model is, and again right before writing. One thread writes, task after task; meanwhile the next ones'
pictures are fetched and answered.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from xsam_backend.config import Settings
from xsam_backend.errors import SettingsError, XSamBackendError
from xsam_backend.labelstudio.client import LabelStudioClient
from xsam_backend.labelstudio.context import batch_prompts
from xsam_backend.labelstudio.label_config import LabelConfig
from xsam_backend.labelstudio.recent_images import Images
from xsam_backend.prelabelling.answering import Answering, load
from xsam_backend.prelabelling.blocks import Block, Done
from xsam_backend.prelabelling.in_step import answered_ahead
from xsam_backend.server.outside import label_studio_client
from xsam_backend.server.protocol import TaskItem
from xsam_backend.store.projects import ProjectKey

PAGE = 500
"""So many task numbers are asked for at once."""


def client_of(settings: Settings) -> LabelStudioClient:
    """A client of the Label Studio that the settings name.

    Raises:
        SettingsError: they name none.
    """
    client = label_studio_client(settings)
    if client is None:
        raise SettingsError("a project is read from Label Studio: set label_studio_url and label_studio_token")
    return client


@dataclass(frozen=True)
class ProjectWork:
    """The tasks of one project.

    Attributes:
        version: that answers; None: the base model.
        label_config: the project's, XML.
    """

    settings: Settings
    version: str | None
    project: ProjectKey
    label_config: str

    @classmethod
    def of(cls, settings: Settings, project_id: int, version_of: Callable[[ProjectKey], str | None]) -> ProjectWork:
        """As Label Studio has the project now.

        Args:
            version_of: what is to answer it.

        Raises:
            LabelStudioError: it can't be asked for. LabelConfigError: nothing can be pre-labelled with its config.
        """
        row = client_of(settings).project(project_id)
        key = ProjectKey.from_webhook(settings.instance, row)
        label_config = str(row.get("label_config") or "")
        batch_prompts(LabelConfig.parse(label_config))
        return cls(settings, version_of(key), key, label_config)

    def tasks(self) -> Iterator[int]:
        """The numbers of all tasks, in order.

        Raises:
            LabelStudioError: it can't be asked.
        """
        client, last = client_of(self.settings), 0
        while rows := client.tasks_after(self.project.project_id, last, PAGE):
            numbers = sorted(int(row["id"]) for row in rows)
            yield from numbers
            last = numbers[-1]

    def opened(self) -> Callable[[Block], Done]:
        """See :class:`~xsam_backend.prelabelling.blocks.Work`."""
        answering = Answering(self.settings, load(self.settings, self.version))
        return _Writer(self, client_of(self.settings), answering)


class _Writer:
    def __init__(self, work: ProjectWork, client: LabelStudioClient, answering: Answering) -> None:
        self._work, self._client, self._answering = work, client, answering
        self._config = LabelConfig.parse(work.label_config)

    def __call__(self, block: Block) -> Done:
        rows = self._rows(block.items)
        tasks = [_task(row) for row in rows if not self._has_ours(row)]
        answered = 0
        problems: list[str] = []
        with (
            self._answering.fetching(tasks, self._config) as images,
            answered_ahead(partial(self._prediction, images), tasks) as answers,
        ):
            for task, prediction in answers:
                try:
                    answered += self._write(task, prediction.result())
                except XSamBackendError as error:
                    problems.append(f"task {task.id}: {error}")
        return Done(block.number, answered, len(rows) - answered - len(problems), tuple(problems))

    def _prediction(self, images: Images, task: TaskItem) -> dict[str, Any]:
        return self._answering.prediction(self._work.project, task, self._config, images)

    def _write(self, task: TaskItem, prediction: Mapping[str, Any]) -> bool:
        """False: somebody else has meanwhile, or the task is gone."""
        assert task.id is not None
        now = self._rows([task.id])
        if not now or self._has_ours(now[0]):
            return False
        self._client.add_prediction(task.id, prediction)
        return True

    def _rows(self, numbers: Any) -> list[dict[str, Any]]:
        return self._client.chosen_tasks(self._work.project.project_id, [int(number) for number in numbers])

    def _has_ours(self, row: Mapping[str, Any]) -> bool:
        version = self._answering.predictor.model_version
        return any(known.get("model_version") == version for known in row.get("predictions") or ())


def _task(row: Mapping[str, Any]) -> TaskItem:
    data = row.get("data")
    return TaskItem(int(row["id"]), data if isinstance(data, dict) else {})
