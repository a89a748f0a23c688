"""Which tasks there are, and which of them a data set's truth allows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from xsam_backend.errors import DatasetError
from xsam_backend.evaluation.datasets.records import Dataset
from xsam_backend.evaluation.tasks.captions import CaptionsRun
from xsam_backend.evaluation.tasks.class_phrases import ClassPhrasesRun
from xsam_backend.evaluation.tasks.classes import ClassesRun
from xsam_backend.evaluation.tasks.correcting import CorrectingRun
from xsam_backend.evaluation.tasks.objects import ObjectsRun
from xsam_backend.evaluation.tasks.phrases import PhrasesRun
from xsam_backend.evaluation.tasks.run import Run, Setting
from xsam_backend.evaluation.tasks.visual import VisualRun
from xsam_backend.prompts import Task


@dataclass(frozen=True)
class Measurable:
    """One task: its name in words, what it needs of a data set, and how a run of it begins."""

    words: str
    needs: str
    fits: Callable[[Dataset], bool]
    begin: Callable[[Setting], Run]


TASKS: Mapping[str, Measurable] = {
    "generic": Measurable(
        "all classes at once",
        "classes",
        lambda dataset: Task.GENERIC in dataset.tasks,
        ClassesRun,
    ),
    "open-vocabulary": Measurable(
        "all classes at once, other ones than were learnt",
        "classes of an open vocabulary (ADE20K)",
        lambda dataset: Task.OPEN_VOCABULARY in dataset.tasks,
        ClassesRun,
    ),
    "referring": Measurable(
        "phrases, absent ones included",
        "phrases for objects",
        lambda dataset: Task.REFERRING in dataset.tasks,
        lambda setting: PhrasesRun(setting, Task.REFERRING),
    ),
    "reasoning": Measurable(
        "questions that take a step of thought",
        "questions",
        lambda dataset: Task.REASONING in dataset.tasks,
        lambda setting: PhrasesRun(setting, Task.REASONING),
    ),
    "class-phrases": Measurable(
        "class names as phrases, absent ones included",
        "classes of objects",
        lambda dataset: bool({Task.GENERIC, Task.OPEN_VOCABULARY} & set(dataset.tasks)),
        ClassPhrasesRun,
    ),
    "gcg": Measurable(
        "captions with masks",
        "captions with grounded phrases",
        lambda dataset: Task.GCG in dataset.tasks,
        CaptionsRun,
    ),
    "vgd": Measurable(
        "all objects like an exemplar",
        "objects with complete classes",
        lambda dataset: Task.VGD in dataset.tasks,
        VisualRun,
    ),
    "interactive": Measurable(
        "one object by click, scribble, box or mask",
        "objects",
        lambda dataset: Task.INTERACTIVE in dataset.tasks,
        ObjectsRun,
    ),
    "correction": Measurable(
        "clicks until an object is right",
        "objects",
        lambda dataset: Task.INTERACTIVE in dataset.tasks,
        CorrectingRun,
    ),
}
"""By the names that ``--tasks`` takes, in the order in which they are measured."""


def chosen_tasks(dataset: Dataset, wanted: Sequence[str]) -> tuple[str, ...]:
    """The wanted tasks in the order of ``TASKS``; all that fit, if none is wanted.

    Raises:
        DatasetError: an unknown task, or one that the data set's truth doesn't allow.
    """
    fitting = tuple(name for name, task in TASKS.items() if task.fits(dataset))
    if not fitting:
        raise DatasetError(f"{dataset.name}: its truth allows none of {', '.join(TASKS)}")
    for name in wanted:
        if name not in TASKS:
            raise DatasetError(f"expected tasks among {', '.join(TASKS)}, got '{name}'")
        if name not in fitting:
            raise DatasetError(
                f"{dataset.name} can't be measured on '{name}', which needs {TASKS[name].needs}: it allows "
                f"{', '.join(fitting)}"
            )
    return tuple(name for name in fitting if name in wanted) if wanted else fitting
