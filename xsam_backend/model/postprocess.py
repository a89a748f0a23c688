"""From the decoder's queries to masks in the picture, per task, as the reference does it.

Each function takes one sample: ``class_logits`` float (Q, C + 1), background last, and ``mask_logits`` float
(Q, h, w), low resolution, over the whole padded frame. Masks come out at the picture's own size. Only queries that
can still matter are upscaled, a few at a time: the result is the same and a large picture fits in memory.

Any floating dtype and device go in; arithmetic is float32 on that device, and results stay there.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

_CHUNK_PIXELS = 2**25
"""Pixels upscaled at once, over all queries of a chunk: 128 MB in float32."""


@dataclass(frozen=True)
class PictureFrame:
    """Where a picture lies in the padded frame, (height, width) each.

    Attributes:
        padded_hw: the frame that the mask logits cover.
        scaled_hw: the picture's part of it, at the top left.
        size_hw: the picture itself.
    """

    padded_hw: tuple[int, int]
    scaled_hw: tuple[int, int]
    size_hw: tuple[int, int]


@dataclass(frozen=True, eq=False)
class Detections:
    """N masks with their scores, on the model's device.

    Attributes:
        masks: bool (N, H, W), the picture's size.
        scores: float32 (N,), 0..1.
        class_indices: int64 (N,), which condition.
        query_indices: int64 (N,), which of the decoder's queries.
    """

    masks: Tensor
    scores: Tensor
    class_indices: Tensor
    query_indices: Tensor

    def __len__(self) -> int:
        return len(self.masks)

    def __getitem__(self, chosen: Tensor) -> Detections:
        """Those at int64 indices or a bool choice, in that order."""
        return Detections(
            self.masks[chosen], self.scores[chosen], self.class_indices[chosen], self.query_indices[chosen]
        )


@dataclass(frozen=True)
class Segment:
    """One entry of a panoptic result. Fused stuff has several entries with one id."""

    id: int
    class_index: int
    is_thing: bool
    score: float
    query_index: int


@dataclass(frozen=True, eq=False)
class PanopticResult:
    """Each pixel in one segment at most.

    Attributes:
        segmentation: int32 (H, W), segment ids, 0 is void. The reference can give one id to two segments (after a
            second piece of a stuff class, counting goes on from that class's id); ``owners`` can't.
        owners: int32 (H, W), index into ``segments``, -1 is void.
        segments: one per surviving query.
    """

    segmentation: Tensor
    owners: Tensor
    segments: tuple[Segment, ...]

    def detections(self) -> Detections:
        """Disjoint masks: one per thing, one per stuff class with its best score, best first."""
        groups: dict[object, list[int]] = {}
        for index, segment in enumerate(self.segments):
            groups.setdefault(index if segment.is_thing else ("stuff", segment.class_index), []).append(index)
        device = self.owners.device
        masks = [torch.isin(self.owners, torch.tensor(group, device=device)) for group in groups.values()]
        best = [
            max((self.segments[i] for i in group), key=lambda segment: segment.score) for group in groups.values()
        ]
        found = Detections(
            torch.stack(masks) if masks else self.owners.new_zeros((0, *self.owners.shape), dtype=torch.bool),
            torch.tensor([segment.score for segment in best], dtype=torch.float32, device=device),
            torch.tensor([segment.class_index for segment in best], dtype=torch.int64, device=device),
            torch.tensor([segment.query_index for segment in best], dtype=torch.int64, device=device),
        )
        return found[found.scores.argsort(descending=True, stable=True)]


def upscale(mask_logits: Tensor, frame: PictureFrame) -> Tensor:
    """Logits over the padded frame, (N, h, w), to the picture's size: float32 (N, H, W). Logits are resized."""
    return _to_picture(_to_padded(mask_logits, frame), frame)


def class_scores(class_logits: Tensor) -> Tensor:
    """(..., C + 1) logits to (..., C) scores: the softmax over conditions and background, without background."""
    return class_logits.float().softmax(-1)[..., :-1]


def semantic(class_logits: Tensor, mask_logits: Tensor, frame: PictureFrame) -> Tensor:
    """The class of every pixel: int32 (H, W). Nothing is void."""
    return semantic_scores(class_logits, mask_logits, frame).argmax(0).to(torch.int32)


def semantic_scores(class_logits: Tensor, mask_logits: Tensor, frame: PictureFrame) -> Tensor:
    """How much of each class is in every pixel: float32 (C, H, W). Here probabilities are resized, not logits."""
    return _to_picture(_semantic_totals(class_logits, mask_logits, frame), frame)


def semantic_choice(
    class_logits: Tensor, mask_logits: Tensor, frame: PictureFrame, first: int, best: Tensor, classes: Tensor
) -> tuple[Tensor, Tensor]:
    """``semantic`` over several lists of classes, class by class: many classes of a large picture fit in no memory.

    Args:
        first: number of the list's first class.
        best, classes: float32 and int64 (H, W), the highest score so far and whose it is; the same afterwards.
    """
    for index, total in enumerate(_semantic_totals(class_logits, mask_logits, frame)):
        scores = _to_picture(total[None], frame)[0]
        higher = scores > best
        best, classes = torch.where(higher, scores, best), classes.masked_fill(higher, first + index)
    return best, classes


def _semantic_totals(class_logits: Tensor, mask_logits: Tensor, frame: PictureFrame) -> Tensor:
    """(C, h, w) over the padded frame."""
    scores = class_scores(class_logits)
    total = scores.new_zeros((scores.shape[1], *frame.padded_hw))
    for part in _chunks(len(mask_logits), frame):
        total += torch.einsum("qc,qhw->chw", scores[part], _to_padded(mask_logits[part], frame).sigmoid())
    return total


def pixel_certainty(class_logits: Tensor, mask_logits: Tensor, frame: PictureFrame, classes: Tensor) -> Tensor:
    """How surely each pixel is of its class: float32 (H, W), 0..1, what the query says that is surest of it.

    ``semantic_scores`` are sums over all queries, which many unsure ones lift over any threshold.

    Args:
        classes: int64 (H, W), as ``semantic`` chooses them.
    """
    scores = class_scores(class_logits)
    best = scores.new_zeros(frame.size_hw)
    for part in _chunks(len(mask_logits), frame):
        probabilities = _to_picture(_to_padded(mask_logits[part], frame).sigmoid(), frame)
        best = torch.maximum(best, (probabilities * scores[part][:, classes]).amax(0))
    return best


def panoptic(
    class_logits: Tensor,
    mask_logits: Tensor,
    frame: PictureFrame,
    *,
    stuff: Collection[int] = (),
    threshold: float = 0.5,
    overlap: float = 0.8,
) -> PanopticResult:
    """Disjoint segments of things and stuff.

    Every query above ``threshold`` claims pixels by probability times score. A segment survives if more than
    ``overlap`` of the pixels where that product reaches 0.5 are its own; so none with a score below 0.5 does.
    ``stuff`` are class indices whose pieces are fused.
    """
    scores, classes = class_scores(class_logits).max(-1)
    kept = (scores > threshold).nonzero().flatten()
    best = scores.new_zeros(frame.size_hw)
    winners = torch.full(frame.size_hw, -1, dtype=torch.int64, device=best.device)
    claimed = torch.zeros(len(kept), dtype=torch.int64, device=best.device)
    for part in _chunks(len(kept), frame):
        queries = kept[part]
        probabilities = upscale(mask_logits[queries], frame).sigmoid_() * scores[queries, None, None]
        claimed[part] = (probabilities >= 0.5).flatten(1).sum(1)
        highest, winner = probabilities.max(0)
        closer = highest > best
        best = torch.where(closer, highest, best)
        winners = torch.where(closer, winner + part.start, winners)
    won = torch.bincount(winners[winners >= 0], minlength=len(kept))
    survives = (won > 0) & (claimed > 0) & (won / claimed.clamp(min=1) > overlap)

    segments: list[Segment] = []
    # Two lookup tables paint both maps at once; the last entry is for void.
    to_id = torch.zeros(len(kept) + 1, dtype=torch.int32)
    to_owner = torch.full((len(kept) + 1,), -1, dtype=torch.int32)
    stuff_ids: dict[int, int] = {}
    current = 0
    for position in survives.nonzero().flatten().tolist():
        query = int(kept[position])
        class_index = int(classes[query])
        is_thing = class_index not in stuff
        current = stuff_ids.get(class_index, current + 1)
        if not is_thing:
            stuff_ids[class_index] = current
        to_id[position], to_owner[position] = current, len(segments)
        segments.append(Segment(current, class_index, is_thing, float(scores[query]), query))
    return PanopticResult(to_id.to(best.device)[winners], to_owner.to(best.device)[winners], tuple(segments))


def instances(
    class_logits: Tensor, mask_logits: Tensor, frame: PictureFrame, *, threshold: float = 0.5
) -> Detections:
    """Masks of the best Q (query, class) pairs, best first; for generic tasks and VGD.

    The score is that of the class times the mean probability inside the mask. Masks may overlap, and one query may
    come with several classes: see ``without_duplicates``.
    """
    scores = class_scores(class_logits)
    # The final score is never above that of the class, so pairs below the threshold need no mask.
    top = scores.flatten().topk(min(len(scores), scores.numel()))
    pairs = top.indices[top.values >= threshold]
    queries, classes = pairs // scores.shape[1], pairs % scores.shape[1]
    shown, positions = torch.unique(queries, return_inverse=True)
    masks, certainty = _masks(mask_logits[shown], frame)
    found = Detections(masks[positions], scores[queries, classes] * certainty[positions], classes, queries)
    found = found[found.masks.flatten(1).any(1) & (found.scores >= threshold)]
    return found[found.scores.argsort(descending=True, stable=True)]


def phrase_masks(class_logits: Tensor, mask_logits: Tensor, frame: PictureFrame) -> Detections:
    """The best query for each condition, in their order: referring, reasoning (one condition) and GCG.

    No threshold. For referring and reasoning each phrase is a sample of its own. A mask may be empty.
    """
    scores, queries = class_scores(class_logits).max(0)
    masks, _ = _masks(mask_logits[queries], frame)
    return Detections(masks, scores, torch.arange(len(queries), device=queries.device), queries)


def interactive(
    class_logits: Tensor, mask_logits: Tensor, frame: PictureFrame, region: Tensor, *, threshold: float = 0.5
) -> Detections:
    """The one object that a region points at, the reference's rule: one condition, one mask.

    Of the queries whose score (as in ``instances``) reaches ``threshold``, or of the best one alone, the one whose
    bounding box has the highest IoU with that of ``region``, bool (P, P) in the padded frame. See
    ``interactive_choice`` for the rule that also heeds clicks.
    """
    classes = class_scores(class_logits)[:, 0]
    order = classes.argsort(descending=True, stable=True)
    count = max(int((classes >= threshold).sum()), 1)
    masks, certainty = _masks(mask_logits[order[:count]], frame)
    best = (classes[order[:count]] * certainty).max()
    if best < threshold:  # then a query with a lower class score may still be the best
        count = int((classes >= best).sum())
        masks, certainty = _masks(mask_logits[order[:count]], frame)
    order = order[:count]
    scores = classes[order] * certainty
    kept = scores >= threshold
    kept[scores.argmax()] = True
    found = Detections(masks, scores, torch.zeros_like(order), order)[kept]
    target = boxes_xyxy(unframe_masks(region[None], frame))
    return found[box_iou(boxes_xyxy(found.masks), target)[:, 0].argmax(0, keepdim=True)]


def without_duplicates(found: Detections, mask_logits: Tensor, *, max_iou: float = 0.8) -> Detections:
    """Drop a detection whose mask has an IoU above ``max_iou`` with a better one's, whatever their classes.

    For annotators, who want no region twice; the reference keeps duplicates. Masks are compared at low resolution.
    """
    flat = (mask_logits[found.query_indices] > 0).flatten(1).float()
    shared = flat @ flat.T
    area = flat.sum(1)
    ious = shared / (area[:, None] + area[None] - shared).clamp(min=1)
    order = found.scores.argsort(descending=True, stable=True).tolist()
    kept: list[int] = []
    for index in order:
        if all(float(ious[index, other]) <= max_iou for other in kept):
            kept.append(index)
    return found[torch.tensor(kept, dtype=torch.int64, device=found.masks.device)]


def unframe_masks(framed: Tensor, frame: PictureFrame) -> Tensor:
    """Masks of the padded frame at the picture's size: bool (N, P, P) to bool (N, H, W), nearest neighbour."""
    height, width = frame.scaled_hw
    cut = framed[:, None, :height, :width].float()
    return F.interpolate(cut, size=frame.size_hw, mode="nearest")[:, 0] > 0


def boxes_xyxy(masks: Tensor) -> Tensor:
    """Boxes around bool (N, H, W) masks: float32 (N, 4), x0, y0, x1, y1, maxima exclusive; zeros if empty."""
    boxes = []
    for along in (masks.any(1), masks.any(2)):
        length = along.shape[1]
        steps = torch.arange(length, device=masks.device)
        first = torch.where(along, steps, length).amin(1)
        last = torch.where(along, steps, -1).amax(1) + 1
        boxes.append((torch.where(last > 0, first, 0), last))
    (x0, x1), (y0, y1) = boxes
    return torch.stack((x0, y0, x1, y1), 1).float()


def box_iou(ours: Tensor, theirs: Tensor) -> Tensor:
    """IoU of every box of (N, 4) with every one of (M, 4), xyxy: float32 (N, M); 0 where both are empty."""
    low = torch.maximum(ours[:, None, :2], theirs[None, :, :2])
    high = torch.minimum(ours[:, None, 2:], theirs[None, :, 2:])
    shared = (high - low).clamp(min=0).prod(-1)
    areas = [(boxes[:, 2:] - boxes[:, :2]).clamp(min=0).prod(-1) for boxes in (ours, theirs)]
    union = areas[0][:, None] + areas[1][None] - shared
    return torch.where(union > 0, shared / union.clamp(min=1e-6), torch.zeros_like(union))


def _masks(mask_logits: Tensor, frame: PictureFrame) -> tuple[Tensor, Tensor]:
    """Masks bool (N, H, W), and the mean probability inside each, float32 (N,), 0 for an empty one."""
    masks = torch.zeros((len(mask_logits), *frame.size_hw), dtype=torch.bool, device=mask_logits.device)
    certainty = torch.zeros(len(mask_logits), device=mask_logits.device)
    # Interpolation stays within the values it starts from: what has no positive logit here has none upscaled.
    possible = (mask_logits > 0).flatten(1).any(1).nonzero().flatten()
    for part in _chunks(len(possible), frame):
        logits = upscale(mask_logits[possible[part]], frame)
        shown = logits > 0
        masks[possible[part]] = shown
        inside = (logits.sigmoid_() * shown).flatten(1).sum(1)
        certainty[possible[part]] = inside / (shown.flatten(1).sum(1) + 1e-6)
    return masks, certainty


def _to_padded(mask_logits: Tensor, frame: PictureFrame) -> Tensor:
    return _resized(mask_logits.float(), frame.padded_hw)


def _to_picture(padded: Tensor, frame: PictureFrame) -> Tensor:
    height, width = frame.scaled_hw
    return _resized(padded[:, :height, :width], frame.size_hw)


def _resized(maps: Tensor, size_hw: tuple[int, int]) -> Tensor:
    if not len(maps):
        return maps.new_zeros((0, *size_hw))
    return F.interpolate(maps[:, None], size=size_hw, mode="bilinear", align_corners=False)[:, 0]


def _chunks(count: int, frame: PictureFrame) -> Iterator[slice]:
    """Slices of ``count`` queries, few enough to upscale at once."""
    pixels = max(frame.padded_hw[0] * frame.padded_hw[1], frame.size_hw[0] * frame.size_hw[1])
    step = max(_CHUNK_PIXELS // pixels, 1)
    for start in range(0, count, step):
        yield slice(start, min(start + step, count))
