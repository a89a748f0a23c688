"""``serve``: the backend that Label Studio connects to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import click

from xsam_backend.cli.options import is_secret, secrets_help, settings_options
from xsam_backend.config import Settings, load_settings, origins


@click.command("serve", epilog=secrets_help())
@click.option("--show-config", is_flag=True, help="Print every setting and where it comes from, and end.")
@settings_options()
def command(show_config: bool, **given: Any) -> None:
    """Answer Label Studio on --host and --port until stopped.

    Each option can also be set in the environment, as XSAM_BACKEND_ and its name.
    """
    settings = load_settings(**given)
    if show_config:
        for line in config_lines(settings, origins(settings, given)):
            click.echo(line)
        return
    from xsam_backend.server.serving import serve  # Flask and gunicorn, once the settings are known to be right

    serve(settings)


def config_lines(settings: Settings, origin: Mapping[str, str]) -> Iterator[str]:
    """A line for each setting, secrets hidden: its name, value and origin."""
    shown = {}
    for name, field in Settings.model_fields.items():
        value = getattr(settings, name)
        if value in (None, ()):
            shown[name] = "(not set)"
        elif is_secret(field):
            shown[name] = "(hidden)"
        else:
            shown[name] = ",".join(value) if isinstance(value, tuple) else str(value)
    name_width, value_width = max(map(len, shown)), max(map(len, shown.values()))
    for name, value in shown.items():
        yield f"{name:<{name_width}}  {value:<{value_width}}  {origin[name]}"
