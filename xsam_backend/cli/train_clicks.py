"""``train-clicks``: teach the refiner of further clicks, on what a model answers to first ones."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Any

import click

from xsam_backend.cli.loading import loaded, version_option
from xsam_backend.cli.options import settings_options
from xsam_backend.config import load_settings


@click.command("train-clicks")
@click.argument("folders", nargs=-1, required=True, type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--run", type=click.Path(path_type=Path), required=True, help="Folder of the run: answers, state.")
@click.option("--steps", type=click.IntRange(1), default=3000, show_default=True, help="Of the optimizer.")
@click.option("--export", type=click.Path(path_type=Path), required=True, help="Write the weights here at the end.")
@version_option
@settings_options("model", "device", "dtype", "data_dir")
def command(
    folders: tuple[Path, ...], run: Path, steps: int, export: Path, version: str | None, **given: Any
) -> None:
    """Train on the pictures of FOLDERS, each with COCO's instances.json; every tenth is set aside to measure on.

    The model itself isn't changed. Its answers are asked for once and kept in the run's folder; stopped or killed,
    the same command goes on.
    """
    settings = load_settings(**given)
    from xsam_backend.training.clicks.running import train_on_folders  # torch takes seconds to import
    from xsam_backend.training.clicks.training import ClickTraining, export_refiner

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    refiner = train_on_folders(loaded(settings, version), folders, run, ClickTraining(steps=steps))
    export_refiner(refiner, export)
    click.echo(f"{export}: {sum(parameter.numel() for parameter in refiner.parameters())} numbers")
