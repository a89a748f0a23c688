"""Riddles are asked where the answer is beyond doubt."""

import pytest

from xsam_backend.scenes.facts import SceneFacts, Thing
from xsam_backend.scenes.questions import (
    NOTHING,
    colour_questions,
    counting,
    hiding_questions,
    riddle_questions,
    unanswerable,
)
from xsam_backend.scenes.riddles import RIDDLES, Riddle
from xsam_backend.scenes.vocabulary import THING_NAMES


def things(*descriptions: tuple[str, str, str]) -> SceneFacts:
    """Facts of (colour, pattern, name) triples; each thing hides the one after it."""
    last = len(descriptions) - 1
    return SceneFacts(
        tuple(
            Thing(i, name, colour, pattern, 100, (0.1 * i, 0.5), None, frozenset((i + 1,) if i < last else ()))
            for i, (colour, pattern, name) in enumerate(descriptions)
        ),
        {"grass": len(descriptions)},
    )


@pytest.mark.parametrize("riddle", RIDDLES, ids=lambda riddle: riddle.question)
def test_riddles_know_the_names(riddle: Riddle) -> None:
    assert riddle.fits
    assert set(riddle.fits + riddle.unless) <= set(THING_NAMES)
    assert not set(riddle.fits) & set(riddle.unless)


def test_most_things_answer_a_riddle() -> None:
    assert len({name for riddle in RIDDLES for name in riddle.fits}) > 0.8 * len(THING_NAMES)


def test_an_answer_names_all_that_fit() -> None:
    found = {q.text: q for q in riddle_questions(things(("red", "plain", "moon"), ("blue", "plain", "star")))}
    night = found["What shines in the night sky?"]
    assert night.segments == (0, 1)
    assert night.answer == "The red moon and the blue star."


def test_not_asked_where_something_arguable_is_there() -> None:
    alone, doubtful = things(("red", "plain", "ball")), things(("red", "plain", "ball"), ("red", "plain", "egg"))
    question = "What could roll away?"
    assert question in {q.text for q in riddle_questions(alone)}
    assert question not in {q.text for q in riddle_questions(doubtful)}
    assert question not in {q.text for q in unanswerable(doubtful)}


def test_unanswerable_ones_say_so() -> None:
    asked = list(unanswerable(things(("red", "plain", "ball"))))
    assert "What shows what time it is?" in {q.text for q in asked}
    assert {(q.segments, q.answer) for q in asked} == {((), NOTHING)}


@pytest.mark.parametrize(
    ("facts", "asked"),
    [
        (things(("red", "plain", "ball")), True),
        (things(("red", "striped", "ball")), False),
        (things(("red", "plain", "ball"), ("red", "plain", "cup")), False),
    ],
    ids=["one red thing", "stripes are of two colours", "two red things"],
)
def test_colour_riddles(facts: SceneFacts, asked: bool) -> None:
    assert ("What has the colour of blood?" in {q.text for q in colour_questions(facts)}) is asked


def test_hiding_and_counting() -> None:
    facts = things(("red", "plain", "ball"), ("blue", "plain", "box"), ("blue", "plain", "box"))
    hidden = {q.text: q for q in hiding_questions(facts)}
    assert hidden["What is partly hidden by the ball?"].segments == (1,)
    assert len(hidden) == 1, "the two boxes have no phrase of their own"
    assert [(q.segments, q.answer) for q in counting(facts)] == [
        ((0,), "There is one ball."),
        ((1, 2), "There are two boxes."),
    ]
