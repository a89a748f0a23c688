"""What a job learns from and is tested on, fixed in its folder before anything is trained.

A job that is killed goes on with its plan, whatever was accepted, promoted or renamed meanwhile: otherwise a
candidate might be tested on what it has learned from.
"""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from xsam_backend.errors import JobError
from xsam_backend.evaluation.datasets.label_studio import project_categories, rest_labels
from xsam_backend.evaluation.datasets.label_studio_record import UNLABELLED, is_another_picture, is_object
from xsam_backend.labelstudio.label_config import LabelConfig
from xsam_backend.learning.choosing import Choice, Chosen, choose
from xsam_backend.learning.folds import split
from xsam_backend.learning.places import Places
from xsam_backend.learning.recipe import steps_for
from xsam_backend.learning.snapshot import write_snapshot
from xsam_backend.store.picture_files import PictureFiles
from xsam_backend.store.versions import Versions
from xsam_backend.whole_files import write_whole

logger = logging.getLogger(__name__)

PLAN = "plan.json"
VERSION, FOLD = "version", "fold-"
"""Names of what is trained: the version that may be promoted, and candidates that are only tested."""

LEAST_PICTURES = 5


@dataclass(frozen=True)
class Plan:
    """The snapshots that it speaks of lie beside it: ``learned``, ``tested``.

    Attributes:
        folder: of the job.
        base: the base model's version.
        deployed: what answers the project, None: the base.
        parent: the same, if it belongs to this base: what the training goes on from.
        pictures: SHA-256 of what the version learns from.
        tests: how many tests there are.
        is_pinned: whether the version itself is tested, on the pinned part; otherwise one fold for each test.
        steps: of the version's training.
        left_out: how many tasks, by reason.
        damaged: why pictures and regions were left out, one sentence each.
        other_labels: labels that the config hasn't (any more), and how many pictures have them.
    """

    folder: Path
    base: str
    deployed: str | None
    parent: str | None
    pictures: tuple[str, ...]
    tests: int
    is_pinned: bool
    steps: int
    left_out: Mapping[str, int]
    damaged: tuple[str, ...]
    other_labels: Mapping[str, int] = field(default_factory=dict)

    def learned(self, name: str) -> Path:
        """The snapshot that ``VERSION`` or a fold learns from."""
        return self.folder / f"learned-{name}.json"

    def tested(self, number: int) -> Path:
        """The snapshot of a test."""
        return self.folder / f"tested-{number}.json"


def fixed_plan(project_key: str, places: Places, base: str) -> Plan:
    """The job's plan: as it was fixed, or fixed now.

    Raises:
        JobError: too little was accepted, the project is unknown, or the plan was for another base model.
    """
    path = places.folder / PLAN
    if not path.is_file():
        plan = _made(project_key, places, base)
        write_whole(path, json.dumps({**asdict(plan), "folder": ""}).encode())
        return plan
    read = json.loads(path.read_text(encoding="utf-8"))
    if read["base"] != base:
        raise JobError(
            f"this job began with the model {read['base']}, it is {base} now: run the worker with that one, or start "
            "a new job"
        )
    return Plan(
        **{**read, "folder": places.folder, "pictures": tuple(read["pictures"]), "damaged": tuple(read["damaged"])}
    )


def _made(project_key: str, places: Places, base: str) -> Plan:
    chosen, label_config, spoilt = _choices(project_key, places)
    deployed = places.versions.deployed().get(project_key)
    known = places.versions.get(deployed) if deployed else None
    if known is not None and known.base != base:
        logger.warning("%s belongs to %s, not to %s: beginning from the base", deployed, known.base, base)
    parent = deployed if known is not None and known.base == base else None
    shared = split(chosen.choices, learned_by(parent, places.versions))
    damaged: dict[str, None] = dict.fromkeys(spoilt)

    def write(path: Path, choices: Sequence[Choice]) -> None:
        written = write_snapshot(
            path, choices, project_key=project_key, label_config=label_config, pictures=places.pictures
        )
        damaged.update(dict.fromkeys(written.damaged))

    plan = Plan(
        folder=places.folder,
        base=base,
        deployed=deployed,
        parent=parent,
        pictures=tuple(sorted({str(choice.picture.sha256) for choice in shared.learned})),
        tests=len(shared.tests),
        is_pinned=shared.is_pinned,
        steps=places.steps or steps_for(len(shared.learned)),
        left_out=chosen.left_out,
        damaged=(),
        other_labels=_other_labels(chosen.choices, label_config),
    )
    write(plan.learned(VERSION), shared.learned)
    for number, (learned, tested) in enumerate(shared.tests):
        write(plan.tested(number), tested)
        if not shared.is_pinned:
            write(plan.learned(f"{FOLD}{number}"), learned)
    return Plan(**{**plan.__dict__, "damaged": tuple(damaged)})


def _choices(project_key: str, places: Places) -> tuple[Chosen, str, list[str]]:
    project = places.projects.of(project_key)
    if project is None or not project.label_config:
        raise JobError(f"project {project_key}: its label config is not known: open the project in Label Studio once")
    if not project.confirmed:
        raise JobError(
            f"project {project_key}: its label config comes from a setup request, which anybody can send: run "
            "`xsam-backend sync`, or wait until the service has"
        )
    asks_only = LabelConfig.parse(project.label_config).asks_only
    found = choose(places.tasks.of_project(project_key), places.annotations.of_tasks(project_key), asks_only)
    files = PictureFiles(places.pictures, places.shared)
    files.bring(sorted({str(choice.picture.sha256) for choice in found.choices}))
    spoilt = _spoilt(found.choices, files, places.pictures)
    left_out = Counter(found.left_out)
    tasks_of: dict[str, set[int]] = {}
    for number, (kind, _) in spoilt.items():
        tasks_of.setdefault(kind, set()).add(found.choices[number].task_id)
    left_out.update({kind: len(tasks) for kind, tasks in tasks_of.items()})
    named = [f"task {found.choices[number].task_id}: {reason}" for number, (_, reason) in spoilt.items()]
    for sentence in named:
        logger.warning("left out: %s", sentence)
    kept = tuple(choice for choice in found.choices if choice.number not in spoilt)
    pictures = {choice.picture.sha256 for choice in kept if any(is_object(region) for region in choice.result)}
    if len(pictures) < LEAST_PICTURES:
        reasons = "".join(f"; {count} left out: {reason}" for reason, count in left_out.items())
        raise JobError(
            f"project {project_key}: {len(pictures)} pictures with accepted objects, at least {LEAST_PICTURES} are "
            f"needed{reasons}: accept more tasks"
        )
    return Chosen(kept, dict(left_out)), project.label_config, named


def _other_labels(choices: Sequence[Choice], label_config: str) -> dict[str, int]:
    config = LabelConfig.parse(label_config)
    known = {category.label for category in project_categories(config, ())} | rest_labels(config) | {UNLABELLED}
    found: Counter[str] = Counter()
    for choice in choices:
        found.update(category.label for category in project_categories(None, [choice.result]))
    others = {label: count for label, count in found.items() if label not in known}
    for label, count in others.items():
        logger.warning("label '%s' of %d pictures isn't in the config: they tell of no other label", label, count)
    return others


def _spoilt(choices: Sequence[Choice], files: PictureFiles, folder: Path) -> dict[int, tuple[str, str]]:
    """Choices whose picture can't be learned from, by their numbers: what is wrong, and the same with its details."""
    names = {str(choice.picture.sha256) for choice in choices}
    gone, damaged = files.lacking(names), files.damaged(names)
    found: dict[int, tuple[str, str]] = {}
    for choice in choices:
        name = str(choice.picture.sha256)
        assert choice.picture.size_hw is not None
        if name in gone or name in damaged:
            kind = f"its kept picture is {'gone' if name in gone else 'damaged'}: put a backup back in {folder}"
            found[choice.number] = kind, f"{kind} ({name[:2]}/{name})"
        elif reason := is_another_picture(choice.result, choice.picture.size_hw):
            found[choice.number] = "its picture is not the one that was labelled", reason
    return found


def learned_by(version: str | None, versions: Versions) -> frozenset[str]:
    """SHA-256 of the pictures that a version, or one that it goes on from, has learned from; none of the base."""
    pictures: set[str] = set()
    passed: set[str] = set()
    while version is not None and version not in passed and (known := versions.get(version)) is not None:
        passed.add(version)
        pictures.update(known.report.get("pictures", ()))
        version = known.parent
    return frozenset(pictures)
