"""Answers to words: what a phrase or a question means, captions with masks, conversation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np
import torch
from torch import Tensor

from xsam_backend.errors import PromptError
from xsam_backend.instances import Answer, Instances
from xsam_backend.model import postprocess
from xsam_backend.model.candidates import named
from xsam_backend.model.chat_templates import stop_ids
from xsam_backend.model.conversation import generated_ids_to_phrases, phrase_text, special_ids, split_phrases
from xsam_backend.model.dialogue import Dialogue, Logits
from xsam_backend.model.generation import generate
from xsam_backend.model.image_state import ImageState
from xsam_backend.model.phrase_choice import vote_on_phrases
from xsam_backend.model.picture_frame import PictureFrame
from xsam_backend.model.turns import conversation_turn, gcg_turn, reasoning_turn, referring_turn
from xsam_backend.prompts import Prompt, Task

MAX_NEW_TOKENS = 512


class Wording:
    """Answers phrases, questions and wishes for a caption."""

    def __init__(self, dialogue: Dialogue) -> None:
        self._dialogue = dialogue
        self._special = special_ids(dialogue.tokenizer)
        self._stop_ids = stop_ids(dialogue.tokenizer, dialogue.template)
        self._sharpness = dialogue.model.config.phrase_sharpness

    def phrases(self, state: ImageState, prompts: Sequence[Prompt], thresholds: Sequence[float]) -> list[Answer]:
        """The one thing that each phrase or question means."""
        turns = [
            (referring_turn if prompt.task is Task.REFERRING else reasoning_turn)(prompt.phrase) for prompt in prompts
        ]
        asked = self._dialogue.ask_together(state.encoded, [(turn, None) for turn in turns])
        return [
            self._meant(state, prompt, logits, threshold)
            for prompt, logits, threshold in zip(prompts, asked, thresholds, strict=True)
        ]

    def _meant(self, state: ImageState, prompt: Prompt, logits: Logits, threshold: float) -> Answer:
        found = self._best_masks(*logits, state.frame)
        score = float(found.scores[0])
        if score < threshold or found.cropped[0].is_empty:
            return Answer(
                Instances.empty(state.size_hw),
                reason=f"{prompt.phrase!r}: best score {score:.2f}, {threshold:.2f} needed",
            )
        return Answer(named(found, [prompt.label]))

    def written(self, state: ImageState, prompt: Prompt, threshold: float) -> Answer:
        """Captions with masks, and conversation: the words are generated.

        Raises:
            PromptError: the question leaves no room for an answer.
        """
        dialogue, model = self._dialogue, self._dialogue.model
        turn = gcg_turn() if prompt.task is Task.GCG else conversation_turn(prompt.phrase)
        asked = dialogue.tokenize(turn, with_answer=False).after_image()
        merged = model.merge_tokens(asked)
        room = min(MAX_NEW_TOKENS, model.config.max_text_tokens - len(asked))
        if room < 1:
            raise PromptError(
                f"a question of {len(asked)} tokens leaves the model none for its answer: ask in fewer words"
            )
        written = generate(
            model.language,
            merged.embeddings,
            state.encoded.whole_prefix,
            stop_ids=self._stop_ids,
            max_new_tokens=room,
        )
        decoded = cast(str, dialogue.tokenizer.decode(list(written.token_ids)))
        words = phrase_text(decoded, dialogue.template, keep_tags=True)
        text, spans = split_phrases(words)
        empty = Instances.empty(state.size_hw)
        if prompt.task is Task.CONVERSATION:
            return Answer(empty, text=text)
        cond_ids, seg_ids = generated_ids_to_phrases(written.token_ids, self._special)
        if not (cond_ids >= 0).any() or (seg_ids >= 0).sum() != 1:
            return Answer(empty, text=text, reason="the caption names nothing that it also segments")
        projected = model.project(written.states[:, len(merged.embeddings) :])
        ids = (torch.from_numpy(of_tokens)[None] for of_tokens in (cond_ids, seg_ids))
        ((class_logits, mask_logits),) = dialogue.segment(state.encoded, projected, *ids)
        found = self._best_masks(class_logits, mask_logits, state.frame)
        instances = named(found, [text[start:end] for start, end in spans])
        # A closing tag before its opening one counts as a pair, but has no words: its mask means nothing.
        said = np.isin(np.arange(len(instances)), cond_ids)
        is_somewhere = np.array([not mask.is_empty for mask in instances.cropped], np.bool_)
        kept = np.flatnonzero(said & is_somewhere & (instances.scores >= threshold))
        return Answer(instances.select(kept), text=text, phrase_spans=tuple(spans[i] for i in kept))

    def _best_masks(self, class_logits: Tensor, mask_logits: Tensor, frame: PictureFrame) -> postprocess.Detections:
        """One mask for each condition, by the model's rule."""
        if self._sharpness == 0:
            return postprocess.phrase_masks(class_logits, mask_logits, frame)
        return vote_on_phrases(class_logits, mask_logits, frame, self._sharpness)
