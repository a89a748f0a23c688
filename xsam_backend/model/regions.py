"""Region prompts: from masks to one language-model embedding each (paper section 3.3, "region sampler")."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from xsam_backend.errors import PromptError


def region_points(masks: Tensor, count: int, generator: torch.Generator | None = None) -> Tensor:
    """Points of each region: float (N, count, 2) as (row / height, column / width) of the padded mask.

    Without a generator the region's pixels, in row-major order, are taken at even steps (repeated when there are
    fewer than ``count``), so that an answer is the same each time; training passes a generator and draws them.

    Args:
        masks: bool (N, H, W), region masks in the padded frame of the segmentor's picture.

    Raises:
        PromptError: a region without any pixel.
    """
    height, width = masks.shape[-2:]
    points = []
    for index, mask in enumerate(masks):
        pixels = mask.nonzero()
        if len(pixels) == 0:
            raise PromptError(f"region {index} is empty: it has no pixel inside the picture, draw it on the picture")
        if generator is None:
            chosen = torch.linspace(0, len(pixels) - 1, count, device=masks.device).round().long()
        else:
            chosen = torch.randint(len(pixels), (count,), generator=generator).to(masks.device)
        points.append(pixels[chosen])
    return torch.stack(points).float() / torch.tensor([height, width], device=masks.device)


def sample_regions(token_map: Tensor, points: Tensor) -> Tensor:
    """Channel-wise maximum over each region's points: (N, D).

    Args:
        token_map: (N, D, h, w), the segmentor's tokens at language-model width, one map per region.
        points: (N, P, 2) from ``region_points``.
    """
    grid = (points.flip(-1) * 2 - 1).unsqueeze(2).to(token_map.dtype)
    # align_corners=True is the reference's choice here, and only here.
    sampled = F.grid_sample(token_map, grid, mode="bilinear", padding_mode="zeros", align_corners=True)
    return sampled.squeeze(3).amax(2)
