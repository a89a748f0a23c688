"""``prelabel``: predictions for a whole project, folder or bucket, without a service."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from xsam_backend.cli.options import settings_options
from xsam_backend.cli.stopping import stopping_on_request
from xsam_backend.config import Settings, load_settings
from xsam_backend.prelabelling.blocks import SIZE, Block, Work, divided


@click.command("prelabel")
@click.argument("source")
@click.option(
    "--output", help="Of a folder or bucket: where the files for Label Studio's import go, a folder or URL."
)
@click.option(
    "--label-config",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Of a folder or bucket: what to look for, and the form of what is found (XML).",
)
@click.option(
    "--prefix",
    help="Of a folder or bucket: what pictures' addresses begin with in the files.  [the bucket's own URL; for a "
    "folder /data/local-files/?d=]",
)
@click.option("--version", help="The version that answers.  [what answers the project; else the base model]")
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Above 1: so many processes of Ray Data, on this machine or the cluster that RAY_ADDRESS names, each with a "
    "GPU of its own where there are some. Needs pip install '.[ray]'; 1 needs nothing.",
)
@click.option(
    "--block",
    type=click.IntRange(min=1),
    default=SIZE,
    show_default=True,
    help="So many pictures a file; of a project, so many tasks are read at once.",
)
@settings_options(
    "model",
    "device",
    "dtype",
    "compile",
    "data_dir",
    "artefacts_url",
    "picture_cache_mb",
    "label_studio_url",
    "local_files_root",
    "allow_private_hosts",
)
def command(
    source: str,
    output: str | None,
    label_config: Path | None,
    prefix: str | None,
    version: str | None,
    workers: int,
    block: int,
    **given: Any,
) -> None:
    """Pre-label SOURCE: the number of a project in Label Studio, a folder of pictures, or a bucket (s3://...).

    A project's predictions are written through Label Studio's API; tasks that have one of this version get none, and
    a second run at once, on the same data folder or database, is refused. Of a folder or bucket, files for Label
    Studio's import are written, one for each block of pictures.

    Stopped or killed, the same command goes on where it was; nothing is lost or doubled. Exit status 1 if some tasks
    or pictures could not be answered; where that may pass (a bucket out of reach) the run ends, to be begun again.
    """
    settings = load_settings(**given)
    from xsam_backend.prelabelling.folder_work import LOCAL_FILES, FolderWork  # what it imports takes a second

    is_project = source.isascii() and source.isdecimal()
    if is_project and (output or label_config or prefix):
        raise click.UsageError("--output, --label-config and --prefix are for a folder or bucket, not for a project")
    if is_project:
        _project(settings, int(source), version, workers, block)
    elif output is None or label_config is None:
        raise click.UsageError("a folder or bucket needs --output and --label-config")
    else:
        if prefix is None:
            prefix = f"{source.rstrip('/')}/" if "://" in source else LOCAL_FILES
        xml = label_config.read_text(encoding="utf-8")
        work = FolderWork(settings, version, xml, _as_url(source), _as_url(output), prefix)
        blocks, total = work.blocks(block)
        if len(blocks) < total:
            click.echo(
                f"{total - len(blocks)} of {total} files are there already; which of the source's are no "
                "pictures stands in failed-*.json beside them",
                err=True,
            )
        _run(work, blocks, workers, settings.device)


def _project(settings: Settings, number: int, version: str | None, workers: int, block: int) -> None:
    from xsam_backend.prelabelling.project_work import ProjectWork
    from xsam_backend.store.database import opened_store
    from xsam_backend.store.only_run import only_run
    from xsam_backend.store.versions import Versions

    with opened_store(settings.data_dir, settings.shared_database_url) as database:
        work = ProjectWork.of(settings, number, lambda key: version or Versions(database).deployed().get(str(key)))
        with only_run(database, settings.data_dir, f"prelabel of project {work.project}"):
            blocks = divided(list(work.tasks()), block)
            click.echo(f"project {work.project}: {sum(len(one.items) for one in blocks)} tasks", err=True)
            _run(work, blocks, workers, settings.device)


def _as_url(place: str) -> str:
    return place if "://" in place else f"file://{Path(place).expanduser().absolute()}"


def _run(work: Work, blocks: Sequence[Block], workers: int, device: str) -> None:
    from xsam_backend.prelabelling.engines import run

    started, answered, known, failed = time.monotonic(), 0, 0, 0
    with stopping_on_request("stopping after this block; the same command goes on with the rest") as is_stopping:
        for number, done in enumerate(run(work, blocks, workers, device), start=1):
            answered, known, failed = answered + done.answered, known + done.known, failed + len(done.problems)
            for problem in done.problems:
                click.echo(problem, err=True)
            rate = answered / (time.monotonic() - started)
            click.echo(f"block {number} of {len(blocks)}: {answered} answered, {rate:.2f} a second", err=True)
            if is_stopping():
                break
    click.echo(
        f"{answered} answered, {failed} failed, {known} left as they are (answered by this version already, or gone)"
    )
    if failed:
        raise SystemExit(1)
