"""Predict in five steps: read config, read prompts, fetch image, ask predictor, write results.

An interactive request fails as a whole, with words for our own clients. In a batch each task fails alone: Label
Studio drops every task of a reply with an error status, so a failed one is an entry without ``result``, the others
are kept, and the reason goes to the monitor. So is one that takes too long for a reply: see ``batch_shares``.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xsam_backend.errors import BusyError, RequestError, StoreBusyError, StoreError, SupersededError
from xsam_backend.inference.engine import Asker, Engine, Predictor
from xsam_backend.inference.scheduling import Priority
from xsam_backend.inference.superseding import Topic
from xsam_backend.instances import Answer
from xsam_backend.labelstudio.context import (
    Question,
    Target,
    batch_prompts,
    context_target,
    interactive_request,
)
from xsam_backend.labelstudio.images import FetchedImage
from xsam_backend.labelstudio.known_objects import KnownObject, heeds_known, known_objects, new_finds
from xsam_backend.labelstudio.label_config import LabelConfig
from xsam_backend.labelstudio.recent_images import Images
from xsam_backend.labelstudio.results import RegionDict, write_prediction, write_regions, write_text
from xsam_backend.prompts import Prompt
from xsam_backend.server.batch_shares import BatchShares, Share
from xsam_backend.server.fetching_ahead import FetchingAhead
from xsam_backend.server.monitor import Monitor
from xsam_backend.server.prediction_records import records_of
from xsam_backend.server.project_exemplars import ProjectExemplars
from xsam_backend.server.protocol import PredictRequest, TaskItem
from xsam_backend.store.pre_labels import PreLabel, PreLabels
from xsam_backend.store.predictions import Logged, LoggedRegion, PredictionLog
from xsam_backend.store.projects import ProjectKey

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Asking:
    """Who asks, and until when."""

    project: ProjectKey | None
    task: TaskItem
    config: LabelConfig
    priority: Priority
    deadline: float | None
    predictor: Predictor[Any]
    images: Images
    topic: Topic | None = None
    at: datetime = field(default_factory=lambda: datetime.now(timezone.utc))
    """One moment for all regions of an answer: the log tells by it what belongs to one prediction."""

    @property
    def where(self) -> str:
        """For messages."""
        return f"project {self.project}, task {self.task.id}"

    @property
    def asker(self) -> Asker:
        """The same, for the engine."""
        return Asker(self.priority, self.deadline, self.topic, self.predictor)


@dataclass(frozen=True)
class _Written:
    """One picture's regions, and the vector of what the encoders see in it; None where nothing was asked."""

    regions: list[RegionDict]
    vector: NDArray[np.float32] | None


class Backend:
    """Answers predict requests. Safe to use from several threads; keeps nothing of a request.

    Args:
        shares: divides batches between the reply and the bulk queue.
        exemplars: what projects' labels look like.
        log, pre_labels: of predictions; they should not wait long for a database that is held.
        log_later: takes what it couldn't write; False where it has no room.
        on_task: is told where in a project somebody is.
    """

    def __init__(
        self,
        engine: Engine,
        images: Images,
        log: PredictionLog,
        pre_labels: PreLabels,
        monitor: Monitor,
        instance: str,
        shares: BatchShares,
        exemplars: ProjectExemplars,
        log_later: Callable[[Sequence[Logged]], bool] = lambda _records: False,
        on_task: Callable[[ProjectKey, int, LabelConfig], None] = lambda _project, _task, _config: None,
    ) -> None:
        self._log_later = log_later
        self._on_task = on_task
        self._engine = engine
        self._images = images
        self._log = log
        self._pre_labels = pre_labels
        self._monitor = monitor
        self._instance = instance
        self._shares = shares
        self._exemplars = exemplars

    def predict(self, asked: PredictRequest) -> list[dict[str, Any]]:
        """One entry of ``results`` per task, in order.

        Raises:
            LabelConfigError, RequestError: the request as a whole cannot be answered.
            PromptError, ImageError, BusyError: an interactive request cannot be; in a batch these cost one entry.
        """
        project = ProjectKey.from_uid(self._instance, asked.project) if asked.project is not None else None
        config = LabelConfig.parse(asked.label_config)
        if project is not None and len(asked.tasks) == 1 and asked.tasks[0].id is not None:
            self._on_task(project, asked.tasks[0].id, config)
        if asked.context is not None:
            return [self._interactive(asked, config, project)]
        return self._batch(asked, config, project)

    def _interactive(self, asked: PredictRequest, config: LabelConfig, project: ProjectKey | None) -> dict[str, Any]:
        (task,) = asked.tasks
        target = context_target(config, asked.context)
        if not target.regions:  # sent when the last prompt vanishes: nothing is asked any more
            return {"result": []}
        image = self._fetch(self._images, task, config, target.to_name, target.item_index)
        request = interactive_request(config, asked.context, image.size_hw)
        predictor = self._predictor_of(project)
        topic = _topic(asked, target)
        asking = _Asking(project, task, config, Priority.INTERACTIVE, None, predictor, self._images, topic)
        known: tuple[KnownObject, ...] = ()
        if any(map(heeds_known, request.prompts)):
            known = known_objects(
                task.edited, asked.context or {}, image.size_hw, request.to_name, request.item_index
            )
        try:
            written = self._answer(asking, image, request.questions, request.item_index, known)
        except SupersededError:  # the page throws a late reply to an older request away
            return {"result": []}
        return write_prediction(written.regions, predictor.model_version)

    def _fetch(
        self, images: Images, task: TaskItem, config: LabelConfig, to_name: str, item_index: int | None
    ) -> FetchedImage:
        value = config.image_value(_data_of(task), to_name, item_index)
        with self._monitor.stage_seconds.labels("fetch").time():
            return images.fetch(value, task.id)

    def _predictor_of(self, project: ProjectKey | None) -> Predictor[Any]:
        return self._engine.predictor_of(str(project) if project is not None else None)

    def _batch(self, asked: PredictRequest, config: LabelConfig, project: ProjectKey | None) -> list[dict[str, Any]]:
        if asked.tasks:
            batch_prompts(config)  # a config that has nothing to look for is refused as a whole
        predictor = self._predictor_of(project)  # one for all: Label Studio takes a batch for one version's
        whole = [task for task in asked.tasks if task.problem is None]
        expected = [(url, task.id) for task in whole for url in config.addresses(task.data)]
        with (
            self._shares.share(project, asked.tasks, predictor.model_version) as share,
            FetchingAhead(self._images, expected) as images,
        ):
            return [
                self._entry(_Asking(project, task, config, Priority.BATCH, share.deadline, predictor, images), share)
                for task in asked.tasks
            ]

    def _entry(self, asking: _Asking, share: Share) -> dict[str, Any]:
        """One task's entry in the reply to a batch: its prediction, or why there is none."""
        task = asking.task
        words = share.why_not_now(task)
        if words is not None:
            return {"queued": words}
        try:
            prediction = self._prelabel(asking)
        except Exception as error:  # also what nobody foresaw: the other tasks must not pay for it
            if isinstance(error, BusyError) and (words := share.ran_out_of_time(task)) is not None:
                return {"queued": words}
            problem = self._monitor.problem(error, asking.where)
            share.failed(task, error, problem.message)
            return {"error": problem.message, "kind": problem.kind, "id": problem.error_id}
        share.answered(task)
        return prediction

    def prelabel(
        self,
        project: ProjectKey | None,
        task: TaskItem,
        config: LabelConfig,
        predictor: Predictor[Any],
        images: Images | None = None,
    ) -> dict[str, Any]:
        """A task's prediction as a batch gives it, by a given version, however long it takes.

        Args:
            images: where its pictures come from; None: from where all do.

        Raises:
            XSamBackendError: it can't be answered, or (BusyError) not now.
        """
        return self._prelabel(_Asking(project, task, config, Priority.BULK, None, predictor, images or self._images))

    def _questions(self, asking: _Asking) -> Sequence[Question]:
        """What a batch asks of a task; where it looks for labels by example, like what was accepted."""
        if asking.project is None:
            return batch_prompts(asking.config)
        return batch_prompts(asking.config, self._exemplars.of(str(asking.project), asking.config, asking.asker))

    def _prelabel(self, asking: _Asking) -> dict[str, Any]:
        """One task of a batch: every picture of it, each asked what its own outputs look for."""
        questions = self._questions(asking)
        regions: list[RegionDict] = []
        vectors: list[NDArray[np.float32]] = []
        for image_tag in asking.config.images:
            mine = [question for question in questions if question.control.to_name == image_tag.name]
            if not mine:
                continue
            for number in range(len(image_tag.sources(_data_of(asking.task)))):
                if asking.deadline is not None and time.monotonic() >= asking.deadline:
                    raise BusyError("out of time: this task is left for the next request")
                item_index = number if image_tag.is_list else None
                image = self._fetch(asking.images, asking.task, asking.config, image_tag.name, item_index)
                written = self._answer(asking, image, mine, item_index)
                regions += written.regions
                if written.vector is not None:
                    vectors.append(written.vector)
        prediction = write_prediction(regions, asking.predictor.model_version)
        self._note(asking, prediction["score"], vectors)
        return prediction

    def _note(self, asking: _Asking, score: float, vectors: Sequence[NDArray[np.float32]]) -> None:
        """Keep how sure a task's pre-label is, for ``/next``: only a hint, so nobody waits for a held database."""
        if asking.project is None or asking.task.id is None or not vectors:
            return
        mean = np.mean(vectors, axis=0)
        pre_label = PreLabel(
            str(asking.project),
            asking.task.id,
            asking.predictor.model_version,
            self._engine.model_version,
            score,
            mean / max(float(np.linalg.norm(mean)), 1e-12),
            asking.at,
        )
        try:
            self._pre_labels.keep(pre_label)
        except StoreBusyError as error:
            logger.info("%s: %s", asking.where, error)
        except StoreError as error:
            self._monitor.problem(error, asking.where)

    def _answer(
        self,
        asking: _Asking,
        image: FetchedImage,
        questions: Sequence[Question],
        item_index: int | None,
        known: Sequence[KnownObject] = (),
    ) -> _Written:
        """Ask the predictor about one picture, write the regions down, log them. ``known``: see ``new_finds``."""
        answers, vector = self._asked(asking, image, [question.prompt for question in questions])
        regions: list[RegionDict] = []
        records: list[Logged] = []
        is_interactive = asking.priority is Priority.INTERACTIVE
        for question, answer in zip(questions, answers, strict=True):
            if is_interactive:
                answer = new_finds(answer, question.prompt, known)
            written = write_regions(
                answer.instances,
                question.control,
                item_index,
                phrases=answer.phrases,
                phrase_area=asking.config.phrase_area(question.control.to_name),
            )
            written += self._words(asking, question, answer, item_index)
            if answer.reason:
                written += self._tell_why_nothing(asking, question, answer.reason, item_index)
            regions += written
            records += records_of(
                written,
                question.prompt,
                image,
                project_key=str(asking.project) if asking.project else None,
                task_id=asking.task.id,
                model_version=asking.predictor.model_version,
                interactive=is_interactive,
                created_at=asking.at,
                from_name=question.control.name,
                reason=answer.reason if is_interactive else "",
            )
        self._keep(records, asking)
        return _Written(regions, vector)

    def _asked(
        self, asking: _Asking, image: FetchedImage, prompts: Sequence[Prompt]
    ) -> tuple[list[Answer], NDArray[np.float32] | None]:
        """The model's half. The picture's state, which may take much memory, is let go before shapes are written."""
        answered = self._engine.answer(image.pixels, image.sha256, prompts, asking.asker)
        return answered.answers, None if answered.state is None else answered.state.vector

    def _tell_why_nothing(
        self, asking: _Asking, question: Question, reason: str, item_index: int | None
    ) -> list[RegionDict]:
        """A prompt that shows nothing, or less than was asked for, puzzles its annotator; a batch without regions is
        an ordinary answer."""
        if asking.priority is not Priority.INTERACTIVE:
            logger.info("%s: no region: %s", asking.where, reason)
            return []
        self._monitor.note("NothingFound", f"project {asking.project}", f"task {asking.task.id}: {reason}")
        area = asking.config.words_area(question.control.to_name, says_why=True)
        return [write_text(reason, area, item_index)] if area is not None else []

    def _words(self, asking: _Asking, question: Question, answer: Answer, item_index: int | None) -> list[RegionDict]:
        """A caption or an answer in words, where the config has a text area for it that is no prompt itself."""
        if not answer.text:
            return []
        area = asking.config.words_area(question.control.to_name, says_why=False)
        if area is not None:
            return [write_text(answer.text, area, item_index)]
        self._monitor.note(
            "NoTextArea",
            asking.where,
            "the answer in words has nowhere to go: "
            'add <TextArea name="caption" toName="image" smart="false"/> to the label config',
        )
        return []

    def _keep(self, records: Sequence[Logged], asking: _Asking) -> None:
        """Log before sending. If that fails the annotator still gets the regions, and the operator is told. Nobody
        waits for a database that another process holds: then it's logged as soon as that can be."""
        try:
            self._log.add(records)
        except StoreError as error:
            if not (isinstance(error, StoreBusyError) and self._log_later(records)):
                self._monitor.problem(error, asking.where)
        sent = sum(isinstance(record, LoggedRegion) for record in records)
        self._monitor.regions.labels(str(asking.priority is Priority.INTERACTIVE).lower()).inc(sent)


def _topic(asked: PredictRequest, target: Target) -> Topic | None:
    """Each further click on an object comes with all before it, under the ids that the page gave them. None where
    there are no ids."""
    (task,) = asked.tasks
    first = target.regions[0]
    if not isinstance(first.get("id"), str):
        return None
    drawn = json.dumps([first["id"], first.get("value")], sort_keys=True)
    return Topic((asked.project, task.id, drawn), len(target.regions))


def _data_of(task: TaskItem) -> dict[str, Any]:
    if task.problem is not None:
        raise RequestError(task.problem)
    return task.data
