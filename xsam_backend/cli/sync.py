"""``sync``: fetch what annotators accepted while the service was down or not yet there; or take in an export."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from xsam_backend.cli.known_projects import known_project
from xsam_backend.cli.options import settings_options
from xsam_backend.config import Settings, load_settings
from xsam_backend.errors import DatasetError, ProjectGoneError, SettingsError
from xsam_backend.evaluation.datasets.reading import read_json
from xsam_backend.labelstudio.images import ImageSource
from xsam_backend.learning.collecting import Collector, Synced
from xsam_backend.learning.picture_copies import PictureCopies
from xsam_backend.server.outside import fetch_policy, label_studio_client
from xsam_backend.store.annotations import Annotations
from xsam_backend.store.database import opened_store
from xsam_backend.store.jobs import PROJECT_GONE, Jobs
from xsam_backend.store.picture_files import PictureFiles
from xsam_backend.store.predictions import PredictionLog
from xsam_backend.store.projects import ProjectKey, Projects
from xsam_backend.store.shared_files import shared_files
from xsam_backend.store.tasks import Tasks


@click.command("sync")
@click.argument("project_ids", metavar="[PROJECT]...", type=click.IntRange(min=0), nargs=-1)
@click.option(
    "--export",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Take in this JSON export instead of asking Label Studio.",
)
@click.option("--uid", help="With --export: the project as <number>.<creation second>; its number alone if known.")
@click.option(
    "--label-config",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="With --export: the project's label config, an XML file.  [the one that is known]",
)
@settings_options("data_dir", "artefacts_url", "label_studio_url", "allow_private_hosts", "local_files_root")
def command(
    project_ids: tuple[int, ...], export: Path | None, uid: str | None, label_config: Path | None, **given: Any
) -> None:
    """Fetch all annotations of PROJECTs (numbers in Label Studio; without any, of all that are known), and copy the
    pictures of their tasks.

    A running service does the same by itself at its start. What is kept already costs nothing and stays as it is;
    annotations that are gone from Label Studio are noted as deleted.
    """
    settings = load_settings(**given)
    if export is None and (uid or label_config):
        raise click.UsageError("--uid and --label-config belong to --export")
    if export is not None and (uid is None or project_ids):
        raise click.UsageError("--export is of one project: name it by --uid")
    with opened_store(settings.data_dir, settings.shared_database_url) as database:
        projects, tasks = Projects(database), Tasks(database)
        collector = Collector(projects, tasks, Annotations(database), PredictionLog(database), settings.instance)
        if export is not None:
            assert uid is not None
            _say(_take_in(collector, projects, settings.instance, export, uid, label_config))
        else:
            _fetch(collector, projects, Jobs(database), project_ids, settings)
        client = label_studio_client(settings)
        files = PictureFiles(settings.pictures_dir, shared_files(settings.artefacts_url))
        copies = PictureCopies(tasks, files, ImageSource(fetch_policy(settings), client))
        copied = 0
        for task, problem in copies.copy_due():
            copied += not problem
            if problem:
                click.echo(f"project {task.project_key}, task {task.task_id}: {problem}", err=True)
        click.echo(f"pictures of {copied} tasks copied, {tasks.count_lacking()} tasks lack some")


def _fetch(
    collector: Collector, projects: Projects, jobs: Jobs, numbers: tuple[int, ...], settings: Settings
) -> None:
    client = label_studio_client(settings)
    if client is None:
        raise SettingsError("sync asks Label Studio: set label_studio_url and label_studio_token, or use --export")
    here = [key for one in projects.all() if (key := ProjectKey.parse(one.key)).instance == settings.instance]
    for key in here:
        if not numbers or key.project_id in numbers:
            try:
                _say(collector.sync(client, key.project_id, key))
            except ProjectGoneError as error:  # the others are there
                cancelled = jobs.cancel_all(str(key), PROJECT_GONE)
                click.echo(f"{error}; {len(cancelled)} jobs cancelled", err=True)
                if client.has_project(key.project_id):  # another one of that number
                    _say(collector.sync(client, key.project_id))
    unheard = sorted(set(numbers) - {key.project_id for key in here})
    for number in unheard:
        _say(collector.sync(client, number))
    if not here and not unheard:
        click.echo("no project is known yet: name one by its number in Label Studio")


def _take_in(
    collector: Collector, projects: Projects, instance: str, export: Path, uid: str, label_config: Path | None
) -> Synced:
    key = known_project(uid, instance, [project.key for project in projects.all()])
    project = projects.of(str(key))
    try:
        config = label_config.read_text(encoding="utf-8") if label_config else project and project.label_config
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"--label-config {label_config}: expected XML in UTF-8 ({error})") from error
    if not config:
        raise SettingsError(f"project {key} is not known yet: give its label config (--label-config FILE)")
    rows = read_json(export)
    if not isinstance(rows, list):
        raise DatasetError(f"{export}: expected Label Studio's JSON export, a list of tasks")
    return collector.import_export(rows, key, config)


def _say(synced: Synced) -> None:
    gone = f", {synced.deleted} gone from Label Studio" if synced.deleted else ""
    click.echo(f"project {synced.project}: {synced.tasks} tasks, {synced.news} annotations new or changed{gone}")
    for problem in synced.problems:
        click.echo(f"project {synced.project}, {problem}", err=True)
