"""``doctor``: everything that a running service needs, checked one by one, each failure with what to change."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Any

import click

from xsam_backend.cli.checks import Finding
from xsam_backend.cli.checks.label_studio import check_label_studio
from xsam_backend.cli.checks.machine import check_data_dir, check_model, check_versions
from xsam_backend.cli.checks.service import check_service
from xsam_backend.cli.options import secrets_help, settings_options
from xsam_backend.config import load_settings


@click.command("doctor", epilog=secrets_help())
@click.option("--project", type=int, help="Id of a Label Studio project to check, its way back to us included.")
@click.option("--skip-model", is_flag=True, help="Don't load the weights (large ones take minutes).")
@settings_options(
    "host",
    "port",
    "model",
    "device",
    "dtype",
    "data_dir",
    "label_studio_url",
    "local_files_root",
    "allow_private_hosts",
)
def command(project: int | None, skip_model: bool, **given: Any) -> None:
    """Check versions, data folder, weights, device, the running service, Label Studio, and one of its projects.

    Exit status 1 if something fails. Changes nothing, except that the data folder, its databases and its webhook
    secret are made.
    """
    settings = load_settings(**given)
    checks: list[Callable[[], Iterator[Finding]]] = [
        check_versions,
        lambda: check_data_dir(settings),
        lambda: check_model(settings) if not skip_model else iter(()),
        lambda: check_service(settings),
        lambda: check_label_studio(settings, project),
    ]
    failed = False
    for check in checks:
        for finding in check():
            click.echo(str(finding))
            failed = failed or finding.mark == "FAIL"
    sys.exit(1 if failed else 0)
