"""What frozen encoders make of views that come again and again: computed once, kept on disk.

At full size the encoders are most of a step's time; where they aren't trained, their outputs stay the same.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from xsam_backend.model.vision import EncoderMaps
from xsam_backend.model.xsam import XSam
from xsam_backend.whole_files import write_whole

logger = logging.getLogger(__name__)

FEATURES = "features"
"""Folder in the run's, and ending of the files in it."""

KEPT_AS = torch.float16
"""Half as many bytes; the rounded numbers are used from the first time on, so that a resumed run has the same."""


class Viewed(Protocol):
    """What is read of a picture."""

    @property
    def vision_pixels(self) -> Tensor:
        """(3, V, V)."""

    @property
    def segmentor_pixels(self) -> Tensor:
        """(3, S, S)."""

    @property
    def view(self) -> str:
        """A name that only this view has; "": it won't come again."""


class KeptFeatures:
    """The files of one run.

    Args:
        folder: of the run.
        most_bytes: once there are so many, no more is kept; what is there is still used.
    """

    def __init__(self, folder: Path, most_bytes: int) -> None:
        self._folder = folder / FEATURES
        self._left = most_bytes - sum(path.stat().st_size for path in self._folder.glob(f"*.{FEATURES}"))

    @torch.no_grad()
    def of(self, model: XSam, pictures: Sequence[Viewed]) -> tuple[EncoderMaps, Tensor]:
        """The segmentor encoder's maps of B pictures, and the vision encoder's tokens (B, T, C); without gradient."""
        rows: list[list[Tensor] | None] = [self._read(picture.view, model) for picture in pictures]
        new = [index for index, row in enumerate(rows) if row is None]
        if new:
            maps = model.segmentor_encoder(torch.stack([pictures[i].segmentor_pixels for i in new]).to(model.device))
            seen = model.vision_tokens(torch.stack([pictures[i].vision_pixels for i in new]).to(model.device))
            batched = [seen, maps.tokens, *maps.pyramid]
            for place, index in enumerate(new):
                row = [tensor[place] for tensor in batched]
                rows[index] = self._kept(pictures[index].view, row) if pictures[index].view else row
        seen, tokens, *pyramid = (torch.stack(tensors) for tensors in zip(*map(_known, rows), strict=True))
        return EncoderMaps(tokens, tuple(pyramid)), seen

    def _read(self, view: str, model: XSam) -> list[Tensor] | None:
        path = self._path(view)
        if not view or not path.is_file():
            return None
        try:
            tensors = load(path.read_bytes())
            return [tensors[str(number)].to(model.device).float() for number in range(len(tensors))]
        except (OSError, SafetensorError, KeyError) as error:
            logger.warning("%s can't be read and is computed again (%s)", path, error)
            return None

    def _kept(self, view: str, row: Sequence[Tensor]) -> list[Tensor]:
        """The tensors as they come from a file, which is written if there is room."""
        rounded = [tensor.to(KEPT_AS) for tensor in row]
        if not all(torch.isfinite(tensor).all() for tensor in rounded):
            return [tensor.float() for tensor in row]  # too large for half precision
        encoded = save({str(number): tensor.contiguous().cpu() for number, tensor in enumerate(rounded)})
        if len(encoded) <= self._left:
            try:
                write_whole(self._path(view), encoded)
                self._left -= len(encoded)
            except OSError as error:
                self._left = 0
                logger.warning("%s: no more features are kept (%s)", self._folder, error)
        return [tensor.float() for tensor in rounded]

    def _path(self, view: str) -> Path:
        return self._folder / f"{view}.{FEATURES}"


def _known(row: list[Tensor] | None) -> list[Tensor]:
    assert row is not None
    return row
