"""From data sets to results: each picture is read and encoded once, and asked by all tasks."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from xsam_backend.errors import DatasetError, XSamBackendError
from xsam_backend.evaluation.asking import AskedPicture, Picture, Predictor, Stopped
from xsam_backend.evaluation.bootstrap import CONFIDENCE
from xsam_backend.evaluation.datasets.records import Dataset, PromptKind, Record
from xsam_backend.evaluation.results import DatasetResult, Evaluation, Failure
from xsam_backend.evaluation.tasks.choosing import TASKS, chosen_tasks
from xsam_backend.evaluation.tasks.run import Options, Run, Setting


@dataclass(frozen=True)
class Wish:
    """One data set and what to measure on it.

    Attributes:
        own_prompts: the kind of the prompts that the data set brings; None where prompts are simulated.
    """

    dataset: Dataset
    tasks: tuple[str, ...]
    options: Options
    own_prompts: PromptKind | None = None


@dataclass(frozen=True)
class Watching:
    """How a run tells what it does.

    Attributes:
        pictures: passes on a data set's records, for progress.
        failed: called with each picture that can't be measured.
        is_stopping: asked before each question; once it is true, the run ends with what it has.
        measured: called after each data set with all results so far, as partial ones as long as more are to come.
    """

    pictures: Callable[[Dataset], Iterable[Record]] = lambda dataset: dataset.records
    failed: Callable[[Failure], None] = lambda _: None
    is_stopping: Callable[[], bool] = lambda: False
    measured: Callable[[Evaluation], None] = lambda _: None


def evaluate(
    predictor: Predictor, model: str, wishes: Sequence[Wish], watching: Watching | None = None
) -> Evaluation:
    """All data sets, one after the other. Where it is stopped it returns what there is so far, marked as partial.

    A picture that can't be read or asked about is named in the results and left out. Nothing is tuned here: what is
    evaluated must not choose its own thresholds.

    Raises:
        DatasetError: no data set, or a task that its truth doesn't allow; before anything is measured.
    """
    if not wishes:
        raise DatasetError("expected at least one data set to evaluate on, got none")
    for wish in wishes:
        chosen_tasks(wish.dataset, wish.tasks)
    watching = watching or Watching()
    options = wishes[0].options
    evaluation = Evaluation(
        model=model,
        model_version=predictor.model_version,
        queries=predictor.queries,
        seed=options.seed,
        rounds=options.rounds,
        confidence=CONFIDENCE,
        is_partial=True,
        datasets=(),
    )
    for wish in wishes:
        result, is_stopped = _measured(predictor, wish, watching)
        measured = (*evaluation.datasets, result)
        is_partial = is_stopped or len(measured) < len(wishes)
        evaluation = dataclasses.replace(evaluation, datasets=measured, is_partial=is_partial)
        watching.measured(evaluation)
        if is_stopped:
            break
    return evaluation


def _measured(predictor: Predictor, wish: Wish, watching: Watching) -> tuple[DatasetResult, bool]:
    """One data set's result, and whether it was stopped."""
    dataset = wish.dataset
    setting = Setting(dataset, wish.options, predictor.queries, wish.own_prompts)
    runs = {name: TASKS[name].begin(setting) for name in chosen_tasks(dataset, wish.tasks)}
    failures: list[Failure] = []
    reached = 0
    is_stopped = False
    started = time.monotonic()
    try:
        for index, record in enumerate(watching.pictures(dataset)):
            if watching.is_stopping():
                raise Stopped
            for failure in _ask(predictor, dataset, index, record, runs, watching):
                failures.append(failure)
                watching.failed(failure)
            reached += 1
    except Stopped:
        is_stopped = True
    return (
        DatasetResult(
            name=dataset.name,
            format=dataset.format,
            split=dataset.split,
            labelling=dataset.labelling,
            pictures=len(dataset),
            reached=reached,
            failures=tuple(failures),
            notes=dataset.notes,
            seconds=time.monotonic() - started,
            tasks={name: run.result() for name, run in runs.items()},
        ),
        is_stopped,
    )


def _ask(
    predictor: Predictor,
    dataset: Dataset,
    index: int,
    record: Record,
    runs: Mapping[str, Run],
    watching: Watching,
) -> Iterator[Failure]:
    """One picture for all tasks; what went wrong, if anything did."""
    try:
        truth, regions = record.load(), record.regions()
    except XSamBackendError as error:
        yield Failure(record.source, str(error))
        return
    picture = AskedPicture(predictor, truth, regions, lambda: _another(dataset, index), watching.is_stopping)
    for name, run in runs.items():
        try:
            run.ask(picture)
        except XSamBackendError as error:
            yield Failure(record.source, str(error), name)


def _another(dataset: Dataset, index: int) -> Picture | None:
    """The pixels of the next picture that can be read; None if there is no other."""
    count = len(dataset.records)
    for step in range(1, count):
        try:
            return dataset.records[(index + step) % count].load().image
        except XSamBackendError:
            continue
    return None
