"""Weights on disk in our own format: a folder with ``config.json``, ``model.safetensors`` and the tokenizer.

Every load compares names and shapes with what the config says; nothing is skipped in silence, nothing is unpickled.
``released`` reads the checkpoint of X-SAM's authors, ``conversion`` writes it as such a folder.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import cast

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from xsam_backend.errors import CheckpointError
from xsam_backend.model.config import XSamConfig
from xsam_backend.model.folders import CONFIG, WEIGHTS
from xsam_backend.model.version import weights_sha256
from xsam_backend.model.xsam import XSam

Shapes = Mapping[str, tuple[int, ...]]


def build_empty(config: XSamConfig) -> XSam:
    """The model without memory for its weights (meta device), to compare with or to load into.

    Raises:
        CheckpointError: sizes from which no model can be made.
    """
    try:
        with torch.device("meta"):
            return XSam(config)
    except CheckpointError:
        raise
    except Exception as error:  # whatever the parts raise about their sizes, the config is what's wrong
        raise CheckpointError(f"config {config.name!r} describes no model that can be built: {error}") from error


def expected_shapes(config: XSamConfig) -> dict[str, tuple[int, ...]]:
    """Our names and shapes of every tensor that the model saves."""
    return {name: tuple(tensor.shape) for name, tensor in _saved(build_empty(config)).items()}


def load_state(model: XSam, state: Mapping[str, Tensor]) -> XSam:
    """Put tensors under our names into a model from ``build_empty``, without a copy.

    Raises:
        CheckpointError: names or shapes that don't fit, each listed.
    """
    expected = {name: tuple(tensor.shape) for name, tensor in _saved(model).items()}
    found = {name: tuple(tensor.shape) for name, tensor in state.items()}
    refuse_misfits(list_misfits(expected, found, [name for name in found if name not in expected]))
    model.load_state_dict(dict(state), strict=False, assign=True)
    model.language.tie_words()
    _rebuild_buffers(model)
    return model.eval()


def load_model(folder: str | Path, dtype: torch.dtype = torch.float32, device: str | torch.device = "cpu") -> XSam:
    """A model from our folder.

    On a CPU, weights that are stored in ``dtype`` already are mapped from the file: no copy of them is made.

    Raises:
        CheckpointError: the folder or a file is missing, damaged or doesn't fit its config.
    """
    folder = Path(folder)
    config = load_config(folder)
    path = folder / WEIGHTS
    if not path.is_file():
        raise CheckpointError(f"{folder}: expected {WEIGHTS}, found none: is this a model folder?")
    # Cast here, not the module: tables that are computed (rotary frequencies) stay float32, or long texts lose place.
    # One by one, so that never more than one tensor exists in both formats.
    state = {}
    try:
        with safe_open(path, framework="pt", device=str(device)) as file:
            for name in file.keys():  # noqa: SIM118 (not a dict)
                tensor = file.get_tensor(name)
                state[name] = tensor.to(dtype) if tensor.is_floating_point() else tensor
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path}: cannot be read ({error}): copy or convert it again") from error
    try:
        return load_state(build_empty(config), state).to(device)
    except CheckpointError as error:
        raise CheckpointError(f"{folder}: {error}") from error


def load_config(folder: str | Path) -> XSamConfig:
    """The config of our folder. Raises CheckpointError where there is none, or a bad one."""
    path = Path(folder) / CONFIG
    if not path.is_file():
        raise CheckpointError(f"{folder}: expected {CONFIG}, found none: is this a model folder?")
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{path}: cannot be read ({error}): copy it again") from error
    return XSamConfig.from_json(text, str(path))


def load_tokenizer(folder: str | Path) -> PreTrainedTokenizerBase:
    """The tokenizer of our folder. Raises CheckpointError where its files are missing or damaged."""
    try:
        tokenizer: PreTrainedTokenizerBase = PreTrainedTokenizerFast.from_pretrained(
            str(folder), local_files_only=True
        )
    except Exception as error:  # tokenizers raises nothing narrower over a damaged file
        raise CheckpointError(
            f"{folder}: expected tokenizer.json and tokenizer_config.json, undamaged ({error}): copy them again"
        ) from error
    return tokenizer


def save_model(model: XSam, folder: str | Path, dtype: torch.dtype = torch.float16) -> None:
    """Write config and weights; the weights appear whole or not at all."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CONFIG).write_text(model.config.to_json(), encoding="utf-8")
    tensors = {
        name: tensor.detach().to("cpu", dtype if tensor.is_floating_point() else None).contiguous()
        for name, tensor in _saved(model).items()
    }
    partial = folder / (WEIGHTS + ".partial")
    save_file(tensors, partial, metadata={"format": "pt"})
    partial.chmod(0o644)  # safetensors makes files that only their owner can read
    partial.replace(folder / WEIGHTS)


def model_version(folder: str | Path) -> str:
    """The config's name and eight digits of the weights' SHA-256: the same weights are the same version."""
    return f"{load_config(folder).name}-{weights_sha256(Path(folder) / WEIGHTS)[:8]}"


def _saved(model: nn.Module) -> dict[str, Tensor]:
    """The state dict, tied tensors once."""
    state = model.state_dict()
    if isinstance(model, XSam) and model.language.config.tie_word_embeddings:
        state.pop("language.model.lm_head.weight", None)
    return dict(state)


def list_misfits(expected: Shapes, found: Shapes, unknown: list[str]) -> dict[str, list[str]]:
    """The unknown, missing and mis-shaped tensors under those words, in order of their names."""
    return {
        "unknown": sorted(unknown),
        "missing": sorted(set(expected) - set(found)),
        "mis-shaped": sorted(
            f"{name}: expected {expected[name]}, got {shape}"
            for name, shape in found.items()
            if name in expected and expected[name] != shape
        ),
    }


def refuse_misfits(misfits: Mapping[str, list[str]]) -> None:
    """Raises CheckpointError that lists what ``list_misfits`` found, if it found anything."""
    problems = [f"{title} ({len(names)}): {', '.join(names)}" for title, names in misfits.items() if names]
    if problems:
        raise CheckpointError("the weights don't fit the config; " + "; ".join(problems))


def _rebuild_buffers(model: XSam) -> None:
    """Tables that are computed, not saved, and so were left without memory by ``build_empty``."""
    for module in model.modules():
        if hasattr(module, "inv_freq") and module.inv_freq.is_meta:
            module.__init__(config=module.config)  # type: ignore[misc]
        if "position_ids" in dict(module.named_buffers(recurse=False)) and module.position_ids.is_meta:
            module.position_ids = torch.arange(cast(Tensor, module.position_ids).shape[-1])[None]
    left = [name for name, tensor in [*model.named_buffers(), *model.named_parameters()] if tensor.is_meta]
    assert not left, f"tensors without memory: {left}"
