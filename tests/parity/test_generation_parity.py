"""Generation over a picture's prefix against the recorded generations, free and with given tokens, to the results."""

from functools import partial
from typing import Any

import pytest
import torch
from recordings import Recording, assert_close, each_recording, each_result, tokenizer, tokens
from reference_model import lay_out, pixels, reference_config, reference_model
from result_checks import VOID, assert_result, assert_same_labels, painted

from xsam_backend.model import wording
from xsam_backend.model.chat_templates import CHAT_TEMPLATES, stop_ids
from xsam_backend.model.conversation import NO_ID, generated_ids_to_phrases, special_ids
from xsam_backend.model.generation import Generated, generate
from xsam_backend.model.predictor import Predictor
from xsam_backend.model.xsam import ImageFeatures, pool_by_id
from xsam_backend.prompts import Prompt, Task

HIDDEN = 1e-4


def generated_case(recording: Recording) -> bool:
    return recording.is_generated


def written(recording: Recording, *, over_prefix: bool) -> tuple[ImageFeatures, torch.Tensor, Generated]:
    """(picture, prompt's condition ids, what was generated); the whole prompt is read at once, or over the prefix."""
    model = reference_model()
    picture = model.encode(*pixels(recording))
    conversation = tokens(recording)
    opening = model.merge_tokens(conversation.through_image(), picture.tokens[0])
    rest = model.merge_tokens(conversation.after_image())
    whole = torch.cat([opening.embeddings, rest.embeddings])
    forced = recording.facts["forced_ids"]
    answer = generate(
        model.language,
        rest.embeddings if over_prefix else whole,
        model.image_prefix([opening]) if over_prefix else None,
        stop_ids=stop_ids(tokenizer(), CHAT_TEMPLATES["phi3_chat"]),
        max_new_tokens=recording.facts["max_new_tokens"],
        forced=None if forced is None else tuple(forced),
    )
    return picture, torch.cat([opening.cond_ids, rest.cond_ids]), answer


@pytest.mark.parametrize("over_prefix", [True, False], ids=["over prefix", "whole prompt"])
@each_recording(generated_case)
@torch.no_grad()
def test_tokens_logits_and_states(recording: Recording, over_prefix: bool) -> None:
    _, _, ours = written(recording, over_prefix=over_prefix)
    assert list(ours.token_ids) == recording.facts["generated_ids"] == recording.tensors["generated_ids"][0].tolist()
    assert_close(ours.logits, recording.tensors["llm.step_logits"], HIDDEN, "logits of each step")
    recorded = recording.tensors["llm.output_last_hidden_state"]
    assert_close(ours.states, recorded[:, recorded.shape[1] - ours.states.shape[1] :], HIDDEN, "states")
    prompt = recording.tensors["llm.input_last_hidden_state"]
    seen = ours.states[:, : ours.states.shape[1] - len(ours.token_ids) + 1]
    assert_close(seen, prompt[:, prompt.shape[1] - seen.shape[1] :], HIDDEN, "states of the prompt")
    projected = reference_model().project(ours.states)
    recorded = recording.tensors["llm.projector_output"]
    assert_close(projected, recorded[:, recorded.shape[1] - projected.shape[1] :], HIDDEN, "projector")


def pooling_ids(prompt: torch.Tensor, answer: Generated) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids (1, L) for conditions and ``<SEG>``: generated conditions replace the prompt's."""
    conditions, seg = map(torch.from_numpy, generated_ids_to_phrases(answer.token_ids, special_ids(tokenizer())))
    nothing = torch.full_like(prompt, NO_ID)
    if (conditions >= 0).any():
        cond_ids = torch.cat([nothing, conditions])
    else:
        cond_ids = torch.cat([prompt, torch.full_like(conditions, NO_ID)])
    return cond_ids[None], torch.cat([nothing, seg])[None]


@each_recording(generated_case)
@torch.no_grad()
def test_pooled_embeddings(recording: Recording) -> None:
    _, prompt, answer = written(recording, over_prefix=False)
    projected = reference_model().project(answer.states)
    cond_ids, seg_ids = pooling_ids(prompt, answer)
    assert_close(pool_by_id(projected, cond_ids)[0][0], recording.tensors["cond_embeds_raw.0"], HIDDEN, "conditions")
    assert_close(pool_by_id(projected, seg_ids)[0][0], recording.tensors["seg_embeds_raw.0"], HIDDEN, "SEG")


@each_recording(lambda recording: recording.is_generated and "class_queries_logits" in recording.tensors)
@torch.no_grad()
def test_decoder_logits(recording: Recording) -> None:
    classes, masks = segmented(recording)
    assert_close(classes[None], recording.tensors["class_queries_logits"], HIDDEN, "class logits")
    assert_close(masks[None], recording.tensors["masks_queries_logits_lowres"], HIDDEN, "mask logits")


@each_result(lambda recording, variant: recording.is_generated)
@torch.no_grad()
def test_results(recording: Recording, variant: str, settings: dict[str, Any], sample: int) -> None:
    assert_result(recording, variant, settings, sample, *segmented(recording))


def segmented(recording: Recording) -> tuple[torch.Tensor, torch.Tensor]:
    model = reference_model()
    picture, prompt, answer = written(recording, over_prefix=False)
    ids = pooling_ids(prompt, answer)
    conditions, seg, owner = lay_out(model, model.project(answer.states), *ids, recording.task)
    found = model.segmentor(picture.pixels, owner, seg, conditions.embeddings, conditions.valid)
    return found.class_logits[-1][0], found.mask_logits()[0]


def recorded_predictor() -> Predictor:
    return Predictor(reference_model(), tokenizer(), "recorded")


def test_predictor_writes_the_recorded_caption_with_its_masks(monkeypatch: pytest.MonkeyPatch) -> None:
    recording = Recording("predict_gcgseg_forced_image1")
    forced = partial(generate, forced=tuple(recording.facts["forced_ids"]))
    monkeypatch.setattr(wording, "generate", forced)
    predictor = recorded_predictor()
    answer = predictor.answer(predictor.encode(recording.image()), Prompt(Task.GCG))
    assert answer.text == "A red ball lies near a blue box."
    assert answer.instances.labels == ("red ball", "blue box")
    assert [answer.text[start:end] for start, end in answer.phrase_spans] == ["red ball", "blue box"]
    scores = [segment["score"] for segment in recording.result_info("gcgseg")]
    assert answer.instances.scores.tolist() == pytest.approx(scores, abs=HIDDEN)
    masks = torch.from_numpy(answer.instances.masks)
    assert_same_labels(painted(masks, VOID, first=1), recording.result("gcgseg", "segmentation"))


def test_two_seg_in_an_answer_give_no_segmentation(monkeypatch: pytest.MonkeyPatch) -> None:
    recording = Recording("predict_genseg_two_seg_image1")
    assert recording.facts["seg_outputs"] is None
    _, seg_ids = generated_ids_to_phrases(recording.facts["generated_ids"], special_ids(tokenizer()))
    assert int(seg_ids.max()) == 1, "two of them"
    special = special_ids(tokenizer())
    named = (special.phrase_open, 372, special.phrase_close)  # so that only the count of SEG speaks against it
    forced = partial(generate, forced=(*named, *recording.facts["generated_ids"]))
    monkeypatch.setattr(wording, "generate", forced)
    predictor = recorded_predictor()
    answer = predictor.answer(predictor.encode(recording.image()), Prompt(Task.GCG))
    assert len(answer.instances) == 0
    assert answer.reason


@each_result(lambda recording, variant: variant in ("refseg", "reaseg") and not recording.is_generated)
def test_predictor_answers_phrases_as_recorded(
    recording: Recording, variant: str, settings: dict[str, Any], sample: int
) -> None:
    phrase = recording.samples[0]["conversation"][0]["input"].split("<p>")[1].split("</p>")[0]
    predictor = recorded_predictor()
    assert reference_config().use_bos, "the reference's evaluation starts with BOS"
    answer = predictor.answer(
        predictor.encode(recording.image()), Prompt(Task(recording.task), phrase=phrase, score_threshold=0.0)
    )
    assert answer.instances.scores.tolist() == pytest.approx([recording.result_info(variant)["score"]], abs=HIDDEN)
    found = torch.where(torch.from_numpy(answer.instances.masks[0]), 1, VOID)
    assert_same_labels(found, recording.result(variant, "segmentation"))
