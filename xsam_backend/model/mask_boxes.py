"""Boxes of masks on the model's device: float32 (N, 4), x0, y0, x1, y1, maxima exclusive."""

from __future__ import annotations

import torch
from torch import Tensor


def boxes_xyxy(masks: Tensor) -> Tensor:
    """Boxes around bool (N, H, W) masks: float32 (N, 4), x0, y0, x1, y1, maxima exclusive; zeros if empty."""
    boxes = []
    for along in (masks.any(1), masks.any(2)):
        length = along.shape[1]
        steps = torch.arange(length, device=masks.device)
        first = torch.where(along, steps, length).amin(1)
        last = torch.where(along, steps, -1).amax(1) + 1
        boxes.append((torch.where(last > 0, first, 0), last))
    (x0, x1), (y0, y1) = boxes
    return torch.stack((x0, y0, x1, y1), 1).float()


def box_iou(ours: Tensor, theirs: Tensor) -> Tensor:
    """IoU of every box of (N, 4) with every one of (M, 4), xyxy: float32 (N, M); 0 where both are empty."""
    low = torch.maximum(ours[:, None, :2], theirs[None, :, :2])
    high = torch.minimum(ours[:, None, 2:], theirs[None, :, 2:])
    shared = (high - low).clamp(min=0).prod(-1)
    areas = [(boxes[:, 2:] - boxes[:, :2]).clamp(min=0).prod(-1) for boxes in (ours, theirs)]
    union = areas[0][:, None] + areas[1][None] - shared
    return torch.where(union > 0, shared / union.clamp(min=1e-6), torch.zeros_like(union))
