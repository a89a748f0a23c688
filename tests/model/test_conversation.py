"""Tokens of conversations beyond those recorded: other templates, history, cutting, and generated text."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer

from xsam_backend.errors import CheckpointError, PromptError
from xsam_backend.model.chat_templates import CHAT_TEMPLATES, stop_ids
from xsam_backend.model.conversation import (
    IGNORE_LABEL,
    IMAGE_INDEX,
    REGION_INDEX,
    SpecialIds,
    add_special_tokens,
    condition_ids,
    generated_ids_to_phrases,
    phrase_text,
    special_ids,
    split_phrases,
    tokenize,
)
from xsam_backend.model.turns import (
    Turn,
    conversation_turn,
    gcg_turn,
    generic_turn,
    interactive_turn,
    referring_turn,
    vgd_turn,
)

RECORDED_TOKENIZER = Path(__file__).parents[1] / "recorded" / "xsam_reference" / "tokenizer"
PHI3 = CHAT_TEMPLATES["phi3_chat"]
IDS = SpecialIds(seg=7, phrase_open=8, phrase_close=9)


def bare_tokenizer() -> Any:
    return AutoTokenizer.from_pretrained(RECORDED_TOKENIZER)


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    loaded = bare_tokenizer()
    add_special_tokens(loaded)
    return loaded


@pytest.mark.parametrize("template", CHAT_TEMPLATES)
def test_every_template_keeps_the_parts_apart(tokenizer: Any, template: str) -> None:
    whole = tokenize([vgd_turn(2)], tokenizer, CHAT_TEMPLATES[template], with_answer=True)
    asked = tokenize([vgd_turn(2)], tokenizer, CHAT_TEMPLATES[template], with_answer=False)
    assert whole.input_ids[: len(asked)].tolist() == asked.input_ids.tolist(), (
        "the answer must not change the question"
    )
    assert (asked.labels == IGNORE_LABEL).all()
    assert (whole.n_conditions, whole.n_regions, whole.n_segmentations) == (2, 2, 1)
    assert whole.cond_ids[whole.input_ids == REGION_INDEX].tolist() == [0, 1]
    learned = whole.labels != IGNORE_LABEL
    assert whole.labels[learned].tolist() == whole.input_ids[learned].tolist()
    assert whole.labels[whole.seg_ids == 0].tolist() == [special_ids(tokenizer).seg]


def test_the_prefix_through_the_image_is_the_same_for_every_question(tokenizer: Any) -> None:
    prefixes = {
        tuple(tokenize(turns, tokenizer, PHI3, with_answer=False).through_image().input_ids.tolist())
        for turns in ([referring_turn("cat")], [gcg_turn()], [generic_turn(["a", "b"])], [interactive_turn()])
    }
    assert len(prefixes) == 1
    assert prefixes.pop()[-1] == IMAGE_INDEX


def test_a_conversation_goes_on_from_its_history(tokenizer: Any) -> None:
    history = [conversation_turn("Who is it?", "A cat."), conversation_turn("Where?")]
    ours = tokenize(history, tokenizer, PHI3, with_answer=False)
    first = tokenize(history[:1], tokenizer, PHI3, with_answer=True)
    second = tokenize(history[1:], tokenizer, PHI3, with_answer=False, bos=False, image=False)
    assert ours.input_ids.tolist() == [*first.input_ids.tolist(), *second.input_ids.tolist()]
    assert (ours.labels != IGNORE_LABEL).sum() == (first.labels != IGNORE_LABEL).sum() > 0


def test_a_tokenizer_without_bos_gets_none(tokenizer: Any) -> None:
    bare = bare_tokenizer()
    add_special_tokens(bare)
    bare.bos_token = None
    with_bos = tokenize([referring_turn("cat")], tokenizer, PHI3, with_answer=True)
    without = tokenize([referring_turn("cat")], bare, PHI3, with_answer=True)
    assert with_bos.input_ids.tolist() == [tokenizer.bos_token_id, *without.input_ids.tolist()]


def test_a_question_has_an_image_only_where_asked(tokenizer: Any) -> None:
    ours = tokenize([referring_turn("cat")], tokenizer, PHI3, with_answer=True, image=False)
    assert IMAGE_INDEX not in ours.input_ids
    with pytest.raises(PromptError, match="<image>"):
        ours.after_image()


def test_cutting_leaves_ids_of_what_is_left(tokenizer: Any) -> None:
    turns = [generic_turn(["cat", "dog", "bird"])]
    whole = tokenize(turns, tokenizer, PHI3, with_answer=True)
    inside_third = int(np.flatnonzero(whole.cond_ids == 2)[1])
    cut = tokenize(turns, tokenizer, PHI3, with_answer=True, max_length=inside_third)
    assert cut.input_ids.tolist() == whole.input_ids[:inside_third].tolist()
    assert (cut.n_conditions, cut.n_segmentations) == (2, 0)
    same = tokenize(turns, tokenizer, PHI3, with_answer=True, max_length=len(whole), overlong="refuse")
    assert len(same) == len(whole)
    with pytest.raises(PromptError, match=f"at most {len(whole) - 1} tokens, the question has {len(whole)}"):
        tokenize(turns, tokenizer, PHI3, with_answer=True, max_length=len(whole) - 1, overlong="refuse")


@given(
    phrase=st.text(st.sampled_from("abc <>/p|SEGend"), max_size=30).filter(
        lambda text: any(letter in "abc" for letter in text)
    )
)
def test_no_phrase_changes_the_number_of_conditions(tokenizer: Any, phrase: str) -> None:
    ours = tokenize([referring_turn(phrase + "x")], tokenizer, PHI3, with_answer=True)
    assert (ours.n_conditions, ours.n_segmentations) == (1, 1)
    assert (ours.input_ids == IMAGE_INDEX).sum() == 1


@pytest.mark.parametrize(
    ("turns", "with_answer"),
    [
        ([], False),
        ([gcg_turn()], True),  # nothing to read
        ([gcg_turn(), referring_turn("cat")], False),  # a gap in the history
    ],
)
def test_missing_answers_are_refused(tokenizer: Any, turns: list[Turn], with_answer: bool) -> None:
    with pytest.raises(ValueError, match="an answer for each"):
        tokenize(turns, tokenizer, PHI3, with_answer=with_answer)


def test_a_tokenizer_without_our_tokens_is_refused_by_name() -> None:
    bare = bare_tokenizer()
    bare.add_tokens(["<p>"], special_tokens=True)
    with pytest.raises(CheckpointError, match=r"lacks <SEG>, </p>"):
        special_ids(bare)


def test_added_tokens_follow_the_vocabulary_in_order() -> None:
    bare = bare_tokenizer()
    size = len(bare)
    add_special_tokens(bare)
    add_special_tokens(bare)  # a second time adds nothing
    assert special_ids(bare) == SpecialIds(size, size + 1, size + 2)


def test_stop_ids(tokenizer: Any) -> None:
    assert stop_ids(tokenizer, PHI3) == {tokenizer.convert_tokens_to_ids("<|end|>")}
    with pytest.raises(CheckpointError, match=r"lacks <\|im_end\|>"):
        stop_ids(tokenizer, CHAT_TEMPLATES["qwen3_instruct"])


@pytest.mark.parametrize(
    ("ids", "conditions"),
    [
        ([1, 8, 2, 9, 3], [-1, 0, 0, 0, -1]),
        ([8, 9, 8, 9], [0, 0, 1, 1]),
        ([8, 2, 3], [-1, -1, -1]),  # never closed
        ([2, 9, 3], [-1, -1, -1]),  # never opened
        ([9, 8, 2], [-1, -1, -1]),  # closed before it opens
        ([8, 1, 8, 2, 9, 3, 9], [0, 0, 1, 1, 1, 1, 1]),  # nested: first with first, the later one wins
    ],
)
def test_condition_ids(ids: list[int], conditions: list[int]) -> None:
    assert condition_ids(np.array(ids), IDS).tolist() == conditions


@pytest.mark.parametrize(
    ("generated", "conditions", "segmentation"),
    [
        ([8, 2, 9, 7, 5], [0, 0, 0, -1], [-1, -1, -1, 0]),
        ([8, 2, 9, 7], [0, 0, 0], [-1, -1, -1]),  # the last token is never read: no <SEG>
        ([7, 7, 5], [-1, -1], [0, 1]),
        ([5], [], []),
        ([], [], []),
    ],
)
def test_generated_ids(generated: list[int], conditions: list[int], segmentation: list[int]) -> None:
    ours = generated_ids_to_phrases(generated, IDS)
    assert [ids.tolist() for ids in ours] == [conditions, segmentation]


@pytest.mark.parametrize(
    ("generated", "shown"),
    [
        ("It is <SEG> .<|end|>", "It is <SEG> ."),
        ("A <p> cat</p>  sits.<|end|>", "A cat sits."),
    ],
)
def test_text_of_tasks_without_tags(generated: str, shown: str) -> None:
    assert phrase_text(generated, PHI3, keep_tags=False) == shown


@pytest.mark.parametrize(
    ("text", "words", "phrases"),
    [
        ("A <p>cat</p> sits. And <SEG> .", "A cat sits.", ["cat"]),
        ("A <p>cat</p> sits. The segmentation mask is <SEG>.", "A cat sits.", ["cat"]),
        ("It is <SEG>.", "", []),
        ("<p>A cat</p>", "A cat", ["A cat"]),
        ("A <p>cat", "A cat", []),  # cut off by the length of generation
        ("<p></p>nothing", "nothing", [""]),  # still a condition, so still a span
        ("an island", "an island", []),  # "is" and "and" are not its endings
    ],
)
def test_split_phrases(text: str, words: str, phrases: list[str]) -> None:
    ours, spans = split_phrases(text)
    assert ours == words
    assert [ours[start:end] for start, end in spans] == phrases
