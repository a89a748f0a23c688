"""Training losses: Hungarian matching, class, mask and dice terms on sampled points, and the language loss.

Mask2Former's criterion (arXiv 2112.01527, section 3.3) over X-SAM's conditions. For the matching, mask features are
sampled and multiplied with the mask embeddings, instead of sampling every query's mask: the same number, because
bilinear sampling is linear.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.nn import functional as F

from xsam_backend.model.config import LossConfig
from xsam_backend.model.segmentor import Predictions


class PointSource(Protocol):
    """Where losses look. All points are float (x, y) in [0, 1)."""

    def matcher(self, entry: int, picture: int, count: int) -> Tensor:
        """(count, 2) for the matching of one entry; entries of a picture that get the same tensor share features."""

    def candidates(self, masks: int, count: int) -> Tensor:
        """(masks, count, 2), of which the least sure are kept."""

    def remainder(self, masks: int, count: int) -> Tensor:
        """(masks, count, 2), kept whatever the logits say."""


class RandomPoints:
    """Uniform points; for the matching one draw per prediction and picture, which all its prompts share."""

    def __init__(self, device: torch.device, generator: torch.Generator | None = None) -> None:
        self.device = device
        self.generator = generator
        self._matcher: dict[int, Tensor] = {}

    def matcher(self, entry: int, picture: int, count: int) -> Tensor:
        """See PointSource; entry 0 starts a new prediction."""
        if entry == 0:
            self._matcher.clear()
        if picture not in self._matcher:
            self._matcher[picture] = self._draw(count, 2)
        return self._matcher[picture]

    def candidates(self, masks: int, count: int) -> Tensor:
        """See PointSource."""
        return self._draw(masks, count, 2)

    def remainder(self, masks: int, count: int) -> Tensor:
        """See PointSource."""
        return self._draw(masks, count, 2)

    def _draw(self, *shape: int) -> Tensor:
        return torch.rand(shape, generator=self.generator).to(self.device)


@dataclass(frozen=True)
class Target:
    """What one entry should find: ``masks`` float (M, H, W) of 0 and 1, padded frame; ``classes`` int64 (M,)."""

    masks: Tensor
    classes: Tensor


@dataclass(frozen=True)
class Match:
    """Per entry: matched queries, ascending, and the target of each. int64 (M,) both."""

    queries: Tensor
    targets: Tensor


def sample(maps: Tensor, points: Tensor) -> Tensor:
    """Bilinear values of (N, C, H, W) at (N, P, 2) points (x, y) in [0, 1]: (N, C, P)."""
    grid = (2 * points - 1).unsqueeze(2).to(maps.dtype)
    return F.grid_sample(maps, grid, mode="bilinear", padding_mode="zeros", align_corners=False).squeeze(3)


def match(
    predictions: Predictions, layer: int, targets: Sequence[Target], config: LossConfig, points: PointSource
) -> list[Match]:
    """Cheapest assignment of queries to targets, entry by entry."""
    matches = []
    device = predictions.mask_features.device
    sampled: dict[tuple[int, int], tuple[Tensor, Tensor]] = {}  # the points too, so that no other gets their id
    with torch.no_grad():
        for entry, target in enumerate(targets):
            picture = int(predictions.picture[entry])
            places = points.matcher(entry, picture, config.num_points)
            if len(target.classes) == 0:
                empty = torch.zeros(0, dtype=torch.long, device=device)
                matches.append(Match(empty, empty))
                continue
            key = (picture, id(places))
            if key not in sampled:
                sampled[key] = places, sample(predictions.mask_features[picture][None].float(), places[None])[0]
            logits = predictions.mask_embeddings[layer][entry].float() @ sampled[key][1]
            truth = sample(target.masks[None], places[None])[0]
            probability = predictions.class_logits[layer][entry].float().softmax(-1)
            # Cross entropy of every query with every target: softplus(x) - x * truth.
            mask_cost = (F.softplus(logits).sum(-1)[:, None] - logits @ truth.T) / logits.shape[-1]
            inside = logits.sigmoid()
            dice_cost = 1 - (2 * inside @ truth.T + 1) / (inside.sum(-1)[:, None] + truth.sum(-1)[None] + 1)
            cost = (
                config.mask_weight * mask_cost
                - config.class_weight * probability[:, target.classes]
                + config.dice_weight * dice_cost
            )
            limit = torch.finfo(cost.dtype).max
            rows, columns = linear_sum_assignment(torch.nan_to_num(cost, limit, limit, -limit).cpu().numpy())
            matches.append(Match(torch.as_tensor(rows, device=device), torch.as_tensor(columns, device=device)))
    return matches


def segmentation_losses(
    predictions: Predictions, targets: Sequence[Target], config: LossConfig, points: PointSource
) -> dict[str, Tensor]:
    """Weighted terms: ``loss_cls``, ``loss_mask``, ``loss_dice`` of the last layer; with suffix ``_i`` of layer i.

    The number of masks is summed over the batch for the mask and dice terms; the class term is a weighted mean over
    all queries of all entries, background counting ``no_object_weight``.
    """
    last = len(predictions.hidden) - 1
    losses: dict[str, Tensor] = {}
    stacked = torch.cat([target.masks for target in targets])[:, None]
    starts = np.cumsum([0, *(len(target.classes) for target in targets)])[:-1].tolist()
    maps = predictions.mask_features.flatten(2).unbind()  # once: each indexing would cost a whole gradient
    for layer in [last, *range(last)]:
        suffix = "" if layer == last else f"_{layer}"
        matches = match(predictions, layer, targets, config, points)
        losses["loss_cls" + suffix] = config.class_weight * _class_loss(predictions, layer, targets, matches, config)
        mask, dice = _mask_losses(predictions, layer, maps, stacked, starts, matches, config, points)
        losses["loss_mask" + suffix] = config.mask_weight * mask
        losses["loss_dice" + suffix] = config.dice_weight * dice
    return losses


@torch.no_grad()
def choose_points(maps: Tensor, config: LossConfig, points: PointSource) -> Tensor:
    """(M, num_points, 2): the candidates where the logits (M, 1, H, W) are least sure, then the remainder."""
    unsure = int(config.importance_sample_ratio * config.num_points)
    candidates = points.candidates(len(maps), int(config.num_points * config.oversample_ratio))
    order = sample(maps, candidates)[:, 0].abs().neg().topk(unsure, 1).indices
    near = candidates.gather(1, order[..., None].expand(-1, -1, 2))
    return torch.cat([near, points.remainder(len(maps), config.num_points - unsure)], 1)


def language_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean cross entropy of next-token logits (M, V) against the tokens (M,) that followed; 0 if there are none."""
    if len(labels) == 0:
        return logits.sum() * 0
    return F.cross_entropy(logits.float(), labels)


def _class_loss(
    predictions: Predictions, layer: int, targets: Sequence[Target], matches: Sequence[Match], config: LossConfig
) -> Tensor:
    logits = predictions.class_logits[layer].float()
    background = logits.shape[-1] - 1
    truth = torch.full(logits.shape[:2], background, device=logits.device)
    for entry, (target, found) in enumerate(zip(targets, matches, strict=True)):
        truth[entry, found.queries] = target.classes[found.targets]
    weight = logits.new_ones(background + 1)
    weight[background] = config.no_object_weight
    return F.cross_entropy(logits.transpose(1, 2), truth, weight)


def _mask_losses(
    predictions: Predictions,
    layer: int,
    maps: Sequence[Tensor],
    stacked: Tensor,
    starts: Sequence[int],
    matches: Sequence[Match],
    config: LossConfig,
    points: PointSource,
) -> tuple[Tensor, Tensor]:
    """Binary cross entropy and dice of matched masks, at points drawn mostly where the logits are unsure.

    Args:
        maps: mask features (C, H * W) per picture.
        stacked: (T, 1, H, W), all entries' target masks in order.
        starts: where each entry's begin.
    """
    entry = torch.cat([torch.full_like(found.queries, i) for i, found in enumerate(matches)])
    embeddings = predictions.mask_embeddings[layer]
    if len(entry) == 0:
        nothing = embeddings.float().sum() * 0
        return nothing, nothing
    queries = torch.cat([found.queries for found in matches])
    rows = torch.cat([found.targets + start for found, start in zip(matches, starts, strict=True)])
    logit_maps = _matched_logits(predictions, embeddings[entry, queries], predictions.picture[entry], maps)
    places = choose_points(logit_maps, config, points)
    truth = _truth_at(stacked, rows, places)
    logits = sample(logit_maps, places)[:, 0]
    count = max(len(stacked), 1)
    entropy = F.binary_cross_entropy_with_logits(logits, truth, reduction="none").mean(1).sum() / count
    inside = logits.sigmoid()
    dice = 1 - (2 * (inside * truth).sum(-1) + 1) / (inside.sum(-1) + truth.sum(-1) + 1)
    return entropy, dice.sum() / count


def _truth_at(stacked: Tensor, rows: Tensor, places: Tensor) -> Tensor:
    """Values (M, P) of the target masks at ``rows`` at their places (M, P, 2)."""
    if len(rows) < len(stacked):  # more targets than queries
        return sample(stacked[rows], places)[:, 0]
    # All targets, each once: put the few points in their order instead of copying all the masks.
    return sample(stacked, places[rows.argsort()])[rows, 0]


def _matched_logits(predictions: Predictions, chosen: Tensor, pictures: Tensor, maps: Sequence[Tensor]) -> Tensor:
    """(M, 1, H, W) mask logits of matched queries' embeddings (M, C); a picture's features are never copied."""
    size = predictions.mask_features.shape[-2:]
    parts, rows = [], []
    for picture in pictures.unique().tolist():
        mine = (pictures == picture).nonzero().flatten()
        parts.append(chosen[mine] @ maps[picture].to(chosen.dtype))
        rows.append(mine)
    return torch.unflatten(torch.cat(parts)[torch.cat(rows).argsort()].float(), 1, size)[:, None]
