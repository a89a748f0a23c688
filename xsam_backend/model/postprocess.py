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
from torch import Tensor

from xsam_backend.geometry.cropped_masks import CroppedMask, stacked
from xsam_backend.model.mask_boxes import box_iou, boxes_xyxy
from xsam_backend.model.picture_frame import PictureFrame, to_padded, to_picture, unframe_masks, upscale
from xsam_backend.model.upscaling import masks_with_certainty

_CHUNK_PIXELS = 2**25
"""Pixels upscaled at once, over all queries of a chunk: 128 MB in float32."""


@dataclass(frozen=True, eq=False)
class Detections:
    """N masks in RAM with their scores, on the model's device.

    Attributes:
        cropped: N masks in the picture's size.
        scores: float32 (N,), 0..1.
        class_indices: int64 (N,), which condition.
        query_indices: int64 (N,), which of the decoder's queries.
        size_hw: of the picture.
    """

    cropped: tuple[CroppedMask, ...]
    scores: Tensor
    class_indices: Tensor
    query_indices: Tensor
    size_hw: tuple[int, int]

    def __len__(self) -> int:
        return len(self.cropped)

    @property
    def masks(self) -> Tensor:
        """bool (N, H, W), made anew at each use."""
        return torch.from_numpy(stacked(self.cropped, self.size_hw))

    def __getitem__(self, chosen: Tensor) -> Detections:
        """Those at int64 indices or a bool choice, in that order."""
        numbers = torch.arange(len(self), device=chosen.device)[chosen].tolist()
        return Detections(
            tuple(self.cropped[number] for number in numbers),
            self.scores[chosen],
            self.class_indices[chosen],
            self.query_indices[chosen],
            self.size_hw,
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
        number_of = torch.full((len(self.segments) + 1,), -1, dtype=torch.int32)  # the last is void's
        for number, group in enumerate(groups.values()):
            number_of[group] = number
        shown = number_of.to(device)[self.owners].cpu().numpy()
        masks = [CroppedMask.of(shown == number) for number in range(len(groups))]
        best = [
            max((self.segments[i] for i in group), key=lambda segment: segment.score) for group in groups.values()
        ]
        found = Detections(
            tuple(masks),
            torch.tensor([segment.score for segment in best], dtype=torch.float32, device=device),
            torch.tensor([segment.class_index for segment in best], dtype=torch.int64, device=device),
            torch.tensor([segment.query_index for segment in best], dtype=torch.int64, device=device),
            (self.owners.shape[0], self.owners.shape[1]),
        )
        return found[found.scores.argsort(descending=True, stable=True)]


def class_scores(class_logits: Tensor) -> Tensor:
    """(..., C + 1) logits to (..., C) scores: the softmax over conditions and background, without background."""
    return class_logits.float().softmax(-1)[..., :-1]


def semantic(class_logits: Tensor, mask_logits: Tensor, frame: PictureFrame) -> Tensor:
    """The class of every pixel: int32 (H, W). Nothing is void."""
    return semantic_scores(class_logits, mask_logits, frame).argmax(0).to(torch.int32)


def semantic_scores(class_logits: Tensor, mask_logits: Tensor, frame: PictureFrame) -> Tensor:
    """How much of each class is in every pixel: float32 (C, H, W). Here probabilities are resized, not logits."""
    return to_picture(_semantic_totals(class_logits, mask_logits, frame), frame)


def semantic_choice(
    class_logits: Tensor, mask_logits: Tensor, frame: PictureFrame, first: int, best: Tensor, classes: Tensor
) -> tuple[Tensor, Tensor]:
    """``semantic`` over several lists of classes, class by class: many classes of a large picture fit in no memory.

    Args:
        first: number of the list's first class.
        best, classes: float32 and int64 (H, W), the highest score so far and whose it is; the same afterwards.
    """
    for index, total in enumerate(_semantic_totals(class_logits, mask_logits, frame)):
        scores = to_picture(total[None], frame)[0]
        higher = scores > best
        best, classes = torch.where(higher, scores, best), classes.masked_fill(higher, first + index)
    return best, classes


def _semantic_totals(class_logits: Tensor, mask_logits: Tensor, frame: PictureFrame) -> Tensor:
    """(C, h, w) over the padded frame."""
    scores = class_scores(class_logits)
    total = scores.new_zeros((scores.shape[1], *frame.padded_hw))
    for part in _chunks(len(mask_logits), frame):
        total += torch.einsum("qc,qhw->chw", scores[part], to_padded(mask_logits[part], frame).sigmoid())
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
        probabilities = to_picture(to_padded(mask_logits[part], frame).sigmoid(), frame)
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
    queries_kept, class_of, score_of = kept.tolist(), classes.tolist(), scores.tolist()
    for position in survives.nonzero().flatten().tolist():
        query = queries_kept[position]
        class_index = class_of[query]
        is_thing = class_index not in stuff
        current = stuff_ids.get(class_index, current + 1)
        if not is_thing:
            stuff_ids[class_index] = current
        to_id[position], to_owner[position] = current, len(segments)
        segments.append(Segment(current, class_index, is_thing, score_of[query], query))
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
    masks, certainty = masks_with_certainty(mask_logits[shown], frame)
    of_pairs = tuple(masks[position] for position in positions.tolist())
    found = Detections(of_pairs, scores[queries, classes] * certainty[positions], classes, queries, frame.size_hw)
    is_somewhere = torch.tensor([not mask.is_empty for mask in of_pairs], dtype=torch.bool, device=scores.device)
    found = found[is_somewhere & (found.scores >= threshold)]
    return found[found.scores.argsort(descending=True, stable=True)]


def phrase_masks(class_logits: Tensor, mask_logits: Tensor, frame: PictureFrame) -> Detections:
    """The best query for each condition, in their order: referring, reasoning (one condition) and GCG.

    No threshold. For referring and reasoning each phrase is a sample of its own. A mask may be empty.
    """
    scores, queries = class_scores(class_logits).max(0)
    masks, _ = masks_with_certainty(mask_logits[queries], frame)
    return Detections(masks, scores, torch.arange(len(queries), device=queries.device), queries, frame.size_hw)


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
    masks, certainty = masks_with_certainty(mask_logits[order[:count]], frame)
    best = (classes[order[:count]] * certainty).max()
    if best < threshold:  # then a query with a lower class score may still be the best
        count = int((classes >= best).sum())
        masks, certainty = masks_with_certainty(mask_logits[order[:count]], frame)
    order = order[:count]
    scores = classes[order] * certainty
    kept = scores >= threshold
    kept[scores.argmax()] = True
    found = Detections(masks, scores, torch.zeros_like(order), order, frame.size_hw)[kept]
    target = boxes_xyxy(unframe_masks(region[None], frame))
    boxes = torch.tensor([mask.box_xyxy or (0, 0, 0, 0) for mask in found.cropped], dtype=torch.float32)
    return found[box_iou(boxes.to(target.device), target)[:, 0].argmax(0, keepdim=True)]


def without_duplicates(found: Detections, mask_logits: Tensor, *, max_iou: float = 0.8) -> Detections:
    """Drop a detection whose mask has an IoU above ``max_iou`` with a better one's, whatever their classes.

    For annotators, who want no region twice; the reference keeps duplicates. Masks are compared at low resolution.
    """
    flat = (mask_logits[found.query_indices] > 0).flatten(1).float()
    shared = flat @ flat.T
    area = flat.sum(1)
    ious = (shared / (area[:, None] + area[None] - shared).clamp(min=1)).tolist()
    order = found.scores.argsort(descending=True, stable=True).tolist()
    kept: list[int] = []
    for index in order:
        if all(ious[index][other] <= max_iou for other in kept):
            kept.append(index)
    return found[torch.tensor(kept, dtype=torch.int64, device=found.scores.device)]


def _chunks(count: int, frame: PictureFrame) -> Iterator[slice]:
    """Slices of ``count`` queries, few enough to upscale at once."""
    pixels = max(frame.padded_hw[0] * frame.padded_hw[1], frame.size_hw[0] * frame.size_hw[1])
    step = max(_CHUNK_PIXELS // pixels, 1)
    for start in range(0, count, step):
        yield slice(start, min(start + step, count))
