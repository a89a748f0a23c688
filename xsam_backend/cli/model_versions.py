"""``models show | diff | promote | rollback | prune``: the versions that fine-tunings made, and which one answers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import click

from xsam_backend.cli.known_projects import known_project
from xsam_backend.cli.options import settings_options
from xsam_backend.config import Settings, load_settings
from xsam_backend.errors import NothingKeptError, StoreError
from xsam_backend.learning.pruning import KEEP
from xsam_backend.learning.pruning import prune as pruned
from xsam_backend.learning.version_files import VersionFiles
from xsam_backend.prompts import Task
from xsam_backend.store.database import opened_store
from xsam_backend.store.projects import Projects
from xsam_backend.store.shared_files import shared_files
from xsam_backend.store.versions import Version, Versions

SEARCHES = {str(Task.GENERIC): "by label", str(Task.VGD): "like an example"}
"""What scores are told of, in words."""


@dataclass(frozen=True)
class _Kept:
    versions: Versions
    files: VersionFiles
    projects: Projects

    def version(self, name: str) -> Version:
        found = self.versions.get(name)
        if found is None:
            raise StoreError(
                f"no version '{name}': `models list` has all that fine-tunings made, below the models they began "
                "with; of those, `models info` tells"
            )
        return found


@contextmanager
def _kept(settings: Settings) -> Iterator[_Kept]:
    shared = shared_files(settings.artefacts_url)
    with opened_store(settings.data_dir, settings.shared_database_url, must_exist=True) as database:
        yield _Kept(Versions(database), VersionFiles(settings.versions_dir, shared), Projects(database))


def version_lines(settings: Settings) -> list[str]:
    """One line for each version, the newest first: name, state, project, what it went on from. None where no service
    has kept anything yet."""
    try:
        with _kept(settings) as kept:
            deployed = kept.versions.deployed()
            return [
                f"{version.name}  {version.state}"
                f"{', answers' if deployed.get(version.project_key) == version.name else ''}"
                f"  project {version.project_key}  after {version.parent}  {version.created_at:%Y-%m-%d %H:%M} UTC"
                for version in kept.versions.all()
            ]
    except NothingKeptError:
        return []


@click.command("show")
@click.argument("name")
@settings_options("data_dir")
def show(name: str, **given: Any) -> None:
    """What version NAME learned from, how it was tested, and why it was promoted or refused."""
    with _kept(load_settings(**given)) as kept:
        version = kept.version(name)
        for line in _report_lines(version):
            click.echo(line)
        for deployment in kept.versions.history(version.project_key):
            if deployment.version == name:
                click.echo(f"deployed {deployment.at:%Y-%m-%d %H:%M} UTC: {deployment.reason}")


def _report_lines(version: Version) -> Iterator[str]:
    report = version.report
    yield f"{version.name}: {version.state}"
    yield f"project {version.project_key}, job {version.job_id}, after {version.parent}"
    for reason in report.get("reasons", ()):
        yield f"  {reason}"
    yield (
        f"learned from {len(report.get('pictures', ()))} pictures in {report.get('steps')} steps, "
        f"{report.get('seconds')} s in all, {report.get('peak_mb', '?')} MB at most; "
        f"{report.get('numbers_changed', 0) / 1e6:.1f} million numbers changed"
    )
    for reason, count in report.get("left_out", {}).items():
        yield f"left out: {count} tasks, {reason}"
    yield from (f"  {sentence}" for sentence in report.get("damaged", ()))
    for label, count in report.get("other_labels", {}).items():
        yield f"label '{label}' of {count} pictures isn't in the label config: they tell of no other label"
    yield f"tested on {report.get('tested_on')}:"
    yield from (f"  {line}" for line in _measures(report))
    yield from _score_lines(report.get("scores") or {})


def _score_lines(meanings: Mapping[str, Any]) -> Iterator[str]:
    for task, words in SEARCHES.items():
        if scores := meanings.get(task):
            yield (
                f"of {scores['found']} found {words} in held-out pictures {scores['right']} were right; calibration "
                f"error of the scores {_number(scores['error_before'], 5)} as they come, "
                f"{_number(scores['error_after'], 5)} calibrated"
            )
    sorting = meanings.get(str(Task.GENERIC), {}).get("sorting")
    if sorting is not None:
        yield (
            f"sorting by score: rank correlation {sorting:+.2f} with how good the pre-labels were "
            "(1: the worst come first)"
        )


def _measures(report: Mapping[str, Any]) -> Iterator[str]:
    yield f"{'where':<10} {'question':<8} {'pictures':>8} {'deployed':>9} {'candidate':>9}  change (95 % interval)"
    for change in report.get("changes", ()):
        estimate = change["change"]
        yield (
            f"{change['where']:<10} {change['question']:<8} {change['pictures']:>8} {_number(change['deployed'], 9)} "
            f"{_number(change['candidate'], 9)}  {_number(estimate['value'], 6, '+')} "
            f"({_number(estimate['low'], 6, '+')} to {_number(estimate['high'], 6, '+')})"
        )


def _number(value: float | None, width: int, sign: str = "") -> str:
    return f"{'-':>{width}}" if value is None else f"{value:{sign}{width}.3f}"


@click.command("diff")
@click.argument("first")
@click.argument("second")
@settings_options("data_dir", "model")
def diff(first: str, second: str, **given: Any) -> None:
    """How far two versions of one base are apart, part by part, and what each was measured at.

    FIRST and SECOND are versions' names. The distance is that of their changes, over the size of the first one's. One
    of them may be the base that the other one changes (--model), as `models show` names it: then the distance is over
    the size of the base's own numbers, of those that are changed.
    """
    settings = load_settings(**given)
    from xsam_backend.model.checkpoint import model_version
    from xsam_backend.model.delta import change_by_part, distance_by_part, load_delta
    from xsam_backend.model.folders import WEIGHTS, model_folder

    with _kept(settings) as kept:
        folder = model_folder(settings.model, settings.models_dir)
        base = model_version(folder)
        versions = [kept.version(name) for name in (first, second) if name != base]
        deltas = [load_delta(kept.files.delta(version.name)) for version in versions]
        if len(deltas) == 2:
            apart = distance_by_part(*deltas)
        elif len(deltas) == 1:
            apart = change_by_part(folder / WEIGHTS, base, deltas[0])
        else:
            raise click.UsageError(f"{base} is the base: expected a version beside it")
        for part, share in apart.items():
            click.echo(f"{part:<20} {share:.2%}")
        for version in versions:
            click.echo(version.name)
            for line in _measures(version.report):
                click.echo(f"  {line}")


@click.command("promote")
@click.argument("name")
@click.option("--project", help="Another project than its own: they share a model from then on.")
@click.option("--reason", default="promoted by hand", show_default=True, help="Kept with the deployment.")
@settings_options("data_dir", "label_studio_url")
def promote(name: str, project: str | None, reason: str, **given: Any) -> None:
    """Let version NAME answer its project, also one that the gate refused. A running service swaps it in itself.

    With --project it answers that project instead, which learns on from it: the project's number in Label Studio,
    <number>.<creation second>, or its whole key as `models list` shows it. NAME's own project is not touched.
    """
    settings = load_settings(**given)
    with _kept(settings) as kept:
        version = kept.version(name)
        kept.files.delta(name)  # it must be there
        key = version.project_key
        if project is not None:
            key = str(known_project(project, settings.instance, [one.key for one in kept.projects.all()]))
        kept.versions.deploy(key, name, reason, is_shared=project is not None)
        click.echo(f"project {key} is answered by {name}")


@click.command("rollback")
@click.argument("project")
@settings_options("data_dir", "label_studio_url")
def rollback(project: str, **given: Any) -> None:
    """Let what answered PROJECT before answer it again: the version before, in the end the base model.

    PROJECT is its number in Label Studio, <number>.<creation second>, or its whole key as `models list` shows it.
    """
    settings = load_settings(**given)
    with _kept(settings) as kept:
        fine_tuned = {*kept.versions.deployed(), *(version.project_key for version in kept.versions.all())}
        known = sorted(fine_tuned.union(one.key for one in kept.projects.all()))
        key = str(known_project(project, settings.instance, known))
        if key not in fine_tuned:
            raise StoreError(f"project {key} has no version: the base model answers it, so nothing is to be undone")
        name = kept.versions.before(key)
        if name is not None:
            kept.files.delta(name)
        kept.versions.deploy(key, name, "rolled back")
        click.echo(f"project {key} is answered by {name or 'the base model'}")


@click.command("prune")
@click.option(
    "--keep", type=click.IntRange(min=1), default=KEEP, show_default=True, help="Newest promoted ones to keep."
)
@click.option("--yes", is_flag=True, help="Delete them; else they are only named.")
@settings_options("data_dir")
def prune(keep: int, yes: bool, **given: Any) -> None:
    """Delete the files of old versions: all but what answers a project, what a rollback leads to, and each project's
    newest that the gate promoted. Those that it refused go, also one that was promoted by hand and taken back. Their
    reports stay. The worker does so after each job, and keeps the newest refused ones, too."""
    with _kept(load_settings(**given)) as kept:
        for name, freed in pruned(kept.versions, kept.files, keep, only_say=not yes):
            click.echo(f"{name}: {freed / 1e6:.1f} MB {'freed' if yes else 'to be freed with --yes'}")
