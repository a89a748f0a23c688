"""Questions about a scene that take a step of thought: common knowledge, colours, hiding, counting."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from xsam_backend.ground_truth import Expression
from xsam_backend.scenes.facts import SceneFacts, Thing, segments_of
from xsam_backend.scenes.referring import plain_descriptions
from xsam_backend.scenes.riddles import COLOUR_RIDDLES, RIDDLES
from xsam_backend.scenes.vocabulary import PLURALS, counted

QUESTIONS_PER_SCENE = 4
UNANSWERABLE_PER_SCENE = 1
NOTHING = "Nothing in the picture."


def questions(facts: SceneFacts, rng: np.random.Generator) -> tuple[Expression, ...]:
    """A choice of the scene's questions, at most one of them about something absent."""
    answered = [*riddle_questions(facts), *colour_questions(facts), *hiding_questions(facts), *counting(facts)]
    chosen = [answered[index] for index in rng.permutation(len(answered))[:QUESTIONS_PER_SCENE]]
    open_ones = [*unanswerable(facts)]
    chosen += [open_ones[index] for index in rng.permutation(len(open_ones))[:UNANSWERABLE_PER_SCENE]]
    return tuple(chosen)


def riddle_questions(facts: SceneFacts) -> Iterator[Expression]:
    """Riddles that the scene answers without doubt."""
    present = {thing.name for thing in facts.things}
    for riddle in RIDDLES:
        if present.intersection(riddle.fits) and not present.intersection(riddle.unless):
            answers = [thing for thing in facts.things if thing.name in riddle.fits]
            yield Expression(riddle.question, segments_of(answers), _in_words(answers))


def colour_questions(facts: SceneFacts) -> Iterator[Expression]:
    """Riddles about colours, where one thing alone has the colour and has it without a pattern."""
    for colour, riddles in COLOUR_RIDDLES.items():
        coloured = [thing for thing in facts.things if thing.colour == colour]
        if len(coloured) == 1 and not coloured[0].pattern_word:
            for text in riddles:
                yield Expression(text, segments_of(coloured), _in_words(coloured))


def hiding_questions(facts: SceneFacts) -> Iterator[Expression]:
    """What is behind a thing that partly hides others."""
    for thing in facts.things:
        words = next((text for text in plain_descriptions(thing, facts) if thing.name in text), "")
        if thing.hides and words:
            behind = [facts.thing_at(segment) for segment in sorted(thing.hides)]
            yield Expression(f"What is partly hidden by {words}?", segments_of(behind), _in_words(behind))


def counting(facts: SceneFacts) -> Iterator[Expression]:
    """How many there are of each name."""
    for name in dict.fromkeys(thing.name for thing in facts.things):
        named = facts.named(name)
        verb = "is" if len(named) == 1 else "are"
        answer = f"There {verb} {counted(len(named), name)}."
        yield Expression(f"How many {PLURALS[name]} are there?", segments_of(named), answer)


def unanswerable(facts: SceneFacts) -> Iterator[Expression]:
    """Riddles to which nothing in the scene is an answer, not even arguably."""
    present = {thing.name for thing in facts.things}
    for riddle in RIDDLES:
        if not present.intersection(riddle.fits + riddle.unless):
            yield Expression(riddle.question, (), NOTHING)


def _in_words(things: list[Thing]) -> str:
    """ "The red ball and the two stars." """
    parts = []
    for name in dict.fromkeys(thing.name for thing in things):
        named = [thing for thing in things if thing.name == name]
        parts.append(f"the {named[0].noun}" if len(named) == 1 else f"the {counted(len(named), name)}")
    text = parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
    return f"{text[0].upper()}{text[1:]}."
