"""The base model, and the candidates that a project's pictures make of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from xsam_backend.evaluation.datasets.opening import open_dataset
from xsam_backend.learning.object_sizes import typical_sizes
from xsam_backend.learning.places import Places
from xsam_backend.learning.recipe import SHARE_OF_THE_WAY
from xsam_backend.model.checkpoint import load_model, load_tokenizer, model_folder, model_version
from xsam_backend.model.delta import Delta, part_way
from xsam_backend.model.predictor import Predictor
from xsam_backend.model.versions import changed
from xsam_backend.training.config import TrainConfig
from xsam_backend.training.data import open_data, streams
from xsam_backend.training.loop import train
from xsam_backend.training.lora import add_lora, put_delta, take_delta
from xsam_backend.training.trained import model_names


@dataclass(frozen=True)
class Base:
    """The base model, loaded once, and what is needed to make others of it."""

    folder: Path
    version: str
    device: torch.device
    predictor_of_base: Predictor

    @classmethod
    def load(cls, places: Places) -> Base:
        """The model that the places name, float32.

        Raises:
            CheckpointError: there is none, or its files don't fit together.
        """
        folder = model_folder(places.model, places.models)
        name = places.device
        if name == "auto":
            name = "cuda" if torch.cuda.is_available() else "cpu"
        device, version = torch.device(name), model_version(folder)
        model = load_model(folder, torch.float32, device)
        return cls(folder, version, device, Predictor(model, load_tokenizer(folder), version))

    @property
    def parameters(self) -> int:
        """How many numbers it has."""
        return sum(parameter.numel() for parameter in self.predictor_of_base.model.parameters())

    def predictor(self, delta: Delta | None, name: str) -> Predictor:
        """A model of its own with these changes; the base without any."""
        if delta is None:
            return self.predictor_of_base
        return changed(self.predictor_of_base, delta, name)


def trained(
    base: Base,
    config: TrainConfig,
    snapshot: Path,
    parent: Delta | None = None,
    *,
    start: str = "",
    on_step: Callable[[int, int], None] = lambda done, total: None,
    share: float | None = None,
) -> Delta:
    """Train a candidate; its changes against the base. Goes on where the run's folder left off.

    Args:
        config: of one stage, as ``recipe`` makes it.
        snapshot: what it learns from; how large its objects are is kept with the changes.
        parent: changes that it goes on from, of the same low-rank pairs.
        start: names what it goes on from.
        on_step: see ``training.loop.train``.
        share: of the way from where it began; None: as the recipe has it.

    Raises:
        CheckpointError, SettingsError, DatasetError: see ``training.loop.train`` and ``open_data``.
    """
    model = load_model(base.folder, torch.float32, base.device)
    if config.lora is not None:
        add_lora(model, config.lora, config.seed)
    if parent is not None:
        put_delta(model, parent)
    opened = open_data(config, model.config.segmentor_encoder.image_size)
    questions = streams(config, opened, model.config, base.predictor_of_base.tokenizer)
    names = model_names(model, model.config, config.stages[0], config.lora)
    before = take_delta(model, base.version, names)
    train(model, config, questions, start, on_step)
    after = take_delta(model, base.version, names)
    found = part_way(before, after, SHARE_OF_THE_WAY if share is None else share)
    return replace(found, typical_sizes=typical_sizes(open_dataset(snapshot).records))
