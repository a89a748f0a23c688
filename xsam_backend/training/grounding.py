"""A training-only task: tell from the language model's embeddings where the targets lie.

The mask loss reaches ``<SEG>`` and the conditions through the whole decoder and a matching that changes from step to
step; a small language model takes long to learn from it that words and places matter. Asking some of its attention
heads to look at the targets, reading boxes straight from the embeddings, and finding the targets' cells by comparing
embeddings with the pixel decoder's map teaches it early. The heads that read are no part of the model and aren't
shipped.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from xsam_backend.training.losses import Target

BOX_WEIGHT = 50.0
"""Makes its gradient in the language model about as large as that of the masks."""

CELL_WEIGHT = 10.0
"""Of the cross entropy and of the dice term: twice that of a mask, of which there are eight, one per layer."""

WORD_WEIGHT = 2.0
"""Of the cross entropy of a segment's words, a mean over segments, summed over maps."""

LOOK_WEIGHT = 1.0
"""Of the cross entropy of what the language model looks at, summed over layers."""

KNOWING_WEIGHT = 4.0
"""The token that knows what is meant counts so much more than the others: the last one of what is asked for, which
has read all of the words, and the first one of what the model names itself, after which it must say what is there."""

LEAST_LOOK = 1e-5
"""Keeps the logarithm finite where nothing is looked at."""

LOOKING_HEADS = 2
"""So many attention heads of each layer look at what is asked for. The others do as they like."""

CELL_WIDTH = 64


class Grounding(nn.Module):
    """Heads that read boxes, cells and words.

    Args:
        width: of conditions and ``<SEG>``, from which boxes are read: centre x, centre y, width, height, as shares
            of the frame.
        map_width: channels of the pixel decoder's maps. The embeddings are compared with the cells of one of them.
        levels: how many of these maps must tell what lies under a segment.
        word_ids: the words to tell it with, as token ids.
    """

    word_ids: Tensor
    piece_shares: Tensor

    def __init__(self, width: int, map_width: int, levels: int, word_ids: Sequence[Sequence[int]]) -> None:
        super().__init__()
        self.of_condition = nn.Linear(width, 4)
        self.of_seg = nn.Linear(width, 4)
        for head in (self.of_condition, self.of_seg):
            nn.init.zeros_(head.weight)
            nn.init.constant_(head.bias, 0.5)
        self.cell_of_condition = nn.Linear(width, CELL_WIDTH)
        self.cell_of_seg = nn.Linear(width, CELL_WIDTH)
        self.cells = nn.Conv2d(map_width, CELL_WIDTH, 1)
        self.cell_bias = nn.Parameter(torch.tensor(-2.0))  # most cells belong to no target
        self.word_of = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(map_width), nn.Linear(map_width, len(word_ids))) for _ in range(levels)
        )
        self.word_scale = nn.Parameter(torch.tensor(10.0))
        longest = max(len(ids) for ids in word_ids)
        padded = torch.tensor([[*ids, *[0] * (longest - len(ids))] for ids in word_ids])
        pieces = torch.tensor([[1.0] * len(ids) + [0.0] * (longest - len(ids)) for ids in word_ids])
        self.register_buffer("word_ids", padded, persistent=False)
        self.register_buffer("piece_shares", pieces / pieces.sum(1, keepdim=True), persistent=False)

    def box_loss(self, conditions: Tensor, seg: Tensor, targets: Sequence[Target]) -> Tensor:
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
            boxes.append(box_of(_union(target)))
            for condition in target.classes.unique().tolist():
                said.append(self.of_condition(conditions[entry, condition]))
                boxes.append(box_of(_union(target, condition)))
        if not said:
            return conditions.sum() * 0
        return F.l1_loss(torch.stack(said).float(), torch.stack(boxes))

    def cell_loss(
        self, conditions: Tensor, valid: Tensor, seg: Tensor, targets: Sequence[Target], maps: Tensor, picture: Tensor
    ) -> Tensor:
        """Cross entropy of all cells plus the dice term of what has a target, each a mean over embeddings.

        A condition without a target is nowhere. Arguments as in ``box_loss``, and:

        Args:
            conditions, seg, targets: see there.
            valid: bool (E, N), which of the conditions were asked for.
            maps: (B, map_width, h, w) of the pictures.
            picture: int64 (E,), whose map an entry is about.
        """
        rows, columns = valid.nonzero(as_tuple=True)
        wanted = [_union(target) for target in targets]
        wanted += [_union(targets[row], of) for row, of in zip(rows.tolist(), columns.tolist(), strict=True)]
        asked = torch.cat([self.cell_of_seg(seg), self.cell_of_condition(conditions[rows, columns])])
        owner = torch.cat([picture, picture[rows]])
        cells = self.cells(maps).flatten(2).float()
        truth = F.adaptive_avg_pool2d(torch.stack(wanted)[:, None], (maps.shape[2], maps.shape[3])).flatten(1)
        logits = torch.empty_like(truth)
        for index in owner.unique().tolist():
            mine = (owner == index).nonzero().flatten()
            alike = asked[mine].float() @ cells[index] / CELL_WIDTH**0.5 + self.cell_bias
            logits = logits.index_copy(0, mine, alike.float())
        entropy = F.binary_cross_entropy_with_logits(logits, truth)
        inside = logits.sigmoid()
        dice = 1 - (2 * (inside * truth).sum(1) + 1) / (inside.sum(1) + truth.sum(1) + 1)
        present = truth.sum(1) > 0
        return entropy + dice[present].sum() / present.sum().clamp(min=1)

    def look_loss(
        self,
        attention: Sequence[Tensor],
        side: int,
        cond_ids: Tensor,
        seg_ids: Tensor,
        said: Tensor,
        targets: Sequence[Target],
    ) -> Tensor:
        """Where the tokens of each condition and ``<SEG>`` look, against where the targets are.

        The words of a picture's tokens lie near the words of the text (``token_word_loss``), so looking at what is
        alike finds what is meant; but a language model that is only told whether the mask was right hardly tries.

        Args:
            attention: (E, heads, L, T) per layer: how much each token looks at each of the segmentor's tokens.
            side: how many of the T, which go row by row, are in a row.
            cond_ids, seg_ids: int64 (E, L).
            said: bool (E, L), what the model says itself.
            targets: one per entry.
        """
        entries, places, wanted, weights = [], [], [], []
        for entry, target in enumerate(targets):
            spans = [(seg_ids[entry] == 0, _union(target))] if len(target.classes) else []
            for condition in target.classes.unique().tolist():
                spans.append((cond_ids[entry] == condition, _union(target, condition)))
            for span, mask in spans:
                for place in (span_places := span.nonzero().flatten().tolist()):
                    entries.append(entry)
                    places.append(place)
                    wanted.append(mask)
                    knowing = (span_places[-1], span_places[0]) if said[entry, place] else (span_places[-1],)
                    weights.append(KNOWING_WEIGHT if place in knowing else 1.0)
        if not wanted:
            return attention[0].sum() * 0
        share = F.adaptive_avg_pool2d(torch.stack(wanted)[:, None], (side, side)).flatten(1)
        share = share / share.sum(1, keepdim=True)
        weight = share.new_tensor(weights) / sum(weights)
        total = share.new_zeros(())
        for of_layer in attention:
            seen = of_layer[entries, :LOOKING_HEADS, places].float()
            missed = -(share[:, None] * (seen + LEAST_LOOK).log()).sum(-1).mean(-1)
            total = total + (weight * missed).sum()
        return LOOK_WEIGHT * total

    def token_word_loss(
        self,
        token_map: Tensor,
        cells: Sequence[Tensor],
        words: Sequence[Tensor],
        embed: Callable[[Tensor], Tensor],
    ) -> Tensor:
        """Cross entropy of each segment's words (name, looks, place, equally likely).

        What the language model sees of a segment must lie near the embeddings of its words.

        Args:
            token_map: (B, W, h, w), the picture's tokens as the language model gets them.
            cells: float (M, h, w) per picture, what its segments cover.
            words: bool (M, words) per picture, at least one for each segment.
            embed: token ids (words, pieces) to the language model's embeddings (words, pieces, W).
        """
        meanings = (embed(self.word_ids) * self.piece_shares[..., None]).sum(1)
        cosine = F.normalize(_under(cells, token_map), dim=-1) @ F.normalize(meanings.float(), dim=-1).T
        return _word_entropy(self.word_scale * cosine, words)

    def level_word_loss(
        self, level_maps: Sequence[Tensor], cells: Sequence[Tensor], words: Sequence[Tensor]
    ) -> Tensor:
        """The same from the pixel decoder's maps (B, map_width, h, w), by heads of their own; summed over maps."""
        of_maps = [
            _word_entropy(head(_under(cells, features)), words)
            for head, features in zip(self.word_of, level_maps, strict=True)
        ]
        return torch.stack(of_maps).sum()


def _word_entropy(logits: Tensor, words: Sequence[Tensor]) -> Tensor:
    """Mean cross entropy of (M, words) with what is said, all pictures' segments in order; 0 if there are none."""
    said = torch.cat(list(words)).float()
    if not len(said):
        return logits.sum() * 0
    return F.cross_entropy(logits, said / said.sum(1, keepdim=True))


def _under(cells: Sequence[Tensor], maps: Tensor) -> Tensor:
    """Mean of (B, C, h, w) under each segment, all pictures' segments in order: float32 (M, C)."""
    pooled = []
    for one, covered in zip(maps, cells, strict=True):
        share = F.adaptive_avg_pool2d(covered[:, None], (one.shape[1], one.shape[2])).flatten(1)
        pooled.append(share / share.sum(1, keepdim=True) @ one.flatten(1).T.float())
    return torch.cat(pooled)


def _union(target: Target, condition: int | None = None) -> Tensor:
    """(H, W) of 0 and 1: everything that is to be found, or what is to be found for one condition."""
    masks = target.masks if condition is None else target.masks[target.classes == condition]
    return masks.amax(0) if len(masks) else masks.new_zeros(masks.shape[-2:])


def box_of(mask: Tensor) -> Tensor:
    """(centre x, centre y, width, height) of a mask (H, W) of 0 and 1, as shares of its sides."""
    height, width = mask.shape
    rows, columns = mask.amax(1).nonzero().flatten(), mask.amax(0).nonzero().flatten()
    if len(rows) == 0:
        return mask.new_zeros(4)
    y0, y1, x0, x1 = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
    return torch.stack([(x0 + x1) / 2 / width, (y0 + y1) / 2 / height, (x1 - x0) / width, (y1 - y0) / height])
