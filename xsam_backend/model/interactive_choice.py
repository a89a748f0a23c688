"""The mask that an annotator means, given a click, strokes or a box: a vote of the decoder's queries.

X-SAM scores its queries against a region. But the best-scored query of a model that isn't sure is often a part or a
neighbour, while the others together show where the object is. So every query has a vote, weighted by how plausible it
is and how well it fits the hints. One query that is far better than the others decides alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from xsam_backend.model.mask_boxes import box_iou, boxes_xyxy
from xsam_backend.model.picture_frame import PictureFrame
from xsam_backend.model.query_worth import picture_part, query_worth
from xsam_backend.model.upscaling import positive_masks

Clicks = NDArray[np.float64]
"""(N, 2) xy in pixels of the picture; pixel (0, 0) covers 0..1."""

NO_CLICKS: Clicks = np.zeros((0, 2))

SURE = 0.5
"""Pixels at least this probable are in the mask."""

SURE_INSIDE_OUTLINE = 0.35
"""The same where an outline was drawn: it is known that the object fills a good part of it."""

LEAST_SURE = 0.1
"""Not even for a click are less probable pixels taken in: a click on nothing must not mean everything."""

_LEAST = 1e-6
_MARGIN = 1e-3


@dataclass(frozen=True, eq=False)
class Vote:
    """What the queries say together.

    Attributes:
        mean: (h, w) over the padded frame, 0..1, how probable each cell is.
        cut: what is more probable is in the mask.
        score: the voters' mean worth, 0..1.
    """

    mean: Tensor
    cut: float
    score: float

    def mask(self, frame: PictureFrame) -> NDArray[np.bool_]:
        """bool (H, W) in the picture's size. Done at low resolution, only the mean is upscaled."""
        (mask,) = positive_masks(self.mean[None] - self.cut, frame)
        return mask.whole()

    @property
    def log_odds(self) -> Tensor:
        """(h, w), above 0 where the mask is."""
        cut = torch.tensor(self.cut, device=self.mean.device)
        return torch.logit(self.mean, eps=_LEAST) - torch.logit(cut, eps=_LEAST)


def vote(
    scores: Tensor,
    mask_logits: Tensor,
    frame: PictureFrame,
    region: Tensor,
    *,
    is_outline: bool = False,
    clicks_xy: Clicks = NO_CLICKS,
) -> Vote:
    """The mask that hints mean.

    A query's worth is that of ``query_worth``. Its fit is the probability that it covers the clicks (without clicks:
    its mean probability inside ``region``), times the squared IoU of bounding boxes where ``region`` is an outline.
    It votes with worth times squared fit. The votes' mean is cut at SURE or SURE_INSIDE_OUTLINE, moved where that is
    needed to take clicks in.

    Args:
        scores: (Q,), 0..1, how well each query fits the prompt: ``class_scores(class_logits)[:, 0]`` for one region.
        mask_logits: (Q, h, w) over the padded frame.
        frame: where the picture lies in it.
        region: bool (P, P), the hints that say "this" in the padded frame.
        is_outline: whether ``region`` was drawn around the whole object (box, polygon); strokes and clicks are not.
        clicks_xy: on the object.
    """
    logits = mask_logits.float()
    probabilities = logits.sigmoid()
    worth = query_worth(scores, logits, frame)
    fit = at_clicks(logits, frame, clicks_xy).sigmoid().prod(1)
    hinted = region.to(logits.device)
    if not len(clicks_xy):
        cells = F.interpolate(hinted[None, None].float(), size=logits.shape[1:], mode="area")[0]
        fit = fit * (probabilities * cells).flatten(1).sum(1) / (cells.sum() + _LEAST)
    if is_outline:
        cell_y, cell_x = frame.padded_hw[0] / logits.shape[1], frame.padded_hw[1] / logits.shape[2]
        shown = picture_part(logits, frame) > 0
        boxes = boxes_xyxy(shown) * torch.tensor([cell_x, cell_y, cell_x, cell_y], device=logits.device)
        fit = fit * box_iou(boxes, boxes_xyxy(hinted[None]))[:, 0] ** 2
    weight = worth.clamp(min=_LEAST) * fit.clamp(min=_LEAST) ** 2
    weight = weight / weight.sum()
    mean = torch.einsum("q,qhw->hw", weight, probabilities)[None]
    cut = SURE
    if is_outline:
        cut = min(SURE_INSIDE_OUTLINE, float(picture_part(mean, frame).max()) / 2)
    wanted = at_clicks(mean, frame, clicks_xy).flatten().tolist()
    cut = min([cut, *(value * (1 - _MARGIN) for value in wanted)])
    # Rounding may lift a mean of ones above 1, which is no score.
    return Vote(mean[0], max(cut, LEAST_SURE), min(float(weight @ worth), 1.0))


def at_clicks(maps: Tensor, frame: PictureFrame, clicks_xy: Clicks) -> Tensor:
    """Values (Q, N) of each map (Q, h, w) over the padded frame at each click, interpolated at the very point."""
    if not len(clicks_xy):
        return maps.new_zeros((len(maps), 0), dtype=torch.float32)
    (height, width), (scaled_h, scaled_w), (padded_h, padded_w) = frame.size_hw, frame.scaled_hw, frame.padded_hw
    to_unit = np.array([scaled_w / width / padded_w, scaled_h / height / padded_h])
    grid = torch.from_numpy(np.asarray(clicks_xy, np.float64) * to_unit * 2 - 1)
    grid = grid.to(maps.device, torch.float32)[None, None]
    sampled = F.grid_sample(maps.float()[None], grid, padding_mode="border", align_corners=False)
    return sampled[0, :, 0]
