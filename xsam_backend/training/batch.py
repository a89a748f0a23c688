"""A training batch: several pictures, several questions about each, and the losses of one pass over them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from xsam_backend.model.conversation import IGNORE_LABEL, NO_ID, TokenizedConversation
from xsam_backend.model.image_processor import ImageProcessorConfig, frame_masks, frame_regions, process_image
from xsam_backend.model.language import pad_rows
from xsam_backend.model.regions import region_points
from xsam_backend.model.xsam import XSam, phrase_conditions, pool_by_id
from xsam_backend.prompts import Task
from xsam_backend.training.grounding import WEIGHT as GROUNDING_WEIGHT
from xsam_backend.training.grounding import Grounding
from xsam_backend.training.losses import PointSource, Target, language_loss, segmentation_losses
from xsam_backend.training.questions import Question

PHRASE_TASKS = (Task.REFERRING, Task.REASONING)


@dataclass(frozen=True)
class AskedPicture:
    """One picture and its questions, as tensors.

    Attributes:
        vision_pixels, segmentor_pixels: (3, V, V) and (3, S, S).
        conversations: one per question, the picture's placeholder included.
        tasks: one per question.
        points: float (R, P, 2) region points per question, R may be 0.
        targets: what each question should find.
    """

    vision_pixels: Tensor
    segmentor_pixels: Tensor
    conversations: tuple[TokenizedConversation, ...]
    tasks: tuple[Task, ...]
    points: tuple[Tensor, ...]
    targets: tuple[Target, ...]


def prepare(
    image: np.ndarray[Any, np.dtype[np.uint8]],
    questions: Sequence[Question],
    conversations: Sequence[TokenizedConversation],
    processor: ImageProcessorConfig,
    points_per_region: int,
    generator: torch.Generator,
) -> AskedPicture:
    """Tensors of one picture (uint8 (H, W, 3)) and its questions, whose conversations are tokenised already."""
    processed = process_image(image, processor)
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
    return AskedPicture(
        vision_pixels=processed.vision_pixels,
        segmentor_pixels=processed.seg_pixels,
        conversations=tuple(conversations),
        tasks=tuple(question.task for question in questions),
        points=tuple(points),
        targets=tuple(targets),
    )


def batch_losses(
    model: XSam,
    pictures: Sequence[AskedPicture],
    points: PointSource,
    grounding: Grounding | None = None,
    *,
    aligning: bool = False,
) -> dict[str, Tensor]:
    """All loss terms of one forward pass; their sum is what is minimised.

    Pictures are encoded once and their tokens read once; every question continues its own picture's prefix. With
    ``grounding``, its loss is one more term, ``loss_grounding``. While ``aligning``, nothing is segmented.
    """
    device = model.device
    maps = model.segmentor_encoder(torch.stack([p.segmentor_pixels for p in pictures]).to(device))
    tokens, token_map = model.picture_tokens(torch.stack([p.vision_pixels for p in pictures]).to(device), maps)
    texts = [conversation.after_image() for picture in pictures for conversation in picture.conversations]
    # One look-up for all: each would cost a gradient of the whole table.
    ids = torch.from_numpy(np.concatenate([text.input_ids for text in texts])).to(device)
    words = iter(model.language.embed(ids.clamp(min=0)).split([len(text) for text in texts]))
    prefixes, rests, owners, tasks, targets = [], [], [], [], []
    for index, picture in enumerate(pictures):
        for number, conversation in enumerate(picture.conversations):
            if number == 0:
                prefixes.append(model.merge_tokens(conversation.through_image(), tokens[index]))
            where = picture.points[number].to(device)
            regions = None
            if len(where):
                own_map = token_map[index : index + 1].expand(len(where), -1, -1, -1)
                regions = model.region_embeddings(own_map, where)
            rests.append(model.merge_tokens(conversation.after_image(), regions=regions, words=next(words)))
            owners.append(index)
            tasks.append(picture.tasks[number])
            target = picture.targets[number]
            targets.append(Target(target.masks.to(device).float(), target.classes.to(device)))
    owner = torch.tensor(owners, device=device)
    states = model.text_states(rests, model.image_prefix(prefixes), owner)
    labels = pad_rows([m.labels for m in rests], IGNORE_LABEL)
    answered = labels[:, 1:] != IGNORE_LABEL
    losses = {
        "loss_llm": model.config.losses.language_weight
        * language_loss(model.language.logits(states[:, :-1][answered]), labels[:, 1:][answered])
    }
    segmented = [i for i, task in enumerate(tasks) if task is not Task.CONVERSATION]
    if segmented:
        entries = torch.tensor(segmented, device=device)
        projected = model.project(states[entries])
        cond_ids = pad_rows([rests[i].cond_ids for i in segmented], NO_ID)
        seg_ids = pad_rows([rests[i].seg_ids for i in segmented], NO_ID)
        conditions, valid = pool_by_id(projected, cond_ids)
        seg, _ = pool_by_id(projected, seg_ids)
        if grounding is not None:
            asked_targets = [targets[i] for i in segmented]
            losses["loss_grounding"] = GROUNDING_WEIGHT * grounding.loss(conditions, seg[:, 0], asked_targets)
        if aligning:
            return losses
        by_phrase = torch.tensor([tasks[i] in PHRASE_TASKS for i in segmented], device=device)
        conditions, valid, shift = _layout(conditions, valid, by_phrase, owner[entries])
        laid_out = model.with_background(conditions, valid)
        pixels = model.segmentor.features(model.connector(maps.pyramid))
        predictions = model.segmentor(pixels, owner[entries], seg[:, 0], laid_out.embeddings, laid_out.valid)
        shifted = [Target(targets[i].masks, targets[i].classes + int(shift[row])) for row, i in enumerate(segmented)]
        weight = model.config.losses.segmentation_weight
        for name, term in segmentation_losses(predictions, shifted, model.config.losses, points).items():
            losses[name] = weight * term
    return losses


def _layout(conditions: Tensor, valid: Tensor, by_phrase: Tensor, owner: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """One table of conditions for list questions and phrase questions together.

    Phrase questions see the other phrases of their own picture, as competitors; list questions see their list.
    Returns (E, M, D), bool (E, M) and int64 (E,): where each entry's own conditions start.
    """
    shift = torch.zeros(len(valid), dtype=torch.long, device=valid.device)
    if not by_phrase.any():
        return conditions, valid, shift
    phrases, agrees = phrase_conditions(conditions[by_phrase][:, :1], valid[by_phrase][:, :1], owner[by_phrase])
    shift[by_phrase] = torch.arange(len(phrases), device=valid.device)
    width = max(conditions.shape[1], phrases.shape[1])
    table = conditions.new_zeros(len(conditions), width, conditions.shape[2])
    shown = valid.new_zeros(len(valid), width)
    table[:, : conditions.shape[1]] = conditions
    shown[:, : valid.shape[1]] = valid
    table[by_phrase] = 0
    shown[by_phrase] = False
    rows = by_phrase.nonzero().flatten()
    table[rows, : phrases.shape[1]] = phrases.to(table.dtype)
    shown[rows, : agrees.shape[1]] = agrees
    return table, shown, shift
