"""Where a picture lies in the frame that the decoder sees, and how maps over it come to the picture's size."""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class PictureFrame:
    """Where a picture lies in the padded frame, (height, width) each.

    Attributes:
        padded_hw: the frame that the mask logits cover.
        scaled_hw: the picture's part of it, at the top left.
        size_hw: the picture itself.
    """

    padded_hw: tuple[int, int]
    scaled_hw: tuple[int, int]
    size_hw: tuple[int, int]


def upscale(mask_logits: Tensor, frame: PictureFrame) -> Tensor:
    """Logits over the padded frame, (N, h, w), to the picture's size: float32 (N, H, W). Logits are resized."""
    return to_picture(to_padded(mask_logits, frame), frame)


def unframe_masks(framed: Tensor, frame: PictureFrame) -> Tensor:
    """Masks of the padded frame at the picture's size: bool (N, P, P) to bool (N, H, W), nearest neighbour."""
    height, width = frame.scaled_hw
    cut = framed[:, None, :height, :width].float()
    return F.interpolate(cut, size=frame.size_hw, mode="nearest")[:, 0] > 0


def to_padded(mask_logits: Tensor, frame: PictureFrame) -> Tensor:
    """Maps (N, h, w) over the padded frame, in its own size: float32 (N, P, P)."""
    return _resized(mask_logits.float(), frame.padded_hw)


def to_picture(padded: Tensor, frame: PictureFrame) -> Tensor:
    """Maps in the padded frame's size to the picture's: (N, H, W)."""
    height, width = frame.scaled_hw
    return _resized(padded[:, :height, :width], frame.size_hw)


def _resized(maps: Tensor, size_hw: tuple[int, int]) -> Tensor:
    if not len(maps):
        return maps.new_zeros((0, *size_hw))
    return F.interpolate(maps[:, None], size=size_hw, mode="bilinear", align_corners=False)[:, 0]
