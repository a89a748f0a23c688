"""Weights on disk: our folder (``config.json``, ``model.safetensors``, tokenizer) and the released checkpoint's names.

Every load compares names and shapes with what the config says; nothing is skipped in silence, nothing is unpickled.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from xsam_backend.errors import CheckpointError
from xsam_backend.model.config import XSamConfig
from xsam_backend.model.weight_map import our_name
from xsam_backend.model.xsam import XSam

WEIGHTS = "model.safetensors"
CONFIG = "config.json"
SHIPPED = Path(__file__).parent

Shapes = Mapping[str, tuple[int, ...]]


def build_empty(config: XSamConfig) -> XSam:
    """The model without memory for its weights (meta device), to compare with or to load into."""
    with torch.device("meta"):
        return XSam(config)


def expected_shapes(config: XSamConfig) -> dict[str, tuple[int, ...]]:
    """Our names and shapes of every tensor that the model saves."""
    return {name: tuple(tensor.shape) for name, tensor in _saved(build_empty(config)).items()}


def convert_names(names: Shapes, config: XSamConfig) -> dict[str, str | None]:
    """Released name (either naming) to ours, None for what is dropped on purpose.

    Raises:
        CheckpointError: tensors that no rule knows, that are missing or of another shape; each is listed.
    """
    vision_layers = int(config.vision.transformers["num_hidden_layers"]) + config.vision.select_layer + 1
    renamed: dict[str, str | None] = {}
    unknown = []
    for name in names:
        try:
            renamed[name] = our_name(name, vision_layers)
        except (KeyError, ValueError):
            unknown.append(name)
    found = {ours: names[name] for name, ours in renamed.items() if ours is not None}
    expected = expected_shapes(config)
    unknown += [name for name, ours in renamed.items() if ours is not None and ours not in expected]
    _refuse_misfits(expected, found, unknown)
    return renamed


def convert_state(state: Mapping[str, Tensor], config: XSamConfig) -> dict[str, Tensor]:
    """The released checkpoint's tensors under our names. Raises CheckpointError as ``convert_names``."""
    if set(state) == {"state_dict"}:
        raise CheckpointError("expected a flat mapping of tensors, got one wrapped in 'state_dict': unwrap it first")
    renamed = convert_names({name: tuple(tensor.shape) for name, tensor in state.items()}, config)
    return {ours: state[name] for name, ours in renamed.items() if ours is not None}


def load_state(model: XSam, state: Mapping[str, Tensor]) -> XSam:
    """Put tensors under our names into a model from ``build_empty``, without a copy.

    Raises:
        CheckpointError: names or shapes that don't fit, each listed.
    """
    expected = {name: tuple(tensor.shape) for name, tensor in _saved(model).items()}
    found = {name: tuple(tensor.shape) for name, tensor in state.items()}
    _refuse_misfits(expected, found, [name for name in found if name not in expected])
    model.load_state_dict(dict(state), strict=False, assign=True)
    if model.language.config.tie_word_embeddings:
        model.language.model.tie_weights()
    _rebuild_buffers(model)
    return model.eval()


def load_model(folder: str | Path, dtype: torch.dtype = torch.float32, device: str | torch.device = "cpu") -> XSam:
    """A model from our folder.

    Raises:
        CheckpointError: the folder or a file is missing, damaged or doesn't fit its config.
    """
    folder = Path(folder)
    config = load_config(folder)
    path = folder / WEIGHTS
    if not path.is_file():
        raise CheckpointError(f"{folder}: expected {WEIGHTS}, found none: is this a model folder?")
    try:
        state = load_file(path, device=str(device))
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path}: cannot be read ({error}): copy or convert it again") from error
    model = load_state(build_empty(config), state)
    return model.to(device=device, dtype=dtype)


def load_config(folder: str | Path) -> XSamConfig:
    """The config of our folder. Raises CheckpointError where there is none, or a bad one."""
    path = Path(folder) / CONFIG
    if not path.is_file():
        raise CheckpointError(f"{folder}: expected {CONFIG}, found none: is this a model folder?")
    return XSamConfig.from_json(path.read_text(encoding="utf-8"), str(path))


def load_tokenizer(folder: str | Path) -> PreTrainedTokenizerBase:
    """The tokenizer of our folder. Raises CheckpointError where its files are missing or damaged."""
    try:
        tokenizer: PreTrainedTokenizerBase = PreTrainedTokenizerFast.from_pretrained(
            str(folder), local_files_only=True
        )
    except (OSError, ValueError, json.JSONDecodeError) as error:
        raise CheckpointError(f"{folder}: expected tokenizer.json and its settings ({error})") from error
    return tokenizer


def save_model(model: XSam, folder: str | Path, dtype: torch.dtype = torch.float16) -> None:
    """Write config and weights; the weights appear whole or not at all."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CONFIG).write_text(model.config.to_json(), encoding="utf-8")
    tensors = {name: tensor.detach().to("cpu", dtype).contiguous() for name, tensor in _saved(model).items()}
    partial = folder / (WEIGHTS + ".partial")
    save_file(tensors, partial, metadata={"format": "pt"})
    partial.replace(folder / WEIGHTS)


def model_folder(name_or_path: str) -> Path:
    """``tiny`` is the shipped one; anything else is a folder. Raises CheckpointError when there is no such folder."""
    if name_or_path == "tiny":
        return SHIPPED / "tiny"
    folder = Path(name_or_path)
    if not folder.is_dir():
        raise CheckpointError(f"no model {name_or_path!r}: expected 'tiny' or a folder with {CONFIG} and {WEIGHTS}")
    return folder


def model_version(folder: str | Path) -> str:
    """The config's name and eight digits of the weights' SHA-256: the same weights are the same version."""
    folder = Path(folder)
    with (folder / WEIGHTS).open("rb") as file:
        digest = hashlib.sha256()
        while block := file.read(2**24):
            digest.update(block)
    return f"{load_config(folder).name}-{digest.hexdigest()[:8]}"


def _saved(model: nn.Module) -> dict[str, Tensor]:
    """The state dict, tied tensors once."""
    state = model.state_dict()
    if isinstance(model, XSam) and model.language.config.tie_word_embeddings:
        state.pop("language.model.lm_head.weight", None)
    return dict(state)


def _refuse_misfits(expected: Shapes, found: Shapes, unknown: list[str]) -> None:
    missing = sorted(set(expected) - set(found))
    misshaped = sorted(
        f"{name}: expected {expected[name]}, got {shape}"
        for name, shape in found.items()
        if name in expected and expected[name] != shape
    )
    problems = [
        f"{title} ({len(names)}): {', '.join(sorted(names))}"
        for title, names in (("unknown", unknown), ("missing", missing), ("mis-shaped", misshaped))
        if names
    ]
    if problems:
        raise CheckpointError("the weights don't fit the config; " + "; ".join(problems))


def _rebuild_buffers(model: XSam) -> None:
    """Tables that are computed, not saved, and so were left without memory by ``build_empty``."""
    for module in model.modules():
        if hasattr(module, "inv_freq") and module.inv_freq.is_meta:
            module.__init__(config=module.config)  # type: ignore[misc]
        if "position_ids" in dict(module.named_buffers(recurse=False)) and module.position_ids.is_meta:
            module.position_ids = torch.arange(module.position_ids.shape[-1])[None]
    left = [name for name, tensor in [*model.named_buffers(), *model.named_parameters()] if tensor.is_meta]
    assert not left, f"tensors without memory: {left}"
