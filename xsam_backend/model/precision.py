"""The number format that weights are kept and run in.

A large checkpoint is stored in bfloat16. A processor that has instructions for it runs it so: the weights are mapped
from disk, without a copy, and matrices are multiplied in less than half of float32's time. On one without, torch
emulates it: 512 rows times a matrix of 2048 x 2048 take twice float32's time where there is AVX-512 and nearly four
times where there is AVX2 only, a convolution three and over a hundred times (``python -m benchmarks --suite
devices``, which says how to try others). float32 is a copy of twice the size, though: it's made where half of the
memory that is free holds it. Where it doesn't, the weights stay as they are, since a slow answer is better than none.

What is stored otherwise, as the shipped model in float16, runs in float32 on a CPU, which is exact there.
"""

from __future__ import annotations

import logging
import platform
from collections import Counter
from math import prod
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from xsam_backend.errors import CheckpointError
from xsam_backend.model.main_memory import available_bytes

logger = logging.getLogger(__name__)

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
"""Formats by the names that settings, options and files give them."""

STORED = {"F64": "float64", "F32": "float32", "BF16": "bfloat16", "F16": "float16"}
"""safetensors' names of floating point formats, and torch's."""


MOST_OF_FREE = 0.5
"""Share of the memory that is free, which the weights in float32 may take: pictures and caches need some."""


def choose_dtype(setting: str, stored: str, device: str, numbers: int = 0) -> torch.dtype:
    """The format to run in.

    Args:
        setting: "auto" or a name of ``DTYPES``.
        stored: what the file has most of.
        device: such as "cuda:1".
        numbers: so many there are; 4 bytes each in float32.

    "auto" is bfloat16 on a GPU; elsewhere bfloat16 if stored so, unless the processor doesn't multiply it and float32
    fits; else float32.
    """
    if setting != "auto":
        return DTYPES[setting]
    if device.startswith("cuda"):
        return torch.bfloat16
    as_stored = kept_dtype(stored)
    if as_stored is torch.float32 or device != "cpu" or multiplies_bfloat16():
        return as_stored
    needed, free = 4 * numbers, available_bytes()
    if needed <= MOST_OF_FREE * free:
        return torch.float32
    logger.warning(
        "this processor doesn't multiply bfloat16, which makes answers slow; float32 needs %.1f GB, and of %.1f GB "
        "that are free half may be taken: dtype float32 takes them anyway",
        needed / 1e9,
        free / 1e9,
    )
    return as_stored


def kept_dtype(stored: str) -> torch.dtype:
    """bfloat16 where most is stored so, else float32: no number loses anything, and nothing large is copied."""
    return torch.bfloat16 if stored == "bfloat16" else torch.float32


def multiplies_bfloat16() -> bool:
    """Whether this machine's processor has instructions for products of bfloat16: AVX-512 BF16, AMX, or ARM's."""
    if platform.machine() in ("aarch64", "arm64"):
        # On x86, this one says yes to AVX-512 without BF16, too.
        ask = getattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: False)
        return bool(ask())
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


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


def count_of(layout: dict[str, tuple[tuple[int, ...], str]]) -> int:
    """How many numbers a file holds."""
    return sum(prod(shape) for shape, _ in layout.values())


def main_dtype(layout: dict[str, tuple[tuple[int, ...], str]]) -> str:
    """The name of the format that most numbers are in."""
    counts: Counter[str] = Counter()
    for shape, dtype in layout.values():
        counts[dtype] += prod(shape)
    return counts.most_common(1)[0][0] if counts else "float32"
