"""A click answered without anything that makes ours fast: the yardstick of the "interactive" suite.

Everything is computed for the one question: the picture is encoded, the language model reads picture and question
together and writes its answer token by token, and every query's mask is brought to the picture's size. The decision
is ours, so the mask has to be the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from statistics import median

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.report import seconds_of
from xsam_backend.geometry.masks import mask_iou, parts_touching
from xsam_backend.model import postprocess
from xsam_backend.model.encoded import Encoded
from xsam_backend.model.generation import generate
from xsam_backend.model.hints import clicks
from xsam_backend.model.image_processor import frame_regions
from xsam_backend.model.image_state import ImageState
from xsam_backend.model.interactive_choice import vote
from xsam_backend.model.picture_frame import upscale
from xsam_backend.model.predictor import Predictor
from xsam_backend.model.turns import interactive_turn
from xsam_backend.prompts import Point, Prompt, Task
from xsam_backend.region_masks import regions_mask


@dataclass(frozen=True, eq=False)
class PlainAnswer:
    """What a click means.

    Attributes:
        mask: bool (H, W).
        log_odds: (h, w) over the padded frame, above 0 inside the mask.
    """

    mask: NDArray[np.bool_]
    log_odds: Tensor


@torch.inference_mode()
def plain_click(predictor: Predictor, image: NDArray[np.uint8], point: Point) -> PlainAnswer:
    """A click on a picture, uint8 (H, W, 3), whose windows aren't looked at."""
    dialogue, model = predictor.dialogue, predictor.model
    size_hw = image.shape[0], image.shape[1]
    encoded = Encoded(model.features(dialogue.look([image])), None)
    framed = frame_regions(regions_mask([point], size_hw)[None], dialogue.processor.seg_size)
    regions = dialogue.embedded(encoded, framed)

    question = dialogue.tokenize(interactive_turn(), with_answer=False)
    whole = dialogue.tokenize(interactive_turn(), with_answer=True)
    asked = model.merge_tokens(question, encoded.features.tokens[0], regions=regions)
    ids = model.merge_tokens(whole, encoded.features.tokens[0], regions=regions)
    answer = tuple(whole.input_ids[len(question) :].tolist())
    written = generate(
        model.language,
        asked.embeddings,
        None,
        stop_ids=frozenset(),
        max_new_tokens=len(answer),
        forced=answer,
    )
    count = written.states.shape[1]
    cond_ids, seg_ids = (rows[None, :count] for rows in (ids.cond_ids, ids.seg_ids))
    ((class_logits, mask_logits),) = dialogue.segment(encoded, model.project(written.states), cond_ids, seg_ids)

    frame = dialogue.frame(image)
    every_mask = upscale(mask_logits, frame) > 0
    assert len(every_mask) == predictor.queries
    scores = postprocess.class_scores(class_logits)[:, 0]
    found = vote(scores, mask_logits, frame, framed[0], clicks_xy=clicks([point]))
    return PlainAnswer(parts_touching(found.mask(frame), regions_mask([point], size_hw)), found.log_odds)


LEAST_IOU, MOST_APART = 0.9, 0.5
"""Answers further apart, in their masks or in log odds before they are cut, aren't equal. In float32 they are within
a thousandth of both; bfloat16 moves rims."""

COLUMNS = (
    "size",
    "clicks",
    "plain, ms",
    "warm, ms",
    "plain / warm",
    "least IoU of both masks",
    "masks' least share of the picture",
    "their largest",
    "log odds apart, at most",
)


def compared(
    size: str, predictor: Predictor, image: NDArray[np.uint8], warm: ImageState, places: Sequence[Point]
) -> tuple[str | float, ...]:
    """A row: both answers to a click on each of some places, by turns, and how equal they are. Times are medians.

    Args:
        warm: the picture's state.

    Raises:
        ValueError: a mask is empty, or the whole picture: equal ones would prove nothing. Or answers aren't equal:
            then their times prove nothing.
    """
    asked = [Prompt(Task.INTERACTIVE, (place,), score_threshold=0.0) for place in places]
    ours = [predictor.answer(warm, prompt).instances.masks for prompt in asked]
    shares = [float(masks.mean()) if len(masks) else 0.0 for masks in ours]
    if not all(0 < share < 1 for share in shares):
        raise ValueError(
            f"expected masks that are neither empty nor everything, got shares {shares}: click elsewhere"
        )
    plain_s, warm_s, ious, apart = [], [], [], []
    for place, prompt, masks in zip(places, asked, ours, strict=True):
        theirs: list[PlainAnswer] = []

        def answer_plainly(place: Point = place, into: list[PlainAnswer] = theirs) -> None:
            into.append(plain_click(predictor, image, place))

        plain_s.append(seconds_of(answer_plainly))
        warm_s.append(seconds_of(partial(predictor.answer, warm, prompt)))
        ious.append(mask_iou(masks[0], theirs[0].mask))
        log_odds = predictor.first_look(warm, prompt).log_odds
        apart.append(float((log_odds - theirs[0].log_odds).abs().max()))
    if min(ious) < LEAST_IOU or max(apart) > MOST_APART:
        raise ValueError(f"expected equal answers, got IoUs {ious} and log odds {apart} apart: one path is wrong")
    ratio = median(plain / fast for plain, fast in zip(plain_s, warm_s, strict=True))
    times = (median(plain_s) * 1000, median(warm_s) * 1000, ratio)
    return (size, len(places), *times, min(ious), min(shares), max(shares), max(apart))
