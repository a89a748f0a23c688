"""``serve``: the backend that Label Studio connects to."""

from __future__ import annotations

from typing import Any

import click

from xsam_backend.cli.options import secrets_help, settings_options
from xsam_backend.config import load_settings


@click.command("serve", epilog=secrets_help())
@settings_options()
def command(**given: Any) -> None:
    """Answer Label Studio on --host and --port until stopped.

    Each option can also be set in the environment, as XSAM_BACKEND_ and its name.
    """
    settings = load_settings(**given)
    from xsam_backend.server.serving import serve  # Flask and gunicorn, once the settings are known to be right

    serve(settings)
