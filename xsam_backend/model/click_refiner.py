"""A small network that has learned what further clicks mean, for ``click_corrections``.

It sees the surroundings of one object: the picture's colours, the mask before and after the last click's kernel,
where clicks are and what is like them; it says what to add to the mask's log odds. It has seen tiny's first answers
only, so it serves models whose config says ``refines_clicks``. A network of its own for local corrections is the idea
of FocalClick (arXiv 2204.02574); to show it the mask before, that of RITM (arXiv 2102.06583). Its last layer begins
with zeros: before it has learned anything, it changes nothing.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from xsam_backend.errors import CheckpointError

SIDE = 128
"""Cells of its square view, each way."""

CHANNELS = 11
"""See ``click_corrections.Correction.view``."""

WIDTHS = (32, 64, 96, 128)
"""Channels at a half, a quarter, ... of the view's cells."""

GROUPS = 8
SHIPPED = Path(str(files("xsam_backend.model"))) / "click_refiner.safetensors"


class ClickRefiner(nn.Module):
    """Views (B, CHANNELS, SIDE, SIDE) to log odds (B, SIDE, SIDE) that are added to the mask's. A small U-Net."""

    def __init__(self) -> None:
        super().__init__()
        half, quarter, eighth, sixteenth = WIDTHS
        self.stem = nn.Conv2d(CHANNELS * 4, half, 3, padding=1)
        self.down = nn.ModuleList(
            [_block(half, half), _block(half, quarter), _block(quarter, eighth), _block(eighth, sixteenth)]
        )
        self.up = nn.ModuleList(
            [_block(sixteenth + eighth, eighth), _block(eighth + quarter, quarter), _block(quarter + half, half)]
        )
        self.head = nn.Conv2d(half, 4, 3, padding=1)
        nn.init.zeros_(self.head.weight)
        assert self.head.bias is not None
        nn.init.zeros_(self.head.bias)

    def forward(self, views: Tensor) -> Tensor:
        """See the class."""
        maps = F.relu(self.stem(F.pixel_unshuffle(views, 2)))
        finer: list[Tensor] = []
        for number, block in enumerate(self.down):
            maps = block(F.avg_pool2d(maps, 2) if number else maps)
            finer.append(maps)
        finer.pop()
        for block in self.up:
            larger = F.interpolate(maps, scale_factor=2, mode="bilinear", align_corners=False)
            maps = block(torch.cat([larger, finer.pop()], 1))
        return F.pixel_shuffle(self.head(maps), 2)[:, 0]


@cache
def shipped_refiner() -> ClickRefiner:
    """The trained one, float32 on the CPU, where views are made; its weights come with the package.

    Raises:
        CheckpointError: the file is missing or damaged.
    """
    refiner = ClickRefiner()
    try:
        refiner.load_state_dict({name: tensor.float() for name, tensor in load_file(SHIPPED).items()})
    except (OSError, SafetensorError, RuntimeError) as error:
        raise CheckpointError(
            f"{SHIPPED}: expected the click refiner's weights, got {error}: install again"
        ) from error
    return refiner.eval().requires_grad_(False)


def _block(before: int, after: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(before, after, 3, padding=1, bias=False),
        nn.GroupNorm(GROUPS, after),
        nn.ReLU(),
        nn.Conv2d(after, after, 3, padding=1, bias=False),
        nn.GroupNorm(GROUPS, after),
        nn.ReLU(),
    )
