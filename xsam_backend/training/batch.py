"""A training batch: several pictures, several questions about each, and the losses of one pass over them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from xsam_backend.ground_truth import GroundTruth
from xsam_backend.model.conversation import IGNORE_LABEL, NO_ID, TokenizedConversation
from xsam_backend.model.image_processor import ImageProcessorConfig, frame_masks, frame_regions, process_image
from xsam_backend.model.language import Prefix, pad_rows
from xsam_backend.model.regions import region_points
from xsam_backend.model.xsam import Merged, XSam, pool_by_id
from xsam_backend.prompts import Task
from xsam_backend.training.config import Kind
from xsam_backend.training.features import KeptFeatures
from xsam_backend.training.grounding import BOX_WEIGHT, CELL_WEIGHT, WORD_WEIGHT, Grounding
from xsam_backend.training.losses import PointSource, Target, language_loss, segmentation_losses
from xsam_backend.training.questions import Question

SEGMENT_STRIDE = 8
"""Segments are kept as shares of cells of so many pixels: enough to pool maps of that stride and coarser."""

PLACE_WORDS = ("left", "right", "top", "bottom", "middle")
OUTER_SHARE = 0.38
"""What is nearer to an edge than this share of the picture's side lies there; between is the middle."""


@dataclass(frozen=True)
class AskedPicture:
    """One picture and its questions, as tensors.

    Attributes:
        vision_pixels, segmentor_pixels: (3, V, V) and (3, S, S).
        conversations: one per question, the picture's placeholder included.
        tasks: one per question.
        points: float (R, P, 2) region points per question, R may be 0.
        targets: what each question should find.
        segment_cells: float (M, h, w), the share of each cell of the frame that each segment of the picture covers.
        segment_words: bool (M, W), which words of a list are said of it.
        view: a name that only this view of the picture has; "": it won't come again.
    """

    vision_pixels: Tensor
    segmentor_pixels: Tensor
    conversations: tuple[TokenizedConversation, ...]
    tasks: tuple[Task, ...]
    points: tuple[Tensor, ...]
    targets: tuple[Target, ...]
    segment_cells: Tensor
    segment_words: Tensor
    view: str = ""


def prepare(
    truth: GroundTruth,
    questions: Sequence[Question],
    conversations: Sequence[TokenizedConversation],
    processor: ImageProcessorConfig,
    points_per_region: int,
    generator: torch.Generator,
    words: Mapping[str, int],
    view: str = "",
) -> AskedPicture:
    """Tensors of one picture and its questions, whose conversations are tokenised already.

    ``words`` numbers those that a segment is to be told by; others are passed over. ``view`` names what won't change.
    """
    processed = process_image(truth.image, processor)
    side = processor.seg_size
    points, targets = [], []
    for question in questions:
        regions = np.stack(question.regions) if question.regions else np.zeros((0, *processed.size_hw), bool)
        framed = frame_regions(regions, side)
        points.append(
            region_points(framed, points_per_region, generator)
            if len(framed)
            else torch.zeros(0, points_per_region, 2)
        )
        masks = [mask for mask, _ in question.targets]
        stacked = np.stack(masks) if masks else np.zeros((0, *processed.size_hw), bool)
        classes = torch.tensor([condition for _, condition in question.targets], dtype=torch.long)
        framed_targets = frame_masks(stacked, side)
        seen = framed_targets.flatten(1).any(1)
        targets.append(Target(framed_targets[seen].to(torch.uint8), classes[seen]))
    cells = F.avg_pool2d(frame_masks(truth.masks, side)[:, None].float(), SEGMENT_STRIDE)[:, 0]
    said = torch.zeros(len(truth.names), len(words), dtype=torch.bool)
    for row, name in enumerate(truth.names):
        looks = truth.looks[row].split() if truth.looks else ()
        for word in (name, *looks, *_place_words(truth.masks[row])):
            if word in words:
                said[row, words[word]] = True
    told = said.any(1) & (cells.flatten(1).sum(1) > 0)
    return AskedPicture(
        vision_pixels=processed.vision_pixels,
        segmentor_pixels=processed.seg_pixels,
        conversations=tuple(conversations),
        tasks=tuple(question.task for question in questions),
        points=tuple(points),
        targets=tuple(targets),
        segment_cells=cells[told],
        segment_words=said[told],
        view=view,
    )


def _place_words(mask: NDArray[np.bool_]) -> Iterator[str]:
    """Where in the picture a mask's centre clearly lies, in words of ``PLACE_WORDS``."""
    if not mask.any():
        return
    y, x = (float(at.mean() / side) for at, side in zip(mask.nonzero(), mask.shape, strict=True))
    if max(abs(x - 0.5), abs(y - 0.5)) < 0.5 - OUTER_SHARE:
        yield "middle"
    for at, low, high in ((x, "left", "right"), (y, "top", "bottom")):
        if at < OUTER_SHARE:
            yield low
        elif at > 1 - OUTER_SHARE:
            yield high


@dataclass(frozen=True)
class _Read:
    """What the language model makes of P questions about the pictures.

    Attributes:
        merged: the tokens after the picture, region embeddings among them.
        states: float (P, L, W).
        attention: (P, heads, L, T) per layer, to the segmentor's tokens; empty if it wasn't wanted.
        owner: int64 (P,), whose picture it is.
        tasks, targets: of each question.
    """

    merged: list[Merged]
    states: Tensor
    attention: tuple[Tensor, ...]
    owner: Tensor
    tasks: list[Task]
    targets: list[Target]


def batch_losses(
    model: XSam,
    pictures: Sequence[AskedPicture],
    points: PointSource,
    grounding: Grounding | None = None,
    *,
    kind: Kind = "mixed",
    kept: KeptFeatures | None = None,
) -> dict[str, Tensor]:
    """All loss terms of one forward pass; their sum is what is minimised. None where no question has one.

    Pictures are encoded once and their tokens read once; every question continues its own picture's prefix. With
    ``grounding``, there are its terms too. What a stage of another ``kind`` doesn't learn isn't computed:

    - words: the picture's tokens tell names, looks and places of segments (grounding's term, nothing else).
    - alignment: the language model tells what to say and, with grounding, where phrases and regions lie.
    - segmentor: masks and class scores; the language model is read without gradient.

    ``kept`` are what encoders that aren't trained made of views that came before.
    """
    device = model.device
    hears = kind != "segmentor"
    seen: Tensor | None = None
    if kept is not None:
        outputs = kept.of(model, pictures)
        maps, seen = outputs.maps, outputs.seen
    else:
        maps = model.segmentor_encoder(torch.stack([p.segmentor_pixels for p in pictures]).to(device))
    cells = [picture.segment_cells.to(device) for picture in pictures]
    told = [picture.segment_words.to(device) for picture in pictures]
    losses: dict[str, Tensor] = {}
    with torch.set_grad_enabled(torch.is_grad_enabled() and hears):
        if seen is None:
            seen = model.vision_tokens(torch.stack([p.vision_pixels for p in pictures]).to(device))
        tokens, token_map = model.picture_tokens(seen, maps)
        if grounding is not None and hears:
            losses["loss_words"] = WORD_WEIGHT * grounding.token_word_loss(
                token_map, cells, told, model.language.embed
            )
        if kind == "words":
            return losses
        read = _read(model, pictures, tokens, token_map, with_attention=grounding is not None and hears)
        if hears:
            losses |= _language_losses(model, read, token_map.shape[-1], grounding)
        segmented = [i for i, task in enumerate(read.tasks) if task is not Task.CONVERSATION]
        if not segmented:
            return losses
        entries = torch.tensor(segmented, device=device)
        projected = model.project(read.states[entries])
        conditions, valid = pool_by_id(projected, pad_rows([read.merged[i].cond_ids for i in segmented], NO_ID))
        seg, _ = pool_by_id(projected, pad_rows([read.merged[i].seg_ids for i in segmented], NO_ID))
        asked = [read.targets[i] for i in segmented]
        if grounding is not None and hears:
            losses["loss_boxes"] = BOX_WEIGHT * grounding.box_loss(conditions, seg[:, 0], asked)
        if kind == "alignment":
            return losses
    pixels = model.segmentor.features(model.connector(maps.pyramid))
    about = read.owner[entries]
    if grounding is not None:
        levels = pixels.level_features
        of_levels = WORD_WEIGHT * grounding.level_word_loss(levels, cells, told)
        losses["loss_words"] = losses["loss_words"] + of_levels if hears else of_levels
        cell_loss = grounding.cell_loss(conditions, valid, seg[:, 0], asked, levels[-1], about)
        losses["loss_cells"] = CELL_WEIGHT * cell_loss
    laid_out = model.with_background(conditions, valid)
    predictions = model.segmentor(pixels, about, seg[:, 0], laid_out.embeddings, laid_out.valid)
    weight = model.config.losses.segmentation_weight
    with torch.autocast(device.type, enabled=False):  # sums over thousands of points don't fit into half precision
        for name, term in segmentation_losses(predictions, asked, model.config.losses, points).items():
            losses[name] = weight * term
    return losses


def _read(
    model: XSam, pictures: Sequence[AskedPicture], tokens: Tensor, token_map: Tensor, *, with_attention: bool
) -> _Read:
    """All questions, each continuing its picture's tokens (B, T, W); regions are sampled from (B, W, h, w)."""
    device = model.device
    texts = [conversation.after_image() for picture in pictures for conversation in picture.conversations]
    # One look-up for all: each would cost a gradient of the whole table.
    ids = torch.from_numpy(np.concatenate([text.input_ids for text in texts])).to(device)
    words = iter(model.language.embed(ids.clamp(min=0)).split([len(text) for text in texts]))
    prefixes, merged, owners, tasks, targets = [], [], [], [], []
    for index, picture in enumerate(pictures):
        prefixes.append(model.merge_tokens(picture.conversations[0].through_image(), tokens[index]))
        for number, conversation in enumerate(picture.conversations):
            where = picture.points[number].to(device)
            regions = None
            if len(where):
                own_map = token_map[index : index + 1].expand(len(where), -1, -1, -1)
                regions = model.region_embeddings(own_map, where)
            merged.append(model.merge_tokens(conversation.after_image(), regions=regions, words=next(words)))
            owners.append(index)
            tasks.append(picture.tasks[number])
            target = picture.targets[number]
            targets.append(Target(target.masks.to(device).float(), target.classes.to(device)))
    owner = torch.tensor(owners, device=device)
    prefix = model.image_prefix(prefixes)
    shown = token_map.shape[-1] ** 2 if with_attention else 0
    states, attention = _states_and_looks(model, merged, prefix, owner, shown)
    return _Read(merged, states, attention, owner, tasks, targets)


def _states_and_looks(
    model: XSam, merged: Sequence[Merged], prefix: Prefix, owner: Tensor, shown: int
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Language states (P, L, W) of questions of any length, and their attention (P, heads, L, shown) per layer to the
    last ``shown`` tokens of their pictures' prefixes; none if that is 0.

    Questions of like length go together: padded to the longest of all, most of the tokens would be padding.
    """
    lengths = [len(one.embeddings) for one in merged]
    groups: dict[int, list[int]] = {}
    for index, length in enumerate(lengths):
        groups.setdefault(length.bit_length(), []).append(index)
    longest = max(lengths)
    states: list[Tensor] = []
    looks: list[tuple[Tensor, ...]] = []
    for group in groups.values():
        embeddings = pad_rows([merged[i].embeddings for i in group])
        lack = longest - embeddings.shape[1]
        cache = model.language.new_cache(prefix.select(owner[group]))
        if shown:
            of_group, attention = model.language.states_and_attention(embeddings, cache)
            seen = slice(prefix.length - shown, prefix.length)
            looks.append(tuple(F.pad(of_layer[..., seen], (0, 0, 0, lack)) for of_layer in attention))
        else:
            of_group = model.language.states(embeddings, cache)
        states.append(F.pad(of_group, (0, 0, 0, lack)))
    order = torch.tensor([i for group in groups.values() for i in group], device=owner.device).argsort()
    return torch.cat(states)[order], tuple(torch.cat(of_layer)[order] for of_layer in zip(*looks, strict=True))


def _language_losses(model: XSam, read: _Read, side: int, grounding: Grounding | None) -> dict[str, Tensor]:
    """What should have been said, and where it should have been looked: the picture's tokens are side x side."""
    losses: dict[str, Tensor] = {}
    labels = pad_rows([m.labels for m in read.merged], IGNORE_LABEL).to(model.device)
    if grounding is not None:
        losses["loss_looks"] = grounding.look_loss(
            read.attention,
            side,
            pad_rows([m.cond_ids for m in read.merged], NO_ID).to(model.device),
            pad_rows([m.seg_ids for m in read.merged], NO_ID).to(model.device),
            labels != IGNORE_LABEL,
            read.targets,
        )
    answered = labels[:, 1:] != IGNORE_LABEL
    said = language_loss(model.language.logits(read.states[:, :-1][answered]), labels[:, 1:][answered])
    losses["loss_llm"] = model.config.losses.language_weight * said
    return losses
