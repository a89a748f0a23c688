"""Small checkpoints under the released names, as X-SAM's authors would save them, and the tokenizer they go with."""

from __future__ import annotations

import io
from dataclasses import replace
from functools import cache
from pathlib import Path

import torch
from safetensors.torch import save
from small_models import small_config
from torch import Tensor

from xsam_backend.model.config import XSamConfig
from xsam_backend.model.released import released_layout

TOKENIZER = Path(__file__).parent / "recorded" / "xsam_reference" / "tokenizer"
"""525 entries, without X-SAM's three tokens."""

ROWS = 528


@cache
def released_config() -> XSamConfig:
    """Sizes of a small released model with the recorded tokenizer."""
    config = small_config(encoders="released")
    return replace(config, name="small-released", language={**config.language, "vocab_size": ROWS})


@cache
def released_state(dtype: torch.dtype = torch.bfloat16) -> dict[str, Tensor]:
    """Random tensors of all released names, those included that we drop."""
    generator = torch.Generator().manual_seed(0)
    return {
        name: (torch.randn(shape, generator=generator) * 0.05).to(dtype)
        for name, shape in released_layout(released_config()).items()
    }


def torch_bytes(content: object) -> bytes:
    """What torch.save writes."""
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def safetensors_bytes(state: dict[str, Tensor]) -> bytes:
    return save(state)


def tokenizer_files() -> dict[str, bytes]:
    return {name: (TOKENIZER / name).read_bytes() for name in ("tokenizer.json", "tokenizer_config.json")}
