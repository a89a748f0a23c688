"""Which of the decoder's queries an annotator means, given clicks and boxes.

X-SAM scores its queries against a region, but it has no negative prompt and takes several clicks for one region. Here
the clicks themselves decide between queries that the model finds plausible.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from xsam_backend.model.postprocess import Detections, PictureFrame, box_iou, boxes_xyxy, upscale

Clicks = NDArray[np.float64]
"""(N, 2) xy in pixels of the picture; pixel (0, 0) covers 0..1."""

NO_CLICKS: Clicks = np.zeros((0, 2))


def choose_interactive(
    scores: Tensor,
    mask_logits: Tensor,
    frame: PictureFrame,
    *,
    positives_xy: Clicks = NO_CLICKS,
    negatives_xy: Clicks = NO_CLICKS,
    extent: Tensor | None = None,
    threshold: float = 0.5,
    plausible: float = 0.25,
    limit: int = 1,
) -> Detections:
    """The masks that fit the annotator's hints best, best first, ``limit`` of them.

    The rule: a query's worth is its score times the mean probability inside its mask, as in ``instances``. Queries
    worth less than ``plausible`` times the most are out of the question. Of the others, those that break the fewest
    clicks come first; a mask breaks a click when it misses a positive one or covers a negative one. Among equals the
    worthiest wins. Where ``extent`` is given, its bounding box decides between those of them worth at least
    ``threshold``: highest box IoU, the reference's rule for region prompts.

    So a mask may come back that breaks a click, where every plausible one does: the caller can tell, and can subtract
    what a negative click points at. All this is decided at low resolution; only what is returned is upscaled.

    Args:
        scores: (Q,), 0..1, how well each query fits the prompt: ``class_scores(class_logits)[:, 0]`` for one region.
        mask_logits: (Q, h, w) over the padded frame.
        frame: where the picture lies in it.
        positives_xy: clicks on the object.
        negatives_xy: clicks beside it.
        extent: bool (P, P) in the padded frame: a box or outline drawn around the whole object. Not for clicks or
            strokes, which say nothing about its size.
        threshold: see the rule.
        plausible: see the rule.
        limit: how many to return.
    """
    logits = mask_logits.float()
    shown = _picture_part(logits, frame) > 0
    certainty = (_picture_part(logits, frame).sigmoid() * shown).flatten(1).sum(1) / (shown.flatten(1).sum(1) + 1e-6)
    worth = scores.float() * certainty
    broken = (~clicked(logits, frame, positives_xy)).sum(1) + clicked(logits, frame, negatives_xy).sum(1)
    in_question = worth >= plausible * worth.max()
    fit = worth
    if extent is not None:
        cell_y, cell_x = frame.padded_hw[0] / logits.shape[1], frame.padded_hw[1] / logits.shape[2]
        boxes = boxes_xyxy(shown) * torch.tensor([cell_x, cell_y, cell_x, cell_y], device=logits.device)
        iou = box_iou(boxes, boxes_xyxy(extent[None].to(logits.device)))[:, 0]
        # Above 1 for all that reach the threshold, so that these come before the others, which keep their worth.
        fit = torch.where(worth >= threshold, 1 + iou, worth)
    rank = torch.stack((in_question.float(), -broken.float(), fit), 1).tolist()
    order = sorted(range(len(rank)), key=rank.__getitem__, reverse=True)[:limit]
    chosen = torch.tensor(order, dtype=torch.int64, device=logits.device)
    masks = upscale(mask_logits[chosen], frame) > 0
    return Detections(masks, worth[chosen], torch.zeros_like(chosen), chosen)


def clicked(mask_logits: Tensor, frame: PictureFrame, clicks_xy: Clicks) -> Tensor:
    """Whether each mask covers each click: bool (Q, N). Logits are interpolated at the very point."""
    if not len(clicks_xy):
        return torch.zeros((len(mask_logits), 0), dtype=torch.bool, device=mask_logits.device)
    (height, width), (scaled_h, scaled_w), (padded_h, padded_w) = frame.size_hw, frame.scaled_hw, frame.padded_hw
    to_unit = np.array([scaled_w / width / padded_w, scaled_h / height / padded_h])
    grid = torch.from_numpy(np.asarray(clicks_xy, np.float64) * to_unit * 2 - 1)
    grid = grid.to(mask_logits.device, torch.float32)[None, None]
    sampled = F.grid_sample(mask_logits.float()[None], grid, padding_mode="border", align_corners=False)
    return sampled[0, :, 0] > 0


def _picture_part(logits: Tensor, frame: PictureFrame) -> Tensor:
    """The cells of (Q, h, w) that show the picture, not the padding; at least one."""
    rows, columns = (
        max(round(cells * scaled / padded), 1)
        for cells, scaled, padded in zip(logits.shape[1:], frame.scaled_hw, frame.padded_hw, strict=True)
    )
    return logits[:, :rows, :columns]
