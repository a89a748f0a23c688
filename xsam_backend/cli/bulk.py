"""``bulk``: how far pre-labelling in the background is, what failed in it, and its end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from xsam_backend.cli.known_projects import known_project
from xsam_backend.cli.options import settings_options
from xsam_backend.config import Settings, load_settings
from xsam_backend.store.bulk_tasks import BulkTasks
from xsam_backend.store.database import opened_store


@click.group("bulk")
def command() -> None:
    """Watch and cancel pre-labelling in the background: what of "Retrieve predictions" took too long for a reply."""


@command.command("list")
@settings_options("data_dir")
def list_projects(**given: Any) -> None:
    """Projects with tasks that were queued, and how far these are."""
    with _queue(load_settings(**given)) as queue:
        for progress in queue.progress():
            click.echo(f"{progress.project_key}  {progress.in_words}")


@command.command("show")
@click.argument("project")
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True, help="So many tasks.")
@settings_options("data_dir", "label_studio_url")
def show(project: str, limit: int, **given: Any) -> None:
    """Tasks of PROJECT that failed or are to be tried again, and why. Its number, or <number>.<creation second>."""
    settings = load_settings(**given)
    with _queue(settings) as queue:
        key = _key(project, settings, queue)
        for task_id, state, error in queue.troubles(key, limit):
            click.echo(f"task {task_id}  {state}  {error}")


@command.command("cancel")
@click.argument("project")
@settings_options("data_dir", "label_studio_url")
def cancel(project: str, **given: Any) -> None:
    """End what waits of PROJECT; what is under way is still written. Retrieve predictions queues it again."""
    settings = load_settings(**given)
    with _queue(settings) as queue:
        key = _key(project, settings, queue)
        number = queue.end_project(key, "cancelled")
    click.echo(f"project {key}: {number} tasks cancelled")


@contextmanager
def _queue(settings: Settings) -> Iterator[BulkTasks]:
    with opened_store(settings.data_dir, settings.shared_database_url, must_exist=True) as database:
        yield BulkTasks(database)


def _key(project: str, settings: Settings, queue: BulkTasks) -> str:
    return str(known_project(project, settings.instance, [one.project_key for one in queue.progress()]))
