"""Deformable attention on a CPU in bfloat16: sampled in float32, as CUDA's autocast does.

torch 2.13's grid_sample reads beside a map of 16-bit numbers whose heads lie between each other in memory, as
transformers' attention has it for a single picture: wrong numbers, and some that are none.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor
from transformers.models.mask2former import modeling_mask2former as mask2former

_in_any_format = mask2former.multi_scale_deformable_attention


def sample_rightly() -> None:
    """From now on transformers' Mask2Former samples in float32 on a CPU. It has no other place to say so."""
    mask2former.multi_scale_deformable_attention = _in_float32_on_a_cpu


def _in_float32_on_a_cpu(
    value: Tensor,
    value_spatial_shapes: Tensor | list[tuple[Any, ...]],
    sampling_locations: Tensor,
    attention_weights: Tensor,
) -> Tensor:
    if value.device.type != "cpu":
        return _in_any_format(value, value_spatial_shapes, sampling_locations, attention_weights)
    sampled = _in_any_format(
        value.float(), value_spatial_shapes, sampling_locations.float(), attention_weights.float()
    )
    return sampled.to(value.dtype)
