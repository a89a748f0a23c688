"""One fine-tuning, from what annotators accepted to a version that is promoted or refused.

What each step makes is a file in the job's folder, and a step whose file is there is passed over: a job that was
killed goes on where it was. The steps: fix what is learned from and tested on (``plan``); train candidates to be
tested, and the version itself; both models sit the exam; the gate judges; what the exam says of scores is put into
the version; it is kept, and deployed if it passed and nobody has deployed something else meanwhile.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from xsam_backend.errors import StoreError
from xsam_backend.evaluation.datasets.opening import open_dataset
from xsam_backend.evaluation.datasets.records import Dataset
from xsam_backend.learning.before_after import draw_before_after, most_changed
from xsam_backend.learning.candidates import Base, trained
from xsam_backend.learning.exam import Marks, sit_exam
from xsam_backend.learning.gate import Verdict, judge
from xsam_backend.learning.heart import peak_memory_mb
from xsam_backend.learning.jobs import Progress
from xsam_backend.learning.places import Places, places_of
from xsam_backend.learning.plan import FOLD, VERSION, Plan, fixed_plan
from xsam_backend.learning.pruning import prune
from xsam_backend.learning.recipe import recipe
from xsam_backend.learning.rehearsal import rehearsal
from xsam_backend.learning.rehearsal_marks import shipped_marks
from xsam_backend.learning.rehearsed_photographs import answered_photographs
from xsam_backend.learning.score_meaning import ScoreMeaning, score_meanings
from xsam_backend.learning.side_by_side import at_once
from xsam_backend.learning.version_files import BEFORE_AFTER
from xsam_backend.model.delta import Delta, load_delta, save_delta
from xsam_backend.model.predictor import Predictor
from xsam_backend.prompts import Task
from xsam_backend.store.jobs import Job
from xsam_backend.store.versions import FOLDS, PINNED, Version
from xsam_backend.training.features import FEATURES
from xsam_backend.training.state import STATE
from xsam_backend.whole_files import write_whole

logger = logging.getLogger(__name__)

MARKS = "marks-2"
"""Files of marks. The number changes with what is in them: a job from before an update sits its exam again."""

CALIBRATED = "calibrated"
"""The file that is kept: the trained version, with what its scores mean."""


def fine_tune(job: Job, progress: Progress, settings: Any) -> Mapping[str, Any]:
    """What a worker runs: ``fine_tune_project`` with the stores and folders that the settings name."""
    with places_of(job.id, settings) as places:
        return fine_tune_project(job, progress, places)


def fine_tune_project(job: Job, progress: Progress, places: Places) -> Mapping[str, Any]:
    """Run, or go on with, a job; what came of it, for its row.

    Raises:
        JobError: too little was accepted, or the project is unknown.
        XSamBackendError, OSError: something can't be read or written; the job's folder has all that was done.
    """
    begun = time.monotonic()
    progress("choosing")
    base = Base.load(places)
    plan = fixed_plan(job.project_key, places, base.version)
    run = _Run(job, places, base, plan, progress)
    exams = _project_exams(run)
    delta = run.train(VERSION)
    candidate = base.predictor(delta, "candidate")
    progress("exam", 0, 1)
    scenes = rehearsal(places.rehearsed)
    before_all = run.marks_of_base(scenes)
    deployed = run.marks("rehearsal-deployed", run.deployed, scenes) if plan.parent else before_all
    after = run.marks("rehearsal-candidate", candidate, scenes)
    verdict = judge(
        (Marks.joined(exams[0]), Marks.joined(exams[1])), (deployed, after), before_all if plan.parent else None
    )
    progress("keeping the version")
    meanings = score_meanings(exams[1], run.parent_delta.calibrations if run.parent_delta else {})
    _draw_most_changed(run, exams, meanings)
    name, verdict = _keep(run, delta, meanings, verdict, begun)
    _tidy_up(places, job.project_key)
    for large in (*places.folder.glob(f"*/{STATE}"), *places.folder.glob(f"*/{FEATURES}/*")):  # of no more use
        large.unlink(missing_ok=True)
    return {"version": name, "promoted": verdict.promoted, "reasons": list(verdict.reasons)}


def _tidy_up(places: Places, project_key: str) -> None:
    """Delete what old versions leave. What can't be deleted now is deleted after the next job: this one is done."""
    kept = places.kept
    try:
        for old, freed in prune(places.versions, places.files, kept, refused=kept, project_key=project_key):
            logger.info("%s: its files are no longer needed, %.1f MB freed", old, freed / 1e6)
    except (OSError, StoreError) as error:
        logger.warning("old versions could not be pruned (%s): `models prune` does it, too", error)


def _project_exams(run: _Run) -> tuple[list[Marks], list[Marks]]:
    """(deployed, candidate) on the project's pictures that neither has learned from, fold by fold."""
    before: list[Marks] = []
    after: list[Marks] = []
    for number in range(run.plan.tests):
        name = run.learner(number)
        candidate = run.base.predictor(run.train(name), name)
        exam = open_dataset(run.plan.tested(number))
        before.append(run.marks(f"tested-{number}-deployed", run.deployed, exam))
        after.append(run.marks(f"tested-{number}-candidate", candidate, exam))
    return before, after


def _draw_most_changed(
    run: _Run, exams: tuple[list[Marks], list[Marks]], meanings: Mapping[Task, ScoreMeaning]
) -> None:
    """Pictures for people, of what would be served: with what scores mean."""
    served = run.base.predictor(run.parent_delta, "deployed")
    for number, (before, after) in enumerate(zip(*exams, strict=True)):
        name = run.learner(number)
        delta = _calibrated(run.train(name), meanings)
        candidate = run.base.predictor(delta, name)
        exam = open_dataset(run.plan.tested(number))
        for place, picture in enumerate(most_changed(before, after)):
            path = run.places.folder / f"{BEFORE_AFTER}{number}-{place}.jpg"
            if not path.is_file():
                draw_before_after(path, exam.records[picture], exam.categories, run.labels, served, candidate)


class _Run:
    """One job's trainings and exams, each done once."""

    def __init__(self, job: Job, places: Places, base: Base, plan: Plan, progress: Progress) -> None:
        self.job, self.places, self.base, self.plan, self.progress = job, places, base, plan, progress
        self.parent_delta = load_delta(places.files.delta(plan.parent)) if plan.parent else None
        # A candidate's calibrations are only known after its exam: both are asked for all that the decoder finds.
        uncalibrated = replace(self.parent_delta, calibrations={}) if self.parent_delta else None
        self.deployed = base.predictor(uncalibrated, plan.parent or base.version)

    @property
    def labels(self) -> tuple[str, ...]:
        """What the version learns; pictures for people have their colours in this order."""
        return tuple(category.label for category in open_dataset(self.plan.learned(VERSION)).categories)

    def learner(self, number: int) -> str:
        """Which of the trainings sits that exam."""
        return VERSION if self.plan.is_pinned else f"{FOLD}{number}"

    def train(self, name: str) -> Delta:
        """Train the version or a fold, from the deployed version on; the changes against the base.

        A fold's training is the beginning of a version's, on a part of the pictures; the version goes on from the
        first fold, with all of them. So what a fold has gained is expected of the version, too: it has learned more.
        """
        path = self.places.folder / f"{name}.safetensors"
        if path.is_file():
            return load_delta(path)
        run = self.places.folder / name
        of_fold = self.places.folder / f"{FOLD}0" / STATE
        if name == VERSION and of_fold.is_file() and not (run / STATE).is_file():
            run.mkdir(exist_ok=True)
            of_fold.replace(run / STATE)
            logger.info(
                "the %s goes on from %s0, with all pictures: that its settings are others is planned", name, FOLD
            )
        config = recipe(
            run,
            self.plan.learned(name),
            str(self.base.folder),
            photographs=answered_photographs(self.base.predictor_of_base, self.places.folder),
            steps=self.plan.steps,
            is_fold=name != VERSION,
            parameters=self.base.parameters,
            float32=self.base.is_float32,
            seed=self.job.id,
        )
        delta = trained(
            self.base,
            config,
            self.plan.learned(name),
            self.parent_delta,
            start=f"{self.base.version}, {self.plan.parent or 'as it came'}",
            on_step=lambda done, total: self.progress(f"training {name}", done, total),
        )
        save_delta(delta, path)
        return load_delta(path)  # as it will be served: rounded

    def marks_of_base(self, scenes: Dataset) -> Marks:
        """The base's marks on the rehearsal: those that ship, where this is how they were taken."""
        shipped = shipped_marks(self.base.version, len(scenes.records)) if self.base.is_float32 else None
        return shipped or self.marks("rehearsal-base", self.base.predictor_of_base, scenes)

    def marks(self, name: str, predictor: Predictor, exam: Dataset) -> Marks:
        """One model's marks, taken once."""
        path = self.places.folder / f"{MARKS}-{name}.json"
        if not path.is_file():
            total = len(exam.records)
            marks = sit_exam(
                predictor,
                exam.records,
                exam.categories,
                lambda done: self.progress(f"exam: {name}", done, total),
                at_once(self.base.device),
            )
            write_whole(path, json.dumps(marks.as_json()).encode())
        return Marks.from_json(json.loads(path.read_text(encoding="utf-8")))


def _calibrated(delta: Delta, meanings: Mapping[Task, ScoreMeaning]) -> Delta:
    return replace(delta, calibrations={task: meaning.calibration for task, meaning in meanings.items()})


def _keep(
    run: _Run, delta: Delta, meanings: Mapping[Task, ScoreMeaning], verdict: Verdict, begun: float
) -> tuple[str, Verdict]:
    """Put the version's files in their place, note it, and deploy it if it passed; its name, and the last word.

    A version that was measured beside one that isn't deployed any more is not promoted: somebody decided otherwise.
    """
    places, job, plan = run.places, run.job, run.plan
    shown = sorted(places.folder.glob(f"{BEFORE_AFTER}*.jpg"))
    kept = places.folder / f"{CALIBRATED}.safetensors"
    save_delta(_calibrated(delta, meanings), kept)
    name = places.files.keep(kept, run.base.version, shown)
    now = places.versions.deployed().get(job.project_key)
    if verdict.promoted and now not in (plan.deployed, name):
        reason = (
            f"it was measured beside {plan.deployed or 'the base model'}, and {now or 'the base model'} was deployed "
            "meanwhile: fine-tune again, or promote it by hand"
        )
        verdict = replace(verdict, promoted=False, reasons=(reason, *verdict.reasons))
    report = {
        "project": job.project_key,
        "job": job.id,
        "parent": plan.parent or run.base.version,
        "pictures": list(plan.pictures),
        "left_out": dict(plan.left_out),
        "damaged": list(plan.damaged),
        "other_labels": dict(plan.other_labels),
        "labels": list(run.labels),
        "numbers_changed": delta.numbers,
        "steps": plan.steps,
        "peak_mb": peak_memory_mb(),
        "seconds": round(time.monotonic() - begun, 1),
        "tested_on": PINNED if plan.is_pinned else FOLDS,
        "promoted": verdict.promoted,
        "reasons": list(verdict.reasons),
        "scores": {str(task): asdict(meaning) for task, meaning in meanings.items()},
        "changes": [asdict(change) for change in verdict.changes],
    }
    places.versions.add(
        Version(
            name,
            job.project_key,
            run.base.version,
            plan.parent or run.base.version,
            "promoted" if verdict.promoted else "refused",
            job.id,
            json.loads(json.dumps(report, default=float), parse_constant=lambda _not_finite: None),
        )
    )
    if verdict.promoted:
        places.versions.deploy(job.project_key, name, verdict.reasons[0])
    return name, verdict
