"""How a segmentor's weights start that are trained from nothing.

Deformable attention must look around from the first step: Deformable DETR (arXiv 2010.04159, appendix A.4) lets each
head look in another direction and each point further out. Matrices start as Xavier has them.
"""

from __future__ import annotations

import math

import torch
from torch import nn
from transformers.models.mask2former.modeling_mask2former import (
    Mask2FormerMaskedAttentionDecoderLayer,
    Mask2FormerPixelDecoderEncoderMultiscaleDeformableAttention,
)

from xsam_backend.model.segmentor import Segmentor


@torch.no_grad()
def initialize_segmentor(segmentor: Segmentor) -> None:
    """Set the starting values, in place."""
    for module in segmentor.modules():
        if isinstance(module, Mask2FormerPixelDecoderEncoderMultiscaleDeformableAttention):
            module.sampling_offsets.weight.zero_()
            module.sampling_offsets.bias.copy_(_directions(module.n_heads, module.n_levels, module.n_points))
            for linear in (module.attention_weights, module.value_proj, module.output_proj):
                linear.bias.zero_()
            module.attention_weights.weight.zero_()
            nn.init.xavier_uniform_(module.value_proj.weight)
            nn.init.xavier_uniform_(module.output_proj.weight)
        elif isinstance(module, Mask2FormerMaskedAttentionDecoderLayer):
            for parameter in module.parameters():
                if parameter.ndim > 1:
                    nn.init.xavier_uniform_(parameter)
    nn.init.xavier_uniform_(segmentor.pixel_decoder.level_embed)


def _directions(heads: int, levels: int, points: int) -> torch.Tensor:
    """(heads * levels * points * 2,): head h looks at angle 2 pi h / heads, point p at p + 1 cells away."""
    angles = torch.arange(heads) * (2 * math.pi / heads)
    unit = torch.stack([angles.cos(), angles.sin()], -1)
    unit = unit / unit.abs().amax(-1, keepdim=True)
    steps = torch.arange(1, points + 1, dtype=torch.float32)
    return (unit[:, None, None] * steps[None, None, :, None]).expand(heads, levels, points, 2).flatten()
