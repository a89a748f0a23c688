"""The checkpoint that X-SAM's authors released: read from disk, compared tensor by tensor, put under our names.

A file may be flat or wrapped in ``state_dict``, one file or shards with an index, in the released or the newer
naming. Nothing in it is unpickled but tensors.
"""

from __future__ import annotations

import dataclasses
import json
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import SamVisionConfig, SiglipVisionConfig, SiglipVisionModel
from transformers.models.sam.modeling_sam import SamVisionEncoder

from xsam_backend.errors import CheckpointError
from xsam_backend.model.checkpoint import (
    Shapes,
    build_empty,
    expected_shapes,
    list_misfits,
    load_state,
    refuse_misfits,
)
from xsam_backend.model.config import XSamConfig
from xsam_backend.model.weight_map import name_in_release, our_name, released_name
from xsam_backend.model.xsam import XSam

WRAPPER = "state_dict"
VOCABULARY_STEP = 64
"""Embedding tables are often padded to a multiple of this: Phi-3's 32,014 rows to 32,064."""

_EMBEDDINGS, _HEAD = "llm.model.embed_tokens.weight", "llm.lm_head.weight"


def load_released(path: str | Path, config: XSamConfig) -> XSam:
    """The model of a released file or folder, float type as stored, in memory of the CPU.

    ``config`` gives the sizes; the model's own config has the vocabulary rows that the file has.

    Raises:
        CheckpointError: the file can't be read, or its tensors aren't those of the config; each is listed.
    """
    state = read_released(path)
    fitted = with_vocabulary_of(config, {name: tuple(tensor.shape) for name, tensor in state.items()})
    return load_state(build_empty(fitted), convert_state(state, fitted))


def read_released(path: str | Path) -> dict[str, Tensor]:
    """All tensors of a ``.safetensors`` or torch file, of an index's shards, or of a folder with one of those.

    They are mapped from disk, not read into memory.

    Raises:
        CheckpointError: nothing there, damaged, something else than tensors inside, or a name given twice.
    """
    path = Path(path)
    state: dict[str, Tensor] = {}
    for file in _files(path):
        part = _read(file)
        twice = sorted(set(part) & set(state))
        if twice:
            raise CheckpointError(f"{file}: tensors that an earlier shard gave already: {', '.join(twice)}")
        state |= part
    return state


def released_layout(config: XSamConfig) -> dict[str, tuple[int, ...]]:
    """Name and shape of every tensor of a released checkpoint of these sizes, the unused ones included.

    Raises:
        CheckpointError: the config's encoders are not the released ones.
    """
    vision, encoder = config.vision, config.segmentor_encoder
    if vision.kind != "siglip" or encoder.kind != "sam":
        raise CheckpointError(
            f"expected a config with the released encoders, siglip and sam, got {vision.kind} and {encoder.kind}"
        )
    layout = {name_in_release(name): shape for name, shape in expected_shapes(config).items()}
    with torch.device("meta"):
        siglip = SiglipVisionModel(SiglipVisionConfig(**vision.transformers, image_size=vision.image_size))
        sam = SamVisionEncoder(SamVisionConfig(**encoder.transformers, image_size=encoder.image_size))
    whole: tuple[tuple[str, torch.nn.Module], ...] = (
        ("visual_encoder.vision_model.", siglip),
        ("segmentor.encoder.", sam),
    )
    for prefix, module in whole:
        layout |= {prefix + name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    layout["segmentor.shared_image_embedding.positional_embedding"] = (2, sam.config.output_channels // 2)
    return layout


def convert_names(names: Shapes, config: XSamConfig) -> dict[str, str | None]:
    """Released name (either naming) to ours, None for what is dropped on purpose.

    Raises:
        CheckpointError: tensors that no rule knows, that are missing or of another shape; each is listed.
    """
    refuse_misfits(misfits(names, config))
    vision_layers = int(config.vision.transformers["num_hidden_layers"]) + config.vision.select_layer + 1
    return {name: None if _is_tied_head(name, config) else our_name(name, vision_layers) for name in names}


def misfits(names: Shapes, config: XSamConfig) -> dict[str, list[str]]:
    """What keeps tensors in either naming from being the released ones of a config: see ``list_misfits``.

    Raises:
        CheckpointError: the config's encoders are not the released ones.
    """
    expected = released_layout(config)
    found: dict[str, tuple[int, ...]] = {}
    unknown = []
    for name, shape in names.items():
        released = released_name(name)
        if _is_tied_head(name, config) and shape == expected[_EMBEDDINGS]:
            continue
        if released not in expected or released in found:
            unknown.append(name)
        else:
            found[released] = shape
    return list_misfits(expected, found, unknown)


def convert_state(state: Mapping[str, Tensor], config: XSamConfig) -> dict[str, Tensor]:
    """The released checkpoint's tensors under our names. Raises CheckpointError as ``convert_names``."""
    renamed = convert_names({name: tuple(tensor.shape) for name, tensor in state.items()}, config)
    if _HEAD in state and _is_tied_head(_HEAD, config) and not torch.equal(state[_HEAD], state[_EMBEDDINGS]):
        raise CheckpointError(
            f"{_HEAD} is not {_EMBEDDINGS} once more, as the config's tie_word_embeddings says: is it the config "
            "that the checkpoint was made with?"
        )
    return {ours: state[name] for name, ours in renamed.items() if ours is not None}


def with_vocabulary_of(config: XSamConfig, shapes: Shapes) -> XSamConfig:
    """The config with as many vocabulary rows as a file's tables have, if those are padded; else unchanged.

    The tokenizer says which rows mean something; padding is never asked for.
    """
    rows = {shapes[name][0] for name in (_EMBEDDINGS, _HEAD) if name in shapes}
    own = int(config.language["vocab_size"])
    padded = -(-own // VOCABULARY_STEP) * VOCABULARY_STEP
    if rows != {padded}:
        return config
    return dataclasses.replace(config, language={**config.language, "vocab_size": padded})


def _is_tied_head(name: str, config: XSamConfig) -> bool:
    """Whether a tensor is a head that is the embeddings: torch saves a tied table under both names."""
    return name == _HEAD and bool(config.language.get("tie_word_embeddings"))


def _files(path: Path) -> list[Path]:
    """The file itself, an index's shards in order, or those of a folder."""
    if path.is_file():
        return shards(path) if path.name.endswith(".index.json") else [path]
    if not path.is_dir():
        raise CheckpointError(f"{path}: expected a checkpoint file or folder, found none")
    indices = sorted(path.glob("*.index.json"))
    if len(indices) == 1:
        return shards(indices[0])
    files = sorted(file for file in path.iterdir() if file.suffix in (".safetensors", ".bin", ".pth", ".pt"))
    if len(files) != 1:
        names = ", ".join(file.name for file in files) or "none"
        raise CheckpointError(f"{path}: expected one weights file, or shards with an index, found {names}")
    return files


def shards(index: Path) -> list[Path]:
    """The files that an index names, all of which are there.

    Raises:
        CheckpointError: not an index, or a shard is missing or elsewhere.
    """
    names = shard_names(index)
    missing = [name for name in names if not (index.parent / name).is_file()]
    if missing:
        raise CheckpointError(f"{index}: names shards that are not there: {', '.join(missing)}; download them again")
    return [index.parent / name for name in names]


def shard_names(index: Path) -> list[str]:
    """The plain file names that an index gives its shards, in order. Raises CheckpointError where it isn't one."""
    try:
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CheckpointError(f"{index}: expected JSON with a weight_map of names to files ({error!r})") from error
    if not names or any(not isinstance(name, str) or Path(name).name != name for name in names):
        raise CheckpointError(f"{index}: expected plain file names beside the index, got {names}")
    return names


def _read(file: Path) -> dict[str, Tensor]:
    content: Any
    try:
        if file.suffix == ".safetensors":
            content = load_file(file)
        else:
            content = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{file}: holds other things than tensors, which are not unpickled here: save its state dict alone, as "
            "safetensors or with torch.save"
        ) from error
    except Exception as error:  # whatever the readers stumble over in a damaged file
        raise CheckpointError(
            f"{file}: cannot be read as weights ({type(error).__name__}: {error}): download or copy it again"
        ) from error
    if isinstance(content, dict) and isinstance(content.get(WRAPPER), dict):
        content = content[WRAPPER]
    if not isinstance(content, dict) or not content:
        raise CheckpointError(f"{file}: expected names with tensors, got {type(content).__name__}")
    others = sorted(
        str(name) for name, value in content.items() if not (isinstance(name, str) and isinstance(value, Tensor))
    )
    if others:
        raise CheckpointError(f"{file}: expected names with tensors only, these are none: {', '.join(others)}")
    return dict(content)
