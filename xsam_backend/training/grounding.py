"""A training-only task: tell from the language model's embeddings where the targets lie.

The mask loss reaches ``<SEG>`` and the conditions through the whole decoder, and a small language model takes long to
learn from it that a region's place matters. Reading boxes straight from the embeddings teaches it early. The heads
are no part of the model and aren't shipped.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from xsam_backend.training.losses import Target

WEIGHT = 50.0
"""Makes its gradient in the language model about as large as that of the masks."""


class Grounding(nn.Module):
    """Linear heads from embeddings of width D to (centre x, centre y, width, height) as shares of the frame."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.of_condition = nn.Linear(width, 4)
        self.of_seg = nn.Linear(width, 4)
        for head in (self.of_condition, self.of_seg):
            nn.init.zeros_(head.weight)
            nn.init.constant_(head.bias, 0.5)

    def loss(self, conditions: Tensor, seg: Tensor, targets: Sequence[Target]) -> Tensor:
        """Mean absolute error, over what has a target; 0 if nothing has.

        Args:
            conditions: (E, N, D), as the targets' classes count them.
            seg: (E, D), each about all of its entry's targets.
            targets: one per entry.
        """
        said, boxes = [], []
        for entry, target in enumerate(targets):
            if len(target.classes) == 0:
                continue
            said.append(self.of_seg(seg[entry]))
            boxes.append(box_of(target.masks.amax(0)))
            for condition in target.classes.unique().tolist():
                said.append(self.of_condition(conditions[entry, condition]))
                boxes.append(box_of(target.masks[target.classes == condition].amax(0)))
        if not said:
            return conditions.sum() * 0
        return F.l1_loss(torch.stack(said).float(), torch.stack(boxes))


def box_of(mask: Tensor) -> Tensor:
    """(centre x, centre y, width, height) of a mask (H, W) of 0 and 1, as shares of its sides."""
    height, width = mask.shape
    rows, columns = mask.amax(1).nonzero().flatten(), mask.amax(0).nonzero().flatten()
    if len(rows) == 0:
        return mask.new_zeros(4)
    y0, y1, x0, x1 = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
    return torch.stack([(x0 + x1) / 2 / width, (y0 + y1) / 2 / height, (x1 - x0) / width, (y1 - y0) / height])
