"""Texts and token ids of every recorded case, made by our builders, equal the recorded ones exactly."""

import json

import numpy as np
import pytest
from recordings import ROOT, Recording, each_recording, tokenizer, tokens, turns

from xsam_backend.model import wordings
from xsam_backend.model.chat_templates import CHAT_TEMPLATES
from xsam_backend.model.conversation import (
    IMAGE_INDEX,
    generated_ids_to_phrases,
    phrase_text,
    render,
    special_ids,
    split_phrases,
    tokenize,
)
from xsam_backend.model.turns import clean_category, referring_turn

PHI3 = CHAT_TEMPLATES["phi3_chat"]
FACTS = json.loads((ROOT / "prompts.json").read_text())


def assert_same_text(recording: Recording) -> None:
    for sample, recorded in enumerate(recording.samples):
        for (question, answer), turn in zip(
            render(turns(recording, sample), PHI3), recorded["conversation"], strict=True
        ):
            assert question == turn["input"]
            assert answer == turn["output"] or not turn["output"]


def assert_same_tokens(recording: Recording) -> None:
    for sample, recorded in enumerate(recording.samples):
        ours = tokens(recording, sample)
        for name in ("input_ids", "labels", "cond_ids", "seg_ids"):
            expected = recorded[name] if recorded[name] is not None else [-1] * len(ours)
            assert getattr(ours, name).tolist() == expected, name


@each_recording()
def test_text_of_each_case(recording: Recording) -> None:
    assert_same_text(recording)


@each_recording()
def test_tokens_of_each_case(recording: Recording) -> None:
    assert_same_tokens(recording)


@each_recording(train=True)
def test_text_of_training_cases(recording: Recording) -> None:
    assert_same_text(recording)


@each_recording(train=True)
def test_tokens_of_training_cases(recording: Recording) -> None:
    assert_same_tokens(recording)


def test_bos_is_the_only_difference_it_makes() -> None:
    recorded = json.loads((ROOT / "cases" / "tokenization_bos.json").read_text())
    asked = [referring_turn("red ball on the left")]
    for bos, name in ((True, "with_bos"), (False, "without_bos")):
        ours = tokenize(asked, tokenizer(), PHI3, with_answer=False, bos=bos)
        assert ours.input_ids.tolist() == recorded[name]


@each_recording(lambda recording: len(recording.samples) == 1)
def test_the_question_is_read_over_the_same_prefix(recording: Recording) -> None:
    whole = tokens(recording)
    prefix, rest = whole.through_image(), whole.after_image()
    assert prefix.input_ids.tolist() == [1, 524, IMAGE_INDEX]
    assert np.concatenate([prefix.input_ids, rest.input_ids]).tolist() == whole.input_ids.tolist()
    assert (prefix.cond_ids == -1).all()
    assert rest.n_conditions == whole.n_conditions


@each_recording(lambda recording: recording.is_generated)
def test_phrases_and_segmentation_in_generated_ids(recording: Recording) -> None:
    """Pooling lists in call order: prompt's conditions if any, generated ones if any, segmentation."""
    special = special_ids(tokenizer())
    conditions, segmentation = generated_ids_to_phrases(recording.facts["generated_ids"], special)
    prompt = len(recording.tensors["merged.input_ids"][0])
    recorded = [ids[0].tolist() for ids in recording.tensors.numbered("index_ids")]
    ours = [[-1] * prompt + conditions.tolist()] if (conditions >= 0).any() else []
    ours.append([-1] * prompt + segmentation.tolist())
    assert recorded[-len(ours) :] == ours
    assert max(segmentation) == (1 if recording.facts["seg_outputs"] is None else 0)


@each_recording(lambda recording: recording.is_generated)
def test_generated_text_decodes_as_recorded(recording: Recording) -> None:
    assert tokenizer().decode(recording.facts["generated_ids"]) == recording.facts["generated_text"]


def test_generated_caption_for_people() -> None:
    generated = Recording("predict_gcgseg_forced_image1").facts["generated_text"]
    tagged = phrase_text(generated, PHI3, keep_tags=True)
    assert tagged == "A <p>red ball</p> lies near a <p>blue box</p>. <SEG> ."
    words, spans = split_phrases(tagged)
    assert words == "A red ball lies near a blue box."
    assert [words[start:end] for start, end in spans] == ["red ball", "blue box"]


@pytest.mark.parametrize("name", FACTS["chat_templates"])
def test_chat_templates_as_recorded(name: str) -> None:
    recorded, ours = FACTS["chat_templates"][name], CHAT_TEMPLATES[name]
    assert (ours.system, ours.instruction, ours.suffix) == (
        recorded["SYSTEM"],
        recorded["INSTRUCTION"],
        recorded["SUFFIX"],
    )
    assert (ours.separator, list(ours.stop_words)) == (recorded["SEP"], recorded["STOP_WORDS"])


@pytest.mark.parametrize(
    ("wording", "task", "question", "count", "answers"),
    [
        (wordings.GENERIC, "genseg", "first_question", "question_variants", "answers"),
        (wordings.GENERIC_CAPTION, "genseg", None, "caption_question_variants", "caption_answers"),
        (wordings.REFERRING, "refseg", "first_question", "question_variants", "answers"),
        (wordings.REASONING["long"], "reaseg", "first_long_question", "long", "answers"),
        (wordings.REASONING["short"], "reaseg", "first_short_question", "short", "answers"),
        (
            wordings.REASONING["explanatory"],
            "reaseg",
            "first_explanatory_question",
            "explanatory",
            "explained_answers",
        ),
        (wordings.GCG, "gcgseg", "first_question", "question_variants", "answers"),
        (wordings.VGD, "vgdseg", "first_question", "question_variants", "answers"),
    ],
)
def test_wordings_as_recorded(
    wording: wordings.Wording, task: str, question: str | None, count: str, answers: str
) -> None:
    facts = FACTS["tasks"][task]
    if question is not None:  # the caption questions were not recorded
        for placeholder in ("{categories}", "{phrase}", "{sent}", "{regions}"):
            facts = {**facts, question: facts[question].replace(placeholder, "{}")}
        assert wording.questions[0] == facts[question]
    assert len(wording.questions) == facts.get("variants", facts)[count]
    assert [answer.replace("{}", "{caption}") for answer in wording.answers] == facts[answers]


@pytest.mark.parametrize(
    ("name", "cleaned"),
    [
        ("floor-wood-merged", "floor wood"),
        ("Sky-Other", "sky other"),  # the suffix goes before lower-casing, so this one stays
        ("wall-other-stuff", "wall"),
        ("grass-merged", "grass"),
        ("sports ball", "sports ball"),
    ],
)
def test_category_cleaning_as_recorded(name: str, cleaned: str) -> None:
    assert clean_category(name) == cleaned
