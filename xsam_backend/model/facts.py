"""What can be said of a model without running it: sizes, parameters, memory, and whether a released file is whole."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path

import torch

from xsam_backend.errors import CheckpointError
from xsam_backend.model.checkpoint import build_empty, load_config, load_tokenizer, model_version
from xsam_backend.model.config import VARIANTS, XSamConfig
from xsam_backend.model.conversation import ADDED_TOKENS
from xsam_backend.model.folders import WEIGHTS
from xsam_backend.model.precision import DTYPES, main_dtype, stored_layout
from xsam_backend.model.released import misfits, read_released, with_vocabulary_of
from xsam_backend.model.version import read_record
from xsam_backend.model.weight_map import NEWER_RENAMES


@dataclass(frozen=True)
class ModelFacts:
    """Of a model folder.

    Attributes:
        parameters: numbers by part of the model.
        dtype: what most of them are stored in.
        weights_bytes: size of the weights file.
        prefix_bytes: the language model's keys and values of one picture, in ``dtype`` if it can run in that, else
            in float32; the rest of what is kept of a picture is small beside it.
        vocabulary: the tokenizer's entries.
        special: ids of X-SAM's tokens.
        source: where the weights came from; empty where that wasn't noted.
    """

    folder: Path
    version: str
    config: XSamConfig
    parameters: Mapping[str, int]
    dtype: str
    weights_bytes: int
    prefix_bytes: int
    vocabulary: int
    special: Mapping[str, int]
    source: str

    def memory_bytes(self, dtype: str) -> int:
        """What the weights need when they run in that format."""
        return sum(self.parameters.values()) * DTYPES[dtype].itemsize


@dataclass(frozen=True)
class ReleasedFacts:
    """Of a checkpoint under released names.

    Attributes:
        naming: "released" or "newer" (see ``weight_map``).
        variant: the shipped config that fits best.
        problems: what keeps it from fitting, in words; empty where it is complete.
    """

    path: Path
    naming: str
    variant: str
    problems: str
    parameters: Mapping[str, int]
    dtype: str


def model_facts(folder: Path) -> ModelFacts:
    """Of a folder in our format; only the weights' header is read, and their hash where none is recorded.

    Raises:
        CheckpointError: files are missing or damaged.
    """
    config, weights = load_config(folder), folder / WEIGHTS
    if not weights.is_file():
        raise CheckpointError(f"{folder}: expected {WEIGHTS}, found none: is this a model folder?")
    layout = stored_layout(weights)
    tokenizer = load_tokenizer(folder)
    record = read_record(weights)
    dtype = main_dtype(layout)
    return ModelFacts(
        folder,
        model_version(folder),
        config,
        _by_part({name: shape for name, (shape, _) in layout.items()}),
        dtype,
        weights.stat().st_size,
        _prefix_bytes(config, dtype if dtype in DTYPES else "float32"),
        len(tokenizer),
        {token: int(tokenizer.convert_tokens_to_ids(token)) for token in ADDED_TOKENS},  # type: ignore[arg-type]
        record.source if record else "",
    )


def released_facts(path: Path) -> ReleasedFacts:
    """Of a released file, index or folder, compared with each shipped config that has the released encoders.

    Raises:
        CheckpointError: it can't be read.
    """
    state = read_released(path)
    shapes = {name: tuple(tensor.shape) for name, tensor in state.items()}
    found = {}
    for variant in sorted(file.stem for file in VARIANTS.glob("*.json")):
        config = with_vocabulary_of(XSamConfig.variant(variant), shapes)
        found[variant] = misfits(shapes, config)
    variant = min(found, key=lambda name: sum(map(len, found[name].values())))
    layout = {
        name: (shapes[name], str(tensor.dtype).removeprefix("torch."))
        for name, tensor in state.items()
        if tensor.is_floating_point()
    }
    newer = any(name.startswith(prefix) for name in shapes for prefix, _ in NEWER_RENAMES)
    return ReleasedFacts(
        path,
        "newer" if newer else "released",
        variant,
        "; ".join(f"{title} ({len(names)}): {_some(names)}" for title, names in found[variant].items() if names),
        _by_part(shapes),
        main_dtype(layout),
    )


def _prefix_bytes(config: XSamConfig, dtype: str) -> int:
    """Of one picture's keys and values, found by a pass over shapes alone."""
    model = build_empty(config).to(DTYPES[dtype])
    sides = (config.vision.image_size, config.segmentor_encoder.image_size)
    with torch.device("meta"), torch.inference_mode():
        vision_pixels, segmentor_pixels = (torch.empty(1, 3, side, side, dtype=model.dtype) for side in sides)
        tokens, _ = model.picture_tokens(
            model.vision_tokens(vision_pixels), model.segmentor_encoder(segmentor_pixels)
        )
        prefix = model.language.prefix(tokens)
    return sum(tensor.nbytes for tensor in prefix.tensors)


def _some(names: Sequence[str], limit: int = 10) -> str:
    """The first names, and how many more there are."""
    more = f", and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more


def _by_part(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, int]:
    """Numbers per first word of the names, largest first."""
    parts: Counter[str] = Counter()
    for name, shape in shapes.items():
        parts[name.partition(".")[0]] += prod(shape)
    return dict(parts.most_common())
