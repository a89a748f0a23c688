"""One fine-tuning, from what annotators accepted to a version that is promoted or refused.

What each step makes is a file in the job's folder, and a step whose file is there is passed over: a job that was
killed goes on where it was. The steps: choose and fix what is learned from; train candidates to be tested, and the
version itself; both models sit the exam; the gate judges; the version is kept, and deployed if it passed.
"""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from xsam_backend.errors import JobError
from xsam_backend.evaluation.datasets.opening import open_dataset
from xsam_backend.evaluation.datasets.records import Dataset
from xsam_backend.learning.before_after import draw_before_after, most_changed
from xsam_backend.learning.choosing import Choice, Chosen, choose
from xsam_backend.learning.exam import Marks, sit_exam
from xsam_backend.learning.folds import Split, split
from xsam_backend.learning.gate import Verdict, judge
from xsam_backend.learning.jobs import Progress
from xsam_backend.learning.recipe import recipe, steps_for
from xsam_backend.learning.rehearsal import SCENES, rehearsal
from xsam_backend.learning.snapshot import write_snapshot
from xsam_backend.learning.version_files import BEFORE_AFTER, VersionFiles
from xsam_backend.model.checkpoint import load_model, load_tokenizer, model_folder, model_version
from xsam_backend.model.delta import Delta, load_delta, save_delta, with_delta
from xsam_backend.model.predictor import Predictor
from xsam_backend.store.annotations import Annotations
from xsam_backend.store.database import database_url, open_database
from xsam_backend.store.jobs import Job
from xsam_backend.store.projects import Projects
from xsam_backend.store.tasks import Tasks
from xsam_backend.store.versions import Version, Versions
from xsam_backend.training.data import open_data, streams
from xsam_backend.training.loop import train
from xsam_backend.training.lora import add_lora, put_delta, take_delta

logger = logging.getLogger(__name__)

LEAST_PICTURES = 5
FOLD_STEPS_SHARE = 0.6
"""Candidates that are only tested get so much of the version's steps: their gain is a lower bound of its gain."""


@dataclass(frozen=True)
class Places:
    """What a fine-tuning works with.

    Attributes:
        model, models: the base model, and where pulled ones lie by their names.
        device: "auto", "cpu", "cuda" or "cuda:1".
        folder: of the job.
        pictures: the kept ones.
        steps: of the version's training; 0: by the number of its pictures.
        rehearsed: so many scenes ask whether the candidate still can what it could.
    """

    projects: Projects
    tasks: Tasks
    annotations: Annotations
    versions: Versions
    files: VersionFiles
    model: str
    models: Path
    device: str
    folder: Path
    pictures: Path
    steps: int = 0
    rehearsed: int = SCENES


def fine_tune(job: Job, progress: Progress, settings: Any) -> Mapping[str, Any]:
    """What a worker runs: ``fine_tune_project`` with the stores and folders that the settings name."""
    shared_url = settings.database_url.get_secret_value() if settings.database_url else None
    database = open_database(database_url("store", settings.data_dir, shared_url), "store")
    try:
        places = Places(
            projects=Projects(database),
            tasks=Tasks(database),
            annotations=Annotations(database),
            versions=Versions(database),
            files=VersionFiles(settings.versions_dir),
            model=settings.model,
            models=settings.models_dir,
            device=settings.device,
            folder=settings.jobs_dir / str(job.id),
            pictures=settings.pictures_dir,
            steps=settings.train_steps,
            rehearsed=settings.train_rehearsal,
        )
        return fine_tune_project(job, progress, places)
    finally:
        database.dispose()


def fine_tune_project(job: Job, progress: Progress, places: Places) -> Mapping[str, Any]:
    """Run, or go on with, a job; what came of it, for its row.

    Raises:
        JobError: too little was accepted, or the project is unknown.
        XSamBackendError: something can't be read or written; the job's folder has all that was done.
    """
    begun = time.monotonic()
    progress("choosing")
    base = _Base.load(places)
    chosen, label_config = _choices(job.project_key, places)
    parent = places.versions.deployed().get(job.project_key)
    known = _learned_by(parent, places)
    shared = split(chosen.choices, known)
    run = _Run(job, places, base, parent, label_config, progress)
    marks = _project_marks(run, shared)
    delta = run.train("version", shared.learned, run.steps(shared))
    candidate = base.predictor(delta, "candidate")
    progress("exam", 0, 1)
    rehearsed = [
        run.marks(f"rehearsal-{name}", predictor, rehearsal(places.rehearsed))
        for name, predictor in (("deployed", run.deployed), ("candidate", candidate))
    ]
    verdict = judge(marks, (rehearsed[0], rehearsed[1]))
    progress("keeping the version")
    name = _keep(run, delta, shared, chosen, verdict, time.monotonic() - begun)
    return {"version": name, "promoted": verdict.promoted, "reasons": list(verdict.reasons)}


def _project_marks(run: _Run, shared: Split) -> tuple[Marks, Marks]:
    """(deployed, candidate) on the project's pictures that neither has learned from, all folds in a row."""
    before: list[Marks] = []
    after: list[Marks] = []
    whole = run.steps(shared)
    for number, (learned, tested) in enumerate(shared.tests):
        if not tested:
            continue
        name, steps = (
            ("version", whole) if shared.is_pinned else (f"fold-{number}", math.ceil(FOLD_STEPS_SHARE * whole))
        )
        delta = run.train(name, learned, steps)
        exam = open_dataset(run.write(f"tested-{number}", tested))
        candidate = run.base.predictor(delta, name)
        before.append(run.marks(f"tested-{number}-deployed", run.deployed, exam))
        after.append(run.marks(f"tested-{number}-candidate", candidate, exam))
        for place, picture in enumerate(most_changed(before[-1], after[-1])):
            path = run.places.folder / f"{BEFORE_AFTER}{number}-{place}.jpg"
            if not path.is_file():
                draw_before_after(path, exam.records[picture], exam.categories, run.deployed, candidate)
    return Marks.joined(before), Marks.joined(after)


def _choices(project_key: str, places: Places) -> tuple[Chosen, str]:
    project = next((one for one in places.projects.all() if one.key == project_key), None)
    if project is None or not project.label_config:
        raise JobError(f"project {project_key}: its label config is not known: open the project in Label Studio once")
    chosen = choose(places.tasks.of_project(project_key), places.annotations.of_tasks(project_key))
    if len(chosen.choices) < LEAST_PICTURES:
        left_out = "".join(f"; {count} left out: {reason}" for reason, count in chosen.left_out.items())
        raise JobError(
            f"project {project_key}: {len(chosen.choices)} pictures with accepted annotations, at least "
            f"{LEAST_PICTURES} are needed{left_out}: accept more tasks"
        )
    return chosen, project.label_config


def _learned_by(version: str | None, places: Places) -> frozenset[str]:
    """SHA-256 of the pictures that a version has learned from; none of the base."""
    known = places.versions.get(version) if version else None
    return frozenset(known.report["pictures"]) if known else frozenset()


@dataclass(frozen=True)
class _Base:
    """The base model, loaded once, and what is needed to make others of it."""

    folder: Path
    version: str
    device: torch.device
    predictor_of_base: Predictor

    @classmethod
    def load(cls, places: Places) -> _Base:
        folder = model_folder(places.model, places.models)
        name = places.device
        if name == "auto":
            name = "cuda" if torch.cuda.is_available() else "cpu"
        device, version = torch.device(name), model_version(folder)
        model = load_model(folder, torch.float32, device)
        return cls(folder, version, device, Predictor(model, load_tokenizer(folder), version))

    @property
    def parameters(self) -> int:
        return sum(parameter.numel() for parameter in self.predictor_of_base.model.parameters())

    def predictor(self, delta: Delta | None, name: str) -> Predictor:
        """A model of its own with these changes; the base without any."""
        if delta is None:
            return self.predictor_of_base
        model = with_delta(self.predictor_of_base.model, self.version, delta)
        return Predictor(model, self.predictor_of_base.tokenizer, name)


class _Run:
    """One job's trainings and exams, each done once."""

    def __init__(
        self, job: Job, places: Places, base: _Base, parent: str | None, label_config: str, progress: Progress
    ) -> None:
        self.job, self.places, self.base, self.parent = job, places, base, parent
        self.label_config, self.progress = label_config, progress
        parent_delta = load_delta(places.files.delta(parent)) if parent else None
        self.parent_delta = parent_delta if parent_delta is None or parent_delta.base == base.version else None
        self.deployed = base.predictor(self.parent_delta, parent or base.version)
        self.damaged: list[str] = []

    def steps(self, shared: Split) -> int:
        """Of the version's own training."""
        return self.places.steps or steps_for(len(shared.learned))

    def write(self, name: str, choices: Sequence[Choice]) -> Path:
        written = write_snapshot(
            self.places.folder / f"{name}.json",
            choices,
            project_key=self.job.project_key,
            label_config=self.label_config,
            pictures=self.places.pictures,
        )
        self.damaged += [line for line in written.damaged if line not in self.damaged]
        return written.path

    def train(self, name: str, choices: Sequence[Choice], steps: int) -> Delta:
        """Train on these pictures, from the deployed version on; the changes against the base."""
        path = self.places.folder / f"{name}.safetensors"
        if path.is_file():
            return load_delta(path)
        config = recipe(
            self.places.folder / name,
            self.write(f"learned-{name}", choices),
            str(self.base.folder),
            steps=steps,
            parameters=self.base.parameters,
            seed=self.job.id,
        )
        assert config.lora is not None
        model = load_model(self.base.folder, torch.float32, self.base.device)
        add_lora(model, config.lora, config.seed)
        if self.parent_delta is not None:
            put_delta(model, self.parent_delta)
        opened = open_data(config, model.config.segmentor_encoder.image_size)
        questions = streams(config, opened, model.config, self.base.predictor_of_base.tokenizer)
        start = f"{self.base.version}, {self.parent or 'as it came'}"
        train(model, config, questions, start, lambda done, total: self.progress(f"training {name}", done, total))
        trained = [
            parameter_name for parameter_name, parameter in model.named_parameters() if parameter.requires_grad
        ]
        save_delta(take_delta(model, self.base.version, trained), path)
        return load_delta(path)  # as it will be served: rounded

    def marks(self, name: str, predictor: Predictor, exam: Dataset) -> Marks:
        """One model's marks, taken once."""
        path = self.places.folder / f"marks-{name}.json"
        if not path.is_file():
            total = len(exam.records)
            marks = sit_exam(
                predictor, exam.records, exam.categories, lambda done: self.progress(f"exam: {name}", done, total)
            )
            partial = path.with_suffix(".partial")
            partial.write_text(json.dumps(marks.as_json()), encoding="utf-8")
            partial.replace(path)
        return Marks.from_json(json.loads(path.read_text(encoding="utf-8")))


def _keep(run: _Run, delta: Delta, shared: Split, chosen: Chosen, verdict: Verdict, seconds: float) -> str:
    """Put the version's files in their place, note it, and deploy it if it passed; its name."""
    places, job = run.places, run.job
    shown = sorted(places.folder.glob(f"{BEFORE_AFTER}*.jpg"))
    name = places.files.keep(places.folder / "version.safetensors", run.base.version, shown)
    report = {
        "project": job.project_key,
        "job": job.id,
        "parent": run.parent or run.base.version,
        "pictures": sorted({str(choice.picture.sha256) for choice in shared.learned}),
        "left_out": dict(chosen.left_out),
        "damaged_regions": run.damaged,
        "numbers_changed": delta.numbers,
        "steps": run.steps(shared),
        "seconds": round(seconds, 1),
        "tested_on": "the pinned part" if shared.is_pinned else "folds of what is new",
        "promoted": verdict.promoted,
        "reasons": list(verdict.reasons),
        "changes": [asdict(change) for change in verdict.changes],
    }
    places.versions.add(
        Version(
            name,
            job.project_key,
            run.base.version,
            run.parent or run.base.version,
            "promoted" if verdict.promoted else "refused",
            job.id,
            json.loads(json.dumps(report, default=float).replace("NaN", "null")),
        )
    )
    if verdict.promoted:
        places.versions.deploy(job.project_key, name, verdict.reasons[0])
    return name
