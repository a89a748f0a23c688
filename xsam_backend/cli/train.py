"""``train``: stages over labelled pictures, from a config file; a run that was stopped goes on."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Any

import click

from xsam_backend.cli.options import settings_options
from xsam_backend.config import load_settings


@click.command("train")
@click.argument("config")
@click.option("--data-folder", type=click.Path(path_type=Path), help="Where folders of data begin.  [the config's]")
@click.option("--run", type=click.Path(path_type=Path), help="Folder of the run.  [the config's]")
@click.option("--export", type=click.Path(path_type=Path), help="Write the model here at the end.  [the config's]")
@click.option("--plan", "only_plan", is_flag=True, help="Say what would be done, and do none of it.")
@click.option("--show", is_flag=True, help="Print the config file, to begin one's own from.")
@settings_options("device", "data_dir")
def command(
    config: str,
    data_folder: Path | None,
    run: Path | None,
    export: Path | None,
    only_plan: bool,
    show: bool,
    **given: Any,
) -> None:
    """Train as CONFIG says: a TOML file, or tiny, released or paper, which ship with the package.

    Stopped or killed, the same command goes on where the run's last state is, with the same pictures and losses. On
    several GPUs: torchrun --nproc-per-node N -m -- xsam_backend train CONFIG
    """
    settings = load_settings(**given)
    from xsam_backend.training.config_file import config_path, load_train_config

    path = config_path(config)
    if show:
        click.echo(path.read_text(encoding="utf-8"), nl=False)
        return
    wanted = load_train_config(path, data_folder=data_folder, run=run, export=export)
    from xsam_backend.training.running import plan, run_training  # torch, once the config is known to be right

    if only_plan:
        click.echo("\n".join(plan(wanted, settings.device, settings.models_dir)))
        return
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    run_training(wanted, settings.device, settings.models_dir)
