"""The number format that weights are kept and run in.

A large checkpoint is stored in bfloat16 and should stay so: on a CPU it is then mapped from disk, without a copy.
What is stored otherwise, as the shipped model in float16, runs in float32 on a CPU, which is exact there.
"""

from __future__ import annotations

from collections import Counter
from math import prod
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from xsam_backend.errors import CheckpointError

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
"""Formats by the names that settings, options and files give them."""

STORED = {"F64": "float64", "F32": "float32", "BF16": "bfloat16", "F16": "float16"}
"""safetensors' names of floating point formats, and torch's."""


def choose_dtype(setting: str, stored: str, device: str) -> torch.dtype:
    """The format to run in.

    Args:
        setting: "auto" or a name of ``DTYPES``.
        stored: what the file has most of.
        device: such as "cuda:1".

    "auto" is bfloat16 on a GPU; elsewhere bfloat16 if stored so, else float32.
    """
    if setting != "auto":
        return DTYPES[setting]
    if device.startswith("cuda") or stored == "bfloat16":
        return torch.bfloat16
    return torch.float32


def stored_layout(weights: Path) -> dict[str, tuple[tuple[int, ...], str]]:
    """Shape and format (named as in ``STORED``, others as safetensors does) of each tensor of a file; its header
    alone is read.

    Raises:
        CheckpointError: not a safetensors file.
    """
    try:
        with safe_open(weights, framework="pt") as file:
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
            return {
                name: (tuple(part.get_shape()), STORED.get(part.get_dtype(), part.get_dtype()))
                for name, part in slices.items()
            }
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{weights}: cannot be read ({error}): copy or convert it again") from error


def main_dtype(layout: dict[str, tuple[tuple[int, ...], str]]) -> str:
    """The name of the format that most numbers are in."""
    counts: Counter[str] = Counter()
    for shape, dtype in layout.values():
        counts[dtype] += prod(shape)
    return counts.most_common(1)[0][0] if counts else "float32"
