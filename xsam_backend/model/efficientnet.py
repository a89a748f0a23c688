"""Tiny's image trunk: EfficientNet-Lite0 without batch norm and without the classifier.

EfficientNet is arXiv 1905.11946; the Lite variants are by the TensorFlow team (tensorflow/tpu,
``models/official/efficientnet/lite``): no squeeze-and-excite, ReLU6 in place of swish, stem and head of fixed width.
Pretrained weights come with batch norm. ``training.pretrained`` merges it into the convolutions once, on import, so
this module is convolution + bias + ReLU6: the same function, with nothing that behaves differently in training.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

STRIDE = 32
"""Sides of the input must be multiples of this: then every map has exactly the size that its stride says."""

PIXEL_MEAN = (127.0 / 255.0,) * 3
PIXEL_STD = (128.0 / 255.0,) * 3
"""What the pretrained weights expect for RGB in 0 to 1: (value - mean) / std, which is (byte - 127) / 128."""


@dataclass(frozen=True)
class Stage:
    """A row of the paper's table 1: blocks of one width; the first of them has the stride."""

    repeats: int
    kernel: int
    stride: int
    expansion: int
    channels: int


STEM_CHANNELS = 32
LITE0 = (
    Stage(repeats=1, kernel=3, stride=1, expansion=1, channels=16),
    Stage(repeats=2, kernel=3, stride=2, expansion=6, channels=24),
    Stage(repeats=2, kernel=5, stride=2, expansion=6, channels=40),
    Stage(repeats=3, kernel=3, stride=2, expansion=6, channels=80),
    Stage(repeats=3, kernel=5, stride=1, expansion=6, channels=112),
    Stage(repeats=4, kernel=5, stride=2, expansion=6, channels=192),
    Stage(repeats=1, kernel=3, stride=1, expansion=6, channels=320),
)


class SameConv2d(nn.Conv2d):
    """Convolution with TensorFlow's "SAME" padding: (B, C, H, W) -> (B, C', H / stride, W / stride).

    At stride 2 and even sides the padding is one short, and the longer part goes right and below. torch's own padding
    would put it left and above: the maps come out half a cell shifted, and the pretrained weights were not made so.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel: int = 1, stride: int = 1, groups: int = 1):
        before = (kernel - stride) // 2
        after = kernel - stride - before
        symmetric = before == after
        super().__init__(in_channels, out_channels, kernel, stride, padding=before if symmetric else 0, groups=groups)
        self.margins = None if symmetric else (before, after, before, after)

    def forward(self, maps: Tensor) -> Tensor:
        """See the class."""
        return super().forward(maps if self.margins is None else F.pad(maps, self.margins))


class InvertedResidual(nn.Module):
    """MBConv: widen, look around channel by channel, narrow; with a skip where the shape stays."""

    def __init__(self, in_channels: int, stage: Stage, stride: int):
        super().__init__()
        wide = in_channels * stage.expansion
        self.expand = SameConv2d(in_channels, wide) if stage.expansion > 1 else None
        self.depthwise = SameConv2d(wide, wide, stage.kernel, stride, groups=wide)
        self.project = SameConv2d(wide, stage.channels)
        self.skips = stride == 1 and in_channels == stage.channels

    def forward(self, maps: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C', H / stride, W / stride); the narrow end is linear (no ReLU6)."""
        wide = maps if self.expand is None else F.relu6(self.expand(maps))
        narrow: Tensor = self.project(F.relu6(self.depthwise(wide)))
        return narrow + maps if self.skips else narrow


class EfficientNetTrunk(nn.Module):
    """Normalised pixels (B, 3, H, W) -> maps at strides 2, 4, 8, 16 and 32.

    Attributes:
        channels: of the maps, in that order; (16, 24, 40, 112, 320) for Lite0.
    """

    def __init__(self, stages: Sequence[Stage] = LITE0, stem_channels: int = STEM_CHANNELS):
        super().__init__()
        self.stem = SameConv2d(3, stem_channels, kernel=3, stride=2)
        self.stages = nn.ModuleList()
        width = stem_channels
        for stage in stages:
            blocks = nn.Sequential()
            for index in range(stage.repeats):
                blocks.append(InvertedResidual(width, stage, stage.stride if index == 0 else 1))
                width = stage.channels
            self.stages.append(blocks)
        # A map is handed out where the next stage halves it, and at the end.
        following = [stage.stride for stage in stages[1:]] + [2]
        self._handed_out = [stride == 2 for stride in following]
        self.channels = tuple(stage.channels for stage, out in zip(stages, self._handed_out, strict=True) if out)
        self.apply(_initialise)

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """Float (B, 3, H, W), normalised with ``PIXEL_MEAN`` and ``PIXEL_STD`` -> five maps, finest first.

        Map i is (B, channels[i], H / 2**(i + 1), W / 2**(i + 1)).

        Raises:
            ValueError: H or W is no multiple of 32.
        """
        height, width = pixels.shape[-2:]
        if height % STRIDE or width % STRIDE:
            raise ValueError(
                f"the trunk needs sides that are multiples of {STRIDE}, got {height} x {width}: pad the picture first"
            )
        maps = F.relu6(self.stem(pixels))
        pyramid = []
        for stage, handed_out in zip(self.stages, self._handed_out, strict=True):
            maps = stage(maps)
            if handed_out:
                pyramid.append(maps)
        return tuple(pyramid)


@torch.no_grad()
def _initialise(module: nn.Module) -> None:
    """He initialisation by fan-out, as in the paper's code; without batch norm the biases start at nought."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out")
        if module.bias is not None:
            nn.init.zeros_(module.bias)
