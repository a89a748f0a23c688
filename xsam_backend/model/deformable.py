"""Deformable attention on a CPU: point by point, in float32.

transformers stacks what it samples at all points, weighs it, and adds it up over the last, short axis: that moves
large tensors about, and takes twice as long with its gradient. The numbers are the same but for the order of sums.

In float32, as CUDA's autocast does: torch 2.13's grid_sample reads beside a map of 16-bit numbers whose heads lie
between each other in memory, as transformers' attention has it for a single picture: wrong numbers, and some that are
none.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers.models.mask2former import modeling_mask2former as mask2former

_on_any_device = mask2former.multi_scale_deformable_attention


def sample_rightly() -> None:
    """From now on transformers' Mask2Former samples so on a CPU. It has no other place to say so."""
    mask2former.multi_scale_deformable_attention = _attention


def _attention(
    value: Tensor,
    value_spatial_shapes: Tensor | list[tuple[Any, ...]],
    sampling_locations: Tensor,
    attention_weights: Tensor,
) -> Tensor:
    """(B, Q, heads * D), what Q places read.

    Args:
        value: (B, L, heads, D), the levels' maps one after the other.
        value_spatial_shapes: height and width of each level.
        sampling_locations: (B, Q, heads, levels, points, 2), (x, y) in [0, 1].
        attention_weights: (B, Q, heads, levels, points).
    """
    if value.device.type != "cpu":
        return _on_any_device(value, value_spatial_shapes, sampling_locations, attention_weights)
    batch, _, heads, width = value.shape
    sizes = [(int(height), int(level_width)) for height, level_width in value_spatial_shapes]
    maps = value.float().split([height * level_width for height, level_width in sizes], 1)
    grids = (2 * sampling_locations.float() - 1).permute(0, 2, 3, 4, 1, 5).flatten(0, 1)  # heads' own levels, points
    weights = attention_weights.float().permute(0, 2, 3, 4, 1).flatten(0, 1)
    found = value.new_zeros((), dtype=torch.float32)
    for level, (of_level, size) in enumerate(zip(maps, sizes, strict=True)):
        pixels = of_level.flatten(2).transpose(1, 2).reshape(batch * heads, width, *size)
        sampled = F.grid_sample(pixels, grids[:, level], mode="bilinear", padding_mode="zeros", align_corners=False)
        for point, at_point in enumerate(sampled.unbind(2)):
            found = found.addcmul(at_point, weights[:, level, point, None])
    return torch.unflatten(found, 0, (batch, heads)).flatten(1, 2).transpose(1, 2).to(value.dtype)
