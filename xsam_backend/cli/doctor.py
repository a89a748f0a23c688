"""``doctor``: everything that a running service needs, checked one by one, each failure with what to change."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import click

from xsam_backend.cli.checks import Finding
from xsam_backend.cli.checks.label_config import check_label_config
from xsam_backend.cli.checks.label_studio import check_label_studio
from xsam_backend.cli.checks.machine import check_artefacts, check_data_dir, check_model, check_versions
from xsam_backend.cli.checks.service import check_service
from xsam_backend.cli.options import secrets_help, settings_options
from xsam_backend.config import load_settings
from xsam_backend.errors import LabelConfigError


@click.command("doctor", epilog=secrets_help())
@click.option("--project", type=int, help="Id of a Label Studio project to check, its way back to us included.")
@click.option(
    "--label-config",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A label config (XML) to tell about, and nothing else: what it offers, what won't work, the config mended.",
)
@click.option("--skip-model", is_flag=True, help="Don't load the weights (large ones take minutes).")
@settings_options(
    "host",
    "port",
    "model",
    "device",
    "dtype",
    "data_dir",
    "artefacts_url",
    "label_studio_url",
    "local_files_root",
    "allow_private_hosts",
)
def command(project: int | None, label_config: Path | None, skip_model: bool, **given: Any) -> None:
    """Check versions, data folder, weights, device, the running service, Label Studio, and one of its projects.

    Exit status 1 if something fails. Changes nothing, except that the data folder, its databases and its webhook
    secret are made. With --label-config, that file alone is looked at.
    """
    if label_config is not None:
        if project is not None:
            raise click.UsageError(
                "--label-config looks at a file alone; --project tells about the project's own one"
            )
        _report([lambda: check_label_config(_text_of(label_config))])
        return
    settings = load_settings(**given)
    checks: list[Callable[[], Iterator[Finding]]] = [
        check_versions,
        lambda: check_data_dir(settings),
        lambda: check_artefacts(settings),
        lambda: check_model(settings) if not skip_model else iter(()),
        lambda: check_service(settings),
        lambda: check_label_studio(settings, project),
    ]
    _report(checks)


def _report(checks: Sequence[Callable[[], Iterator[Finding]]]) -> None:
    """Print what is found, and end with the status."""
    failed = False
    for check in checks:
        for finding in check():
            click.echo(str(finding))
            failed = failed or finding.mark == "FAIL"
    sys.exit(1 if failed else 0)


def _text_of(file: Path) -> str:
    try:
        return file.read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        raise LabelConfigError(f"{file}: expected a label config in UTF-8, got {error}: save it so") from error
