"""The command line. Results go to stdout, logs and progress to stderr; exit 0 fine, 1 failed, 2 misuse."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

import click

import xsam_backend
from xsam_backend.errors import XSamBackendError

VERBS = {
    "serve": "Answer Label Studio.",
    "demo": "See it once: a Label Studio with pictures, labelled beforehand, connected to us.",
    "predict": "Ask about one picture, without Label Studio.",
    "prelabel": "Predict for a whole project, folder or bucket, on one machine or several.",
    "evaluate": "Measure how good a model is, on labelled pictures.",
    "train": "Teach a model from labelled pictures, stage by stage, as a config file says.",
    "train-clicks": "Teach further clicks to correct a mask, on a model's answers to first ones.",
    "jobs": "Queue fine-tunings on what annotators accepted; watch, cancel and run them.",
    "bulk": "Watch and cancel pre-labelling in the background.",
    "models": "List, fetch, convert and look into weights.",
    "sync": "Fetch what annotators accepted while the service was down, or take in an export.",
    "store": "Back up and restore what the service keeps; take its tables back to an older version's.",
    "doctor": "Check everything that a running service needs, and say what to change.",
}
"""Verb -> one line about it. Each is a module of this package, imported only when it is used: torch is slow."""


class _Verbs(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        command: click.Command = importlib.import_module(f"xsam_backend.cli.{cmd_name.replace('-', '_')}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Verbs"):
            formatter.write_dl(list(VERBS.items()))


@click.group(cls=_Verbs, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(xsam_backend.__version__, prog_name="xsam-backend")
def cli() -> None:
    """Label Studio ML backend on X-SAM: clicks, boxes and phrases to masks."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a verb and end the process."""
    try:
        cli.main(args=arguments, prog_name="xsam-backend", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("stopped", err=True)
        sys.exit(130)
    except click.exceptions.Exit as error:
        sys.exit(error.exit_code)
    except XSamBackendError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(1)
