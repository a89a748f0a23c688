"""A training from its config to the model folder at its end."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from xsam_backend.errors import CheckpointError, SettingsError
from xsam_backend.model.checkpoint import (
    build_empty,
    load_config,
    load_model,
    load_tokenizer,
    model_version,
    save_model,
)
from xsam_backend.model.config import XSamConfig
from xsam_backend.model.folders import SHIPPED, WEIGHTS, model_folder
from xsam_backend.model.precision import DTYPES, main_dtype, stored_layout
from xsam_backend.model.releases import RELEASES
from xsam_backend.model.xsam import XSam
from xsam_backend.training import processes, tiny
from xsam_backend.training.config import TrainConfig
from xsam_backend.training.data import OpenedData, open_data, streams
from xsam_backend.training.loop import rate, train
from xsam_backend.training.trained import MODEL, trained_names

logger = logging.getLogger(__name__)

TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json")


@dataclass(frozen=True)
class Start:
    """What a run begins with: the model on its device, its tokenizer and the folder of that, a name for it, and the
    number format that the result is stored in."""

    model: XSam
    tokenizer: Any
    folder: Path
    version: str
    dtype: torch.dtype


def run_training(config: TrainConfig, device: str, models: Path) -> None:
    """Train, or go on with it, and export.

    Args:
        config: what to do.
        device: "auto", "cpu", "cuda" or "cuda:1"; several processes on GPUs take one each.
        models: where pulled models lie by their names.

    Raises:
        XSamBackendError: something that the config names can't be used, or a state can't be saved.
    """
    with processes.joined(device) as own, _told_if_too_large(own):
        begun = _begin(config, own, models)
        opened = open_data(config, begun.model.config.segmentor_encoder.image_size)
        if processes.number() == 0:
            for line in _lines(config, begun.model, begun.version, opened):
                logger.info("%s", line)
        questions = streams(config, opened, begun.model.config, begun.tokenizer)
        model = train(begun.model, config, questions, begun.version)
        if config.export is not None and processes.number() == 0:
            _export(model, begun, config.export, lora=config.lora is not None)


def plan(config: TrainConfig, device: str, models: Path) -> list[str]:
    """What would be done, in lines for people: stages, what each trains, memory, and where pictures come from.

    Weights aren't read, and a known release's needn't even be here: whether they fit into memory is what it tells.

    Raises:
        XSamBackendError: as ``run_training``, before it starts.
    """
    with processes.joined(device) as own:
        model, version = _planned(config, own, models)
        return list(_lines(config, model, version, open_data(config, model.config.segmentor_encoder.image_size)))


@contextmanager
def _told_if_too_large(device: torch.device) -> Iterator[None]:
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise SettingsError(
            f"{device} has too little memory ({str(error).split('. ')[0]}); the run's last state is intact. See "
            "--plan; it takes less with more passes of fewer pictures (accumulate), precision bf16, or fewer parts "
            "(trains)"
        ) from error


def _planned(config: TrainConfig, device: torch.device, models: Path) -> tuple[XSam, str]:
    """A model of the right sizes, without weights where it can be, and a name for what it begins with."""
    if config.start == "nothing":
        begun = _begin(config, device, models)
        return begun.model, begun.version
    try:
        folder = _folder(config, models)
    except CheckpointError:
        if config.start not in RELEASES:
            raise
        model, dtype = build_empty(XSamConfig.variant(RELEASES[config.start].variant)), torch.bfloat16
        version = f"{config.start} (not here yet: xsam-backend models pull {config.start})"
    else:
        model, dtype, version = build_empty(load_config(folder)), _stored_dtype(folder), model_version(folder)
    _prepare(model, config, dtype)
    return model, version


def _begin(config: TrainConfig, device: torch.device, models: Path) -> Start:
    folder = _folder(config, models)
    if config.start == "nothing":
        tokenizer = load_tokenizer(folder)
        version = f"nothing, seed {config.seed}"
        return Start(tiny.start(tokenizer, config.seed).to(device), tokenizer, folder, version, torch.float16)
    model, dtype = load_model(folder, torch.float32, device), _stored_dtype(folder)
    _prepare(model, config, dtype)
    return Start(model, load_tokenizer(folder), folder, model_version(folder), dtype)


def _folder(config: TrainConfig, models: Path) -> Path:
    """Of what the run starts from; of nothing, the one whose tokenizer it has."""
    folder = SHIPPED / "tiny" if config.start == "nothing" else model_folder(config.start, models)
    if config.export is not None and config.export.resolve() == folder.resolve():
        raise SettingsError(
            f"export: {config.export} is what the run starts from, and a run that goes on needs that as it was: "
            "export to another folder"
        )
    return folder


def _stored_dtype(folder: Path) -> torch.dtype:
    return DTYPES.get(main_dtype(stored_layout(folder / WEIGHTS)), torch.float32)


def _prepare(model: XSam, config: TrainConfig, stored: torch.dtype) -> None:
    """Add what is trained besides, in place, and bring what isn't trained back to how it is stored."""
    if config.lora is not None:
        from xsam_backend.training.lora import add_lora  # peft takes seconds to import

        add_lora(model, config.lora, config.seed)
    if stored is torch.bfloat16 and all(stage.precision != "float32" for stage in config.stages if stage.steps):
        _keep_as_stored(model, config)


def _keep_as_stored(model: XSam, config: TrainConfig) -> None:
    """What no stage trains goes back to bfloat16, in place: nothing is lost by it, and it takes half the memory."""
    both = torch.nn.ModuleDict({MODEL: model})
    trained = {
        name
        for stage in config.stages
        if stage.steps
        for name in trained_names(both, model.config, stage, config.lora)
    }
    for name, parameter in both.named_parameters():
        if name not in trained:
            parameter.data = parameter.data.to(torch.bfloat16)


def _export(model: XSam, begun: Start, folder: Path, *, lora: bool) -> None:
    if lora:
        from xsam_backend.training.lora import merge_lora

        merge_lora(model)
    try:
        save_model(model, folder, begun.dtype)
        for name in TOKENIZER_FILES:
            shutil.copy(begun.folder / name, folder / name)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(
            f"{folder}: can't be written ({error}); the run's state has everything: mend that and give the same "
            "command again"
        ) from error
    logger.info("%s is version %s: use it with --model %s", folder, model_version(folder), folder)


def _lines(config: TrainConfig, model: XSam, version: str, opened: Mapping[str, OpenedData]) -> Iterator[str]:
    total = sum(one.share for one in opened.values())
    shares = ", ".join(f"{name} {one.share / total:.0%}" for name, one in opened.items())
    yield f"begins with {version}, in {config.run}; pictures: {shares}"
    both = torch.nn.ModuleDict({MODEL: model})
    sizes = {name: parameter.numel() for name, parameter in both.named_parameters()}
    weights = sum(parameter.nbytes for parameter in both.parameters())
    for stage in config.stages:
        trained = sum(sizes.get(name, 0) for name in trained_names(both, model.config, stage, config.lora))
        # Of what is trained also gradient, two moments and the average, in float32; and a copy for half precision.
        nbytes = weights + trained * (4 * (4 if stage.ema else 3) + (0 if stage.precision == "float32" else 2))
        fastest = max((rate(stage, step) for step in range(stage.steps)), default=0.0) * stage.learning_rate
        yield (
            f"{stage.name} ({stage.kind}): {stage.steps} steps of {stage.pictures} pictures, at a rate of up to "
            f"{fastest:.2g}, trains {trained / 1e6:.1f} million numbers of {', '.join(stage.trained_parts)}; "
            f"{nbytes / 1e9:.1f} GB and what the passes need"
        )
