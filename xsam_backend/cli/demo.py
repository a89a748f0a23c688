"""``demo``: a Label Studio with pictures, labelled beforehand and connected to us, by one command."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from xsam_backend.cli.options import settings_options
from xsam_backend.config import load_settings


@click.command("demo")
@click.option("--fresh", is_flag=True, help="Forget the login, pictures and annotations of earlier demos.")
@click.option(
    "--open/--no-open",
    "opens_browser",
    default=None,
    help="Show the project in a browser, if there is one.  [at a terminal: --open]",
)
@click.option(
    "--port",
    type=click.IntRange(1, 65535),
    help="Port of the backend.  [the one of last time, or 9090 if it is free]",
)
@click.option(
    "--label-studio-port",
    type=click.IntRange(1, 65535),
    help="Port of Label Studio.  [the one of last time, or 8080 if it is free]",
)
@click.option(
    "--label-studio",
    type=click.Path(exists=True, dir_okay=False, executable=True, resolve_path=False, path_type=Path),
    help="An installed label-studio script to use; without it, one is installed below the data folder.",
)
@settings_options("model", "device", "dtype", "data_dir")
def command(
    fresh: bool,
    opens_browser: bool | None,
    port: int | None,
    label_studio_port: int | None,
    label_studio: Path | None,
    **given: Any,
) -> None:
    """Start a real Label Studio with a dozen pictures, labelled beforehand, and the backend behind its smart tools.

    Everything stays on this machine, in the folder "demo" below the data folder. The first start installs Label
    Studio there (about 1 GB); a later one goes on with the same project. Prints address and login, and runs until
    Ctrl-C.
    """
    settings = load_settings(**given)
    from xsam_backend.demo.progress import Progress
    from xsam_backend.demo.running import Wishes, run_demo  # draws scenes: OpenCV, once the settings are right

    wishes = Wishes(
        label_studio=label_studio.absolute() if label_studio else None,
        label_studio_port=label_studio_port,
        backend_port=port,
        fresh=fresh,
        opens_browser=sys.stderr.isatty() if opens_browser is None else opens_browser,
    )
    run_demo(settings, wishes, Progress())
