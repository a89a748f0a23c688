"""Phrases that fit one thing only, sets, and absent things."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xsam_backend.scenes.facts import SceneFacts, Thing
from xsam_backend.scenes.referring import absent_phrases, descriptions, referring_expressions, set_expressions
from xsam_backend.scenes.vocabulary import COLOURS

RED_BALL = Thing(0, "ball", "red", "plain", 900, (0.2, 0.5), "grass")
BLUE_BALL = Thing(1, "ball", "blue", "striped", 300, (0.5, 0.5), "grass")
RED_BALL_2 = Thing(2, "ball", "red", "dotted", 250, (0.8, 0.55), "sky")
BLUE_BOX = Thing(3, "box", "blue", "plain", 400, (0.65, 0.52), None, frozenset((2,)))
FACTS = SceneFacts((RED_BALL, BLUE_BALL, RED_BALL_2, BLUE_BOX), {"grass": 4, "sky": 5})


@pytest.mark.parametrize(
    ("thing", "phrase"),
    [
        (BLUE_BOX, "the box"),
        (BLUE_BALL, "the blue ball"),
        (BLUE_BALL, "the striped ball"),
        (RED_BALL_2, "the red dotted ball"),
        (RED_BALL, "the biggest ball"),
        (RED_BALL, "the ball on the left"),
        (RED_BALL_2, "the ball on the right"),
        (BLUE_BALL, "the second ball from the left"),
        (RED_BALL_2, "the first ball from the right"),
        (RED_BALL_2, "the ball in the sky"),
        (RED_BALL_2, "the ball to the right of the box"),
        (RED_BALL_2, "the ball behind the box"),
        (BLUE_BOX, "the box in front of the dotted ball"),
    ],
)
def test_true_phrases(thing: Thing, phrase: str) -> None:
    assert phrase in set(descriptions(thing, FACTS))


@pytest.mark.parametrize(
    ("thing", "phrase", "reason"),
    [
        (RED_BALL, "the ball", "there are three"),
        (RED_BALL, "the red ball", "there are two"),
        (RED_BALL, "the plain ball", "plain is not spoken of"),
        (RED_BALL_2, "the smallest ball", "300 and 250 px are too alike"),
        (RED_BALL, "the ball on the grass", "there are two"),
        (RED_BALL, "the ball left of the box", "the blue one is there, too"),
        (BLUE_BALL, "the ball at the top", "all at one height"),
        (BLUE_BALL, "the blue thing", "the box is blue, too"),
        (BLUE_BALL, "the thing in the middle", "the box is nearly there"),
    ],
)
def test_phrases_left_unsaid(thing: Thing, phrase: str, reason: str) -> None:
    assert phrase not in set(descriptions(thing, FACTS)), reason


def test_sets() -> None:
    sets = dict(set_expressions(FACTS))
    assert sets["ball"] == sets["all balls"] == sets["the three balls"] == (0, 1, 2)
    assert sets["all red balls"] == (0, 2)
    assert sets["all blue things"] == (1, 3)
    assert sets["box"] == (3,)
    assert "all boxes" not in sets
    assert sets["all things"] == (0, 1, 2, 3)


@st.composite
def scene_facts(draw: st.DrawFn) -> SceneFacts:
    """A few things out of few names and colours, so that they are easily mixed up."""
    shares = st.floats(0.05, 0.95)
    count = draw(st.integers(1, 6))
    things = tuple(
        Thing(
            segment=index,
            name=draw(st.sampled_from(("ball", "box", "leaf"))),
            colour=draw(st.sampled_from(("red", "blue"))),
            pattern=draw(st.sampled_from(("plain", "striped", "dotted"))),
            area_px=draw(st.integers(40, 1000)),
            centre=(draw(shares), draw(shares)),
            place=draw(st.sampled_from(("grass", "sky", None))),
            hides=draw(st.frozensets(st.integers(index + 1, count - 1))) if index + 1 < count else frozenset(),
        )
        for index in range(count)
    )
    return SceneFacts(things, {"grass": count, "sky": count + 1})


@given(scene_facts())
def test_no_phrase_fits_two_things(facts: SceneFacts) -> None:
    said: dict[str, int] = {}
    for thing in facts.things:
        for phrase in set(descriptions(thing, facts)):
            assert said.setdefault(phrase, thing.segment) == thing.segment, phrase


@given(scene_facts(), st.integers(0, 1000))
def test_chosen_expressions_are_distinct_and_absent_ones_absent(facts: SceneFacts, seed: int) -> None:
    expressions = referring_expressions(facts, np.random.default_rng(seed))
    assert len({expression.text for expression in expressions}) == len(expressions)
    there = {thing.noun for thing in facts.things} | {thing.name for thing in facts.things}
    for phrase in absent_phrases(facts, np.random.default_rng(seed)):
        bare = phrase.removeprefix("the ")
        assert bare not in there
        assert bare not in facts.stuff


def test_an_absent_colour_is_one_that_no_thing_of_the_name_has() -> None:
    phrases = list(absent_phrases(FACTS, np.random.default_rng(0)))
    swapped = [phrase.split()[1] for phrase in phrases if phrase.endswith(" ball")]
    assert swapped
    assert set(swapped) <= set(COLOURS) - {"red", "blue"}
