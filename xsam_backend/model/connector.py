"""Between the encoders and what reads them: projectors (to the language model) and connector (to the pyramid)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from xsam_backend.model.config import ConnectorConfig


def shrink(x: Tensor, factor: int) -> Tensor:
    """(B, H, W, C) to (B, H/f, W/f, f*f*C); new channel index is (row offset, column offset, old channel)."""
    b, h, w, c = x.shape
    x = x.reshape(b, h // factor, factor, w // factor, factor, c)
    return x.permute(0, 1, 3, 2, 4, 5).reshape(b, h // factor, w // factor, factor * factor * c)


def enlarge(x: Tensor, factor: int) -> Tensor:
    """(B, H, W, C) to (B, H*f, W*f, C/(f*f)); the old channel is read as (column offset, row offset, channel).

    Not the inverse of ``shrink``: the reference orders the offsets differently in the two directions.
    """
    b, h, w, c = x.shape
    c = c // (factor * factor)
    x = x.reshape(b, h, w, factor, factor, c)
    return x.permute(0, 1, 4, 2, 3, 5).reshape(b, h * factor, w * factor, c)


class Projector(nn.Module):
    """Two linear layers with a GELU: (…, in) to (…, out)."""

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__()
        self.model = nn.Sequential(
            nn.Linear(in_features, out_features), nn.GELU(), nn.Linear(out_features, out_features)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(…, in_features) to (…, out_features)."""
        projected: Tensor = self.model(x)
        return projected


class ChannelNorm(nn.LayerNorm):
    """Layer norm over the channels of (B, C, H, W)."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W), same shape out."""
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class ConnectorBranch(nn.Module):
    """One level: 1x1, 3x3, 1x1 convolutions without bias, each normed, then a change of scale by pixel shuffle."""

    def __init__(self, in_channels: int, hidden: int, out_channels: int, scale: float) -> None:
        super().__init__()
        self.scale = scale
        raw = round(out_channels * scale * scale)
        self.model = nn.Sequential(
            nn.Conv2d(in_channels, hidden, 1, bias=False),
            ChannelNorm(hidden, eps=1e-6),
            nn.Conv2d(hidden, hidden, 3, padding=1, bias=False),
            ChannelNorm(hidden, eps=1e-6),
            nn.Conv2d(hidden, raw, 1, bias=False),
            ChannelNorm(raw, eps=1e-6),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_channels, H, W) to (B, out_channels, H * scale, W * scale)."""
        x = self.model(x)
        if self.scale == 1:
            return x
        x = x.permute(0, 2, 3, 1)
        if self.scale > 1:
            x = enlarge(x, round(self.scale))
        else:
            factor = round(1 / self.scale)
            x = shrink(F.pad(x, (0, 0, 0, x.shape[2] % factor, 0, x.shape[1] % factor)), factor)
        return x.permute(0, 3, 1, 2)


class Connector(nn.Module):
    """Encoder maps to the pixel decoder's pyramid, finest level first."""

    def __init__(self, config: ConnectorConfig) -> None:
        super().__init__()
        self.model = nn.ModuleList(
            ConnectorBranch(channels, config.hidden_channels, out, scale)
            for channels, out, scale in zip(
                config.in_channels, config.out_channels, config.scale_factors, strict=True
            )
        )

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Maps (B, C_i, H_i, W_i) to (B, out_i, H_i * scale_i, W_i * scale_i)."""
        return [branch(x) for branch, x in zip(self.model, maps, strict=True)]


def token_sequence(token_map: Tensor, ratio: float) -> Tensor:
    """(B, C, H, W) to (B, H*W*r*r, C/(r*r)), row-major: the segmentor's tokens for its projector.

    Raises ValueError (by reshape) when the map's sides are not divisible by 1/ratio: the projector does not pad.
    """
    shrunk = shrink(token_map.permute(0, 2, 3, 1), round(1 / ratio))
    return torch.flatten(shrunk, 1, 2)
