"""``store backup | restore | prune | downgrade``: what is kept, out of harm's way and back, or no longer."""

from __future__ import annotations

import shutil
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import click

from xsam_backend.cli.options import settings_options
from xsam_backend.config import load_settings
from xsam_backend.errors import StoreError
from xsam_backend.store.backup import back_up
from xsam_backend.store.data_folder import held
from xsam_backend.store.database import (
    HISTORIES,
    database_url,
    downgrade,
    known_revisions,
    newer_than,
    open_database,
    opened_store,
    others_connected,
)
from xsam_backend.store.inbox import Inbox
from xsam_backend.store.inbox_reading import read_by_all
from xsam_backend.store.jobs import Jobs
from xsam_backend.store.predictions import PredictionLog
from xsam_backend.store.restoring import read_manifest, restore, restore_files


@click.group("store")
def command() -> None:
    """Back up and restore what the service keeps; delete what is old; take tables back to an older version's."""


@command.command("backup")
@click.argument("destination", type=click.Path(path_type=Path))
@settings_options("data_dir", "artefacts_url")
def backup(destination: Path, **given: Any) -> None:
    """Copy what can't be had again into the new folder DESTINATION, while the service runs.

    That is the databases, the pictures and versions that were kept, and the webhook secret: keep it as secret. Not in
    it are models, which can be pulled again, and what is only kept to be faster. A PostgreSQL database is copied by
    pg_dump: before this command, so that the files that its rows name are in the backup. Of what services share at
    artefacts_url only this machine's copies are in it.
    """
    settings = load_settings(**given)
    is_shared = settings.shared_database_url is not None
    manifest = back_up(settings.data_dir, destination.absolute(), has_databases=not is_shared)
    click.echo(
        f"{destination}: {len(manifest.databases)} databases, {manifest.count('pictures')} pictures, "
        f"{manifest.count('versions')} files of versions, {manifest.total_bytes / 1e6:.1f} MB"
    )
    if settings.artefacts_url is not None:
        click.echo(
            f"of {settings.artefacts_url} (artefacts_url) only what this machine has a copy of is in it: back that "
            "place up by its own means",
            err=True,
        )
    if is_shared:
        click.echo("the shared database (database_url) isn't in it: pg_dump copies that, before this", err=True)
    for name in manifest.left_out:
        click.echo(f"left out, for it is damaged: {name}; `xsam-backend sync` fetches it again", err=True)


@command.command("restore")
@click.argument("source", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--replace", is_flag=True, help="The data folder has something in it: move that aside.")
@settings_options("data_dir")
def restore_backup(source: Path, replace: bool, **given: Any) -> None:
    """Make the data folder what it was when the backup SOURCE was made. Stop the service and its workers first.

    Every file is compared with its hash before anything changes. What was there before lies in a folder replaced-...
    of the data folder afterwards; delete it when all is well. At its next start the service asks Label Studio what
    annotators did since the backup.
    """
    settings = load_settings(**given)
    has_databases = bool(read_manifest(source).databases)
    if has_databases is (settings.shared_database_url is not None):
        raise StoreError(
            f"{source} is a backup {'with' if has_databases else 'without'} databases, and database_url is "
            f"{'' if has_databases else 'not '}set: restore it where it was made, with the same settings"
        )
    if not has_databases:
        put_back = restore_files(source, settings.data_dir, replace=replace)
        click.echo(f"{settings.data_dir}: {put_back} files were missing and are back; pg_restore does the database")
        return
    aside = restore(source, settings.data_dir, replace=replace)
    click.echo(f"{settings.data_dir} is as {source} has it")
    if aside is not None:
        click.echo(f"what was there before: {aside}")


@command.command("prune")
@click.option("--older-than", "days", type=click.IntRange(min=1), required=True, help="In days.")
@click.option("--yes", is_flag=True, help="Delete it; else only its amount is said.")
@settings_options("data_dir")
def prune(days: int, yes: bool, **given: Any) -> None:
    """Delete what only grows and is old: webhook events that were read, the log of what was predicted, the folders of
    fine-tunings that have ended. Services may run meanwhile.

    Annotations, pictures and versions stay (`models prune` is for those). What was predicted so long ago and is
    accepted only now counts as drawn by hand; a fine-tuning whose folder is gone has no log any more.
    """
    settings = load_settings(**given)
    before = datetime.now(timezone.utc) - timedelta(days=days)
    with opened_store(settings.data_dir, settings.shared_database_url, must_exist=True) as store:
        url = database_url("inbox", settings.data_dir, settings.shared_database_url)
        inbox = open_database(url, "inbox", must_exist=True)
        try:
            events = Inbox(inbox).prune(read_by_all(store), before, only_count=not yes)
        finally:
            inbox.dispose()
        regions = PredictionLog(store).prune(before, only_count=not yes)
        over = Jobs(store, settings.train_tries).over_before(before)
    folders = [path for number in over if (path := settings.jobs_dir / str(number)).is_dir()]
    for folder in folders if yes else ():
        shutil.rmtree(folder, ignore_errors=True)
    age = "a day" if days == 1 else f"{days} days"
    click.echo(
        f"older than {age}{' and deleted' if yes else ', to be deleted with --yes'}: {events} events, "
        f"{regions} predicted regions, {len(folders)} folders of fine-tunings"
    )


@command.command("downgrade")
@click.argument("revision")
@click.option("--yes", is_flag=True, help="Do it; without, say what would be dropped.")
@settings_options("data_dir")
def downgrade_tables(revision: str, yes: bool, **given: Any) -> None:
    """Take the tables back to REVISION, for an older version of this program; that one names it when it refuses them.

    What only newer tables have room for is dropped with --yes: take a backup first. Stop the service and its workers.
    """
    settings = load_settings(**given)
    for history in HISTORIES:
        if revision in known_revisions(history):
            break
    else:
        known = sorted(name for history in HISTORIES for name in known_revisions(history))
        raise StoreError(f"no revision '{revision}': expected one of {', '.join(known)}")
    url = database_url(history, settings.data_dir, settings.shared_database_url)
    if settings.shared_database_url is None and not settings.data_dir.is_dir():
        raise StoreError(f"{settings.data_dir}: expected the data folder of a service, there is none")
    with held(settings.data_dir, alone=True):
        engine = open_database(url, history, must_exist=True)
        try:
            if others := others_connected(engine):
                raise StoreError(
                    f"the database is in use, from {', '.join(others)}: stop every service and worker of it first"
                )
            newer = newer_than(engine, history, revision)
            if yes:
                downgrade(engine, history, revision)
        finally:
            engine.dispose()
    for words in newer:
        click.echo(f"{'dropped' if yes else 'to be dropped with --yes'}, {words}")
    if yes or not newer:
        click.echo(f"the {history} tables are at {revision}: install the older version before anything starts again")
