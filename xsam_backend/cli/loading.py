"""The model that a command asks: the settings' own, or with the changes of one of its versions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from xsam_backend.config import Settings
from xsam_backend.learning.version_files import VersionFiles
from xsam_backend.store.shared_files import shared_files

if TYPE_CHECKING:
    from xsam_backend.model.predictor import Predictor

version_option = click.option(
    "--version", "version", help="One of the fine-tuned versions that `models list` shows; --model is its base."
)


def loaded(settings: Settings, version: str | None) -> Predictor:
    """A predictor, after a word on stderr: loading takes seconds.

    Raises:
        CheckpointError: no such model or version, or the version belongs to another model.
        StoreError: services share their files, and these can't be had.
    """
    files = VersionFiles(settings.versions_dir, shared_files(settings.artefacts_url))
    delta = files.delta(version) if version else None
    click.echo(f"loading {version or settings.model}", err=True)
    from xsam_backend.model.predictor import load_predictor  # torch takes seconds to import

    base = load_predictor(settings.model, settings.device, settings.dtype, settings.models_dir)
    if version is None or delta is None:
        return base
    from xsam_backend.model.versions import predictor_with_delta

    return predictor_with_delta(base, delta, version)
