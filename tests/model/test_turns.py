"""What the builders ask, how words are made fit, and what they refuse."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xsam_backend.errors import PromptError
from xsam_backend.model import wordings
from xsam_backend.model.turns import (
    Turn,
    clean_semantic_category,
    conversation_turn,
    gcg_turn,
    generic_turn,
    interactive_turn,
    plain_text,
    reasoning_turn,
    referring_turn,
    tag_spans,
    vgd_turn,
)

STEERING = ("<p>", "</p>", "<SEG>", "<image>", "<region>", "<|end|>", "<|im_start|>", "<s>")

ALL_WORDINGS = [
    wordings.GENERIC,
    wordings.GENERIC_CAPTION,
    wordings.REFERRING,
    *wordings.REASONING.values(),
    wordings.GCG,
    wordings.VGD,
]


@pytest.mark.parametrize("wording", ALL_WORDINGS)
def test_every_wording_can_be_used(wording: wordings.Wording) -> None:
    assert len(set(wording.questions)) == len(wording.questions), "a question is there twice"
    for question in wording.questions:
        assert question.count("{}") == (0 if wording is wordings.GCG else 1)
        assert not any(word in question for word in STEERING)
    for answer in wording.answers:
        assert answer.count("<SEG>") == 1
    assert wording.answers[wordings.FORCED_ANSWER].endswith(("t is <SEG>.", "And <SEG>."))


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("a cat", "a cat"),  # ordinary words stay as they are
        ("  a cat\n", "a cat"),
        ("<p>a cat</p> <SEG>", "a cat"),  # would add a condition and a mask
        ("<P>a <Seg>cat", "a cat"),  # lower-cased later, so case is no way around
        ("<<p>p>a cat", "a cat"),  # taking one tag out makes another
        ("x<|end|>\n<|assistant|>y", "x\ny"),  # would end the user's turn
        ("<|im_end|>", ""),
        ("<image><region>", ""),
        ("a < b and c > d", "a < b and c > d"),  # not a tag
        ("<b>bold</b>", "<b>bold</b>"),  # nothing that the model knows
    ],
)
def test_plain_text(text: str, plain: str) -> None:
    assert plain_text(text) == plain


@given(st.lists(st.sampled_from([*STEERING, "<", ">", "p", "/", "|", "SEG", "cat", " "]), max_size=12).map("".join))
def test_no_steering_string_survives(text: str) -> None:
    plain = plain_text(text).lower()
    assert not any(word.lower() in plain for word in STEERING)
    assert plain_text(plain) == plain


@pytest.mark.parametrize(
    ("name", "cleaned"),
    [
        ("wall_(indoor)", {"wall"}),  # what is in brackets is dropped
        ("dog:tail", {"dog tail", "the tail of the dog"}),  # either reading, at random
        ("tree-merged", {"tree"}),
        ("a:b:c", {"a:b:c"}),  # not a part name
    ],
)
def test_semantic_category_cleaning(name: str, cleaned: set[str]) -> None:
    rng = np.random.default_rng(0)
    assert {clean_semantic_category(name, rng) for _ in range(20)} == cleaned
    assert clean_semantic_category(name) in cleaned


def test_generic_turn_with_a_caption_answers_with_it() -> None:
    turn = generic_turn(["cat"], caption="A {cat} sits. <SEG>")
    assert "<p>cat</p>" in turn.question
    assert turn.answer == "A {cat} sits. And it is <SEG>."


def test_referring_is_lower_cased_and_reasoning_is_not() -> None:
    assert "<p>the red ball</p>" in referring_turn(" The Red Ball ").question
    assert "<p>The Red Ball</p>" in reasoning_turn(" The Red Ball ").question


@pytest.mark.parametrize(
    ("sentence", "explanation", "form"),
    [
        ("What can roll?", "", "long"),
        ("the thing that rolls", "", "short"),
        ("What can roll?", "Balls are round.", "explanatory"),
    ],
)
def test_form_of_reasoning(sentence: str, explanation: str, form: wordings.ReasoningForm) -> None:
    turn = reasoning_turn(sentence, explanation=explanation)
    wording = wordings.REASONING[form]
    assert turn.question == wording.questions[0].replace("{}", f"<p>{sentence}</p>")
    assert turn.answer == f"{explanation} {wording.answers[1]}".strip()
    assert reasoning_turn(sentence, form=form).question == turn.question


def test_an_explanation_can_be_asked_for() -> None:
    assert "explain why" in reasoning_turn("What can roll?", form="explanatory").question


def test_gcg_without_a_caption_leaves_the_answer_to_the_model() -> None:
    assert gcg_turn().answer == ""


@pytest.mark.parametrize(
    ("caption", "spans", "tagged"),
    [
        ("A ball.", [], "A ball."),
        ("A ball.", [(2, 6)], "A <p>ball</p> ."),  # the space after the tag is X-SAM's
        ("A ball rolls", [(2, 6)], "A <p>ball</p>  rolls"),  # and the caption's own stays
        ("A ball", [(2, 6)], "A <p>ball</p>"),  # the result is stripped
        ("cat, dog", [(5, 8), (0, 3)], "<p>cat</p> , <p>dog</p>"),  # any order of spans, order of the text
        ("cats", [(0, 3), (3, 4)], "<p>cat</p> <p>s</p>"),  # touching
    ],
)
def test_tag_spans(caption: str, spans: list[tuple[int, int]], tagged: str) -> None:
    assert tag_spans(caption, spans) == tagged


@pytest.mark.parametrize(
    "spans",
    [
        [(0, 99)],  # outside
        [(-1, 2)],
        [(3, 3)],  # empty
        [(4, 2)],  # backwards
        [(1, 2)],  # only a blank
        [(0, 3), (2, 5)],  # overlapping: no tags could say it
    ],
)
def test_impossible_spans_are_refused(spans: list[tuple[int, int]]) -> None:
    with pytest.raises(PromptError, match="span"):
        tag_spans("a black cat", spans)


@pytest.mark.parametrize(
    ("build", "reason"),
    [
        (lambda: generic_turn([]), "at least one category"),
        (lambda: generic_turn(["cat", "-other"]), "category '-other'"),  # nothing left once cleaned
        (lambda: referring_turn(" <p></p>"), "phrase"),
        (lambda: reasoning_turn(""), "sentence"),
        (lambda: vgd_turn(0), "at least one region"),
        (lambda: conversation_turn("<SEG>"), "question in words"),
    ],
)
def test_empty_questions_are_refused(build: object, reason: str) -> None:
    with pytest.raises(PromptError, match=reason):
        build()  # type: ignore[operator]


@pytest.mark.parametrize(
    ("turn", "tags"),
    [
        (generic_turn(["cat", "dog"], rng=np.random.default_rng(1)), 2),
        (generic_turn(["cat", "dog"], caption="Two pets.", rng=np.random.default_rng(1)), 2),
        (referring_turn("cat", rng=np.random.default_rng(2)), 1),
        (reasoning_turn("Who purrs?", rng=np.random.default_rng(3)), 1),
        (gcg_turn("a cat", [(2, 5)], rng=np.random.default_rng(4)), 1),
        (vgd_turn(3, rng=np.random.default_rng(5)), 3),
        (interactive_turn(rng=np.random.default_rng(6)), 1),
    ],
)
def test_drawn_wordings_keep_conditions_and_the_mask(turn: Turn, tags: int) -> None:
    assert (turn.question + turn.answer).count("<p>") == tags
    assert turn.answer.count("<SEG>") == 1


def test_drawing_reaches_every_wording() -> None:
    rng = np.random.default_rng(0)
    drawn = [vgd_turn(1, rng=rng) for _ in range(300)]
    assert len({turn.question for turn in drawn}) == len(wordings.VGD.questions)
    assert {turn.answer for turn in drawn} == set(wordings.VGD.answers)
