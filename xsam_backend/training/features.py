"""What frozen encoders make of views that come again and again: computed once, kept on disk.

At full size the encoders are most of a step's time; where they aren't trained, their outputs stay the same.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from xsam_backend.model.packed_outputs import pack, unpack
from xsam_backend.model.vision import EncoderOutputs
from xsam_backend.model.xsam import XSam
from xsam_backend.whole_files import write_whole

logger = logging.getLogger(__name__)

FEATURES = "features"
"""Folder in the run's, and ending of the files in it."""


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
    """The files of one run. A resumed run has the same numbers: what a file would say is used from the first time on.

    Args:
        folder: of the run.
        most_bytes: once there are so many, no more is kept; what is there is still used.
    """

    def __init__(self, folder: Path, most_bytes: int) -> None:
        self._folder = folder / FEATURES
        self._left = most_bytes - sum(path.stat().st_size for path in self._folder.glob(f"*.{FEATURES}"))

    @torch.no_grad()
    def of(self, model: XSam, pictures: Sequence[Viewed]) -> EncoderOutputs:
        """Of B pictures, in float32 and without gradient."""
        rows: dict[int, EncoderOutputs] = {}
        for index, picture in enumerate(pictures):
            read = self._read(picture.view)
            if read is not None:
                rows[index] = read.on(model.device)
        new = [index for index in range(len(pictures)) if index not in rows]
        if new:
            vision, segmentor = (
                torch.stack([getattr(pictures[index], name) for index in new]).to(model.device)
                for name in ("vision_pixels", "segmentor_pixels")
            )
            outputs = model.look(vision, segmentor)
            for place, index in enumerate(new):
                row = EncoderOutputs.of([tensor[place] for tensor in outputs.tensors])
                view = pictures[index].view
                rows[index] = self._kept(view, row).on(model.device) if view else row
        in_order = [rows[index].tensors for index in range(len(pictures))]
        return EncoderOutputs.of([torch.stack(tensors) for tensors in zip(*in_order, strict=True)])

    def _read(self, view: str) -> EncoderOutputs | None:
        path = self._path(view)
        if not view or not path.is_file():
            return None
        try:
            return unpack(path.read_bytes(), torch.float32)
        except (OSError, ValueError) as error:
            logger.warning("%s can't be read and is computed again (%s)", path, error)
            return None

    def _kept(self, view: str, row: EncoderOutputs) -> EncoderOutputs:
        """What the file says, which is written if there is room."""
        packed = pack(row)
        if len(packed) <= self._left:
            try:
                write_whole(self._path(view), packed)
                self._left -= len(packed)
            except OSError as error:
                self._left = 0
                logger.warning("%s: no more features are kept (%s)", self._folder, error)
        return unpack(packed, torch.float32)

    def _path(self, view: str) -> Path:
        return self._folder / f"{view}.{FEATURES}"
