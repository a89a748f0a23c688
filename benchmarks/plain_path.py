"""A click answered without anything that makes ours fast: the yardstick of the "interactive" suite.

Everything is computed for the one question: the picture is encoded, the language model reads picture and question
together and writes its answer token by token, and every query's mask is brought to the picture's size. The decision
is ours, so the mask has to be the same.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from xsam_backend.geometry.masks import parts_touching
from xsam_backend.model import postprocess
from xsam_backend.model.encoded import Encoded
from xsam_backend.model.generation import generate
from xsam_backend.model.hints import clicks
from xsam_backend.model.image_processor import frame_regions
from xsam_backend.model.interactive_choice import vote
from xsam_backend.model.picture_frame import upscale
from xsam_backend.model.predictor import Predictor
from xsam_backend.model.turns import interactive_turn
from xsam_backend.prompts import Point
from xsam_backend.region_masks import regions_mask


@torch.inference_mode()
def plain_click(predictor: Predictor, image: NDArray[np.uint8], point: Point) -> NDArray[np.bool_]:
    """bool (H, W), what a click means in a picture, uint8 (H, W, 3), whose windows aren't looked at."""
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
    found = vote(scores, mask_logits, frame, framed[0], clicks_xy=clicks([point])).mask(frame)
    return parts_touching(found, regions_mask([point], size_hw))
