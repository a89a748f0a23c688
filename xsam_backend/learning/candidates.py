"""The base model, and the candidates that a project's pictures make of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from xsam_backend.evaluation.datasets.opening import open_dataset
from xsam_backend.learning.object_sizes import typical_sizes
from xsam_backend.learning.places import Places
from xsam_backend.learning.recipe import share_of_the_way
from xsam_backend.model.checkpoint import load_model, load_tokenizer, model_version
from xsam_backend.model.delta import Delta, part_way, replace_in, sharing_copy
from xsam_backend.model.folders import WEIGHTS, model_folder
from xsam_backend.model.four_bits import put_in_four_bits
from xsam_backend.model.precision import kept_dtype, main_dtype, stored_layout
from xsam_backend.model.predictor import Predictor
from xsam_backend.model.versions import changed
from xsam_backend.training.config import TrainConfig
from xsam_backend.training.data import open_data, streams
from xsam_backend.training.loop import train
from xsam_backend.training.lora import add_lora, put_delta, take_delta
from xsam_backend.training.trained import model_names

LARGE = ("vision_encoder.", "segmentor_encoder.", "language.")
"""Beginnings of the names of parameters that stay as short as the base has them, unless they are trained."""


@dataclass(frozen=True)
class Base:
    """The base model, loaded once, and what is needed to make others of it."""

    folder: Path
    version: str
    device: torch.device
    predictor_of_base: Predictor

    @classmethod
    def load(cls, places: Places) -> Base:
        """The model that the places name: in bfloat16 where it is stored so, else in float32; the language model in
        four bits where they say it.

        Raises:
            CheckpointError: there is none, or its files don't fit together.
            SettingsError: four bits aren't to be had here.
        """
        folder = model_folder(places.model, places.models)
        name = places.device
        if name == "auto":
            name = "cuda" if torch.cuda.is_available() else "cpu"
        device, version = torch.device(name), model_version(folder)
        if places.four_bits:
            model = put_in_four_bits(load_model(folder, torch.bfloat16), device)
        else:
            stored = main_dtype(stored_layout(folder / WEIGHTS))
            model = load_model(folder, kept_dtype(stored), device)
        return cls(folder, version, device, Predictor(model, load_tokenizer(folder), version))

    @property
    def parameters(self) -> int:
        """How many numbers it has."""
        return sum(parameter.numel() for parameter in self.predictor_of_base.model.parameters())

    @property
    def is_float32(self) -> bool:
        """Whether its numbers are: others are trained in mixed precision."""
        return self.predictor_of_base.model.dtype == torch.float32

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
    model = sharing_copy(base.predictor_of_base.model)
    if config.lora is not None:
        add_lora(model, config.lora, config.seed)
    names = model_names(model, model.config, config.stages[0], config.lora)
    for name, parameter in list(model.named_parameters()):
        # Besides what is trained, what is small: autocast leaves norms of another format alone on a CPU.
        if name in names or not (base.is_float32 or name.startswith(LARGE)):
            replace_in(model, name, nn.Parameter(parameter.detach().to(torch.float32, copy=True)))
    model.language.tie_words()
    if parent is not None:
        put_delta(model, parent)
    opened = open_data(config, model.config.segmentor_encoder.image_size)
    questions = streams(config, opened, model.config, base.predictor_of_base.tokenizer)
    before = take_delta(model, base.version, names)
    train(model, config, questions, start, on_step)
    after = take_delta(model, base.version, names)
    found = part_way(before, after, share_of_the_way if share is None else lambda _name: share)
    return replace(found, typical_sizes=typical_sizes(open_dataset(snapshot).records))
