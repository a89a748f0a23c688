"""``jobs``: the queue of fine-tunings, and the process that works it off."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import click

from xsam_backend.cli.known_projects import known_project
from xsam_backend.cli.options import settings_options
from xsam_backend.cli.stopping import stopping_on_request
from xsam_backend.config import Settings, load_settings
from xsam_backend.errors import JobError
from xsam_backend.store.database import opened_store
from xsam_backend.store.jobs import Job, Jobs, Worker
from xsam_backend.store.projects import Projects


@click.group("jobs")
def command() -> None:
    """Queue fine-tunings, watch, cancel and run them."""


@command.command("start")
@click.argument("project")
@settings_options("data_dir", "label_studio_url")
def start(project: str, **given: Any) -> None:
    """Queue a fine-tuning of PROJECT: its number in Label Studio, or <number>.<creation second>."""
    settings = load_settings(**given)
    with _kept(settings) as (jobs, projects):
        known = [one.key for one in projects.all()]
        key = str(known_project(project, settings.instance, known))
        if key not in known:
            raise JobError(f"project {key} is not known: expected one of {', '.join(known) or 'none, so far'}")
        if any(one.key == key and one.gone_at is not None for one in projects.all()):
            raise JobError(
                f"project {key} is gone from Label Studio: what was kept of it stays, and isn't learned from"
            )
        job, is_new = jobs.queue(key, "command")
    click.echo(f"job {job.id} is queued{'' if is_new else ' already'}: a running service starts it, or `jobs work`")


@command.command("list")
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True, help="So many of the latest.")
@settings_options("data_dir")
def list_jobs(limit: int, **given: Any) -> None:
    """The latest jobs: number, state, project, what queued it, how far it is or why it failed."""
    with _kept(load_settings(**given)) as (jobs, _):
        for job in jobs.latest(limit):
            click.echo(f"{job.id}  {job.state}  {job.project_key}  {job.reason}  {_in_short(job)}".rstrip())


@command.command("show")
@click.argument("number", metavar="ID", type=int)
@settings_options("data_dir")
def show(number: int, **given: Any) -> None:
    """Everything that is known of job ID."""
    with _kept(load_settings(**given)) as (jobs, _):
        facts = jobs.get(number).as_json()
    width = max(map(len, facts))
    for name, value in facts.items():
        if value not in (None, ""):
            click.echo(f"{name:<{width}}  {value}")


@command.command("log")
@click.argument("number", metavar="ID", type=int)
@settings_options("data_dir")
def log(number: int, **given: Any) -> None:
    """What job ID has logged, if it ran on this machine."""
    with _kept(load_settings(**given)) as (jobs, _):
        job = jobs.get(number)
    if job.log_file is None:
        raise JobError(f"job {number} is {job.state} and has no log yet")
    try:
        text = Path(job.log_file).read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise JobError(f"the log of job {number} is {job.log_file} on {job.host}; not here ({error})") from error
    click.echo(text, nl=False)


@command.command("cancel")
@click.argument("number", metavar="ID", type=int)
@settings_options("data_dir")
def cancel(number: int, **given: Any) -> None:
    """Cancel job ID; a running one stops at its next step."""
    with _kept(load_settings(**given)) as (jobs, _):
        job = jobs.cancel(number)
    click.echo(f"job {number} is {job.state}" + ("" if job.is_over else ", and will stop at its next step"))


@command.command("work")
@click.option("--once", is_flag=True, help="End when nothing is left to do.")
@settings_options(
    "device",
    "data_dir",
    "artefacts_url",
    "model",
    "train_tries",
    "train_nice",
    "train_memory_mb",
    "train_four_bits",
    "log_level",
)
def work_off(once: bool, **given: Any) -> None:
    """Run the queued jobs, one after the other. A service starts this by itself unless --train-worker is false.

    Stopped or killed, it loses nothing: the next one goes on with the job where its last state is.
    """
    settings = load_settings(**given)
    from xsam_backend.learning.jobs import fine_tuning, work
    from xsam_backend.learning.worker_places import device_name, held_place
    from xsam_backend.server.logs import configure_logging

    configure_logging(settings.log_level, settings.log_format)
    _step_back(settings.train_nice)
    words = "stopping at the next step; the job stays in the queue"
    with (
        held_place(settings.jobs_dir, device_name(settings.device)) as place,
        opened_store(settings.data_dir, settings.shared_database_url) as database,
        stopping_on_request(words) as is_stopping,
    ):
        work(
            Jobs(database, settings.train_tries),
            fine_tuning(settings),
            this_worker(place),
            settings.jobs_dir,
            once=once,
            is_stopping=is_stopping,
            memory_mb=settings.train_memory_mb,
        )


def this_worker(place: str) -> Worker:
    """This process."""
    return Worker(place, platform.node(), os.getpid(), datetime.now(timezone.utc))


def _step_back(nice: int) -> None:
    """Serving goes first on the CPU, and where memory runs out the kernel is to end this process, not the service."""
    os.nice(nice)
    with suppress(OSError):  # not on Linux
        Path("/proc/self/oom_score_adj").write_text("900")


@contextmanager
def _kept(settings: Settings) -> Iterator[tuple[Jobs, Projects]]:
    with opened_store(settings.data_dir, settings.shared_database_url, must_exist=True) as database:
        yield Jobs(database, settings.train_tries), Projects(database)


def _came_of(result: Mapping[str, Any]) -> str:
    if "version" not in result:
        return ""
    what = f"{result['version']} {'promoted' if result.get('promoted') else 'refused'}"
    reasons = "; ".join(map(str, result.get("reasons", ())))
    return f"{what}: {reasons}" if reasons else what


def _in_short(job: Job) -> str:
    if job.state != "running":
        return job.error or _came_of(job.result or {})
    steps = f" {job.step} of {job.steps}" if job.steps else ""
    if job.is_abandoned:
        return f"{job.stage}{steps}, but its worker is gone: the next one goes on with it"
    left = f", {job.eta_s / 60:.1f} min left of it" if job.eta_s is not None else ""
    return f"{job.stage}{steps}{left}" + (", to be cancelled" if job.cancel_wanted else "")
