"""Phrases for a scene's segments: each says enough to know which, and no more than is true.

Where a difference is too small to be beyond doubt (``facts.CLEARLY``), no phrase is made of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from xsam_backend.ground_truth import Expression
from xsam_backend.scenes.facts import CLEARLY, CLEARLY_LARGER, HARDLY, SceneFacts, Thing, segments_of
from xsam_backend.scenes.vocabulary import (
    COLOURS,
    CORNERS,
    NUMBER_WORDS,
    PATTERN_WORDS,
    PLACES,
    PLURALS,
    RELATIONS,
    SIDES,
    STUFF_NAMES,
    THING_NAMES,
)

ORDINALS = ("first", "second", "third", "fourth", "fifth")
PHRASES_PER_THING = 2
SETS_PER_SCENE = 4
ABSENT_PER_SCENE = 3
BARE_SHARE = 0.3
"""Share of the phrases said without "the", as people type them."""


def referring_expressions(facts: SceneFacts, rng: np.random.Generator) -> tuple[Expression, ...]:
    """A choice of phrases for single things, stuff, sets and absent things. Texts are distinct within the scene."""
    found: dict[str, Expression] = {}

    def say(text: str, segments: tuple[int, ...]) -> None:
        found.setdefault(text, Expression(text, segments))

    for thing in facts.things:
        phrases = list(descriptions(thing, facts))
        for index in rng.permutation(len(phrases))[:PHRASES_PER_THING]:
            bare = rng.random() < BARE_SHARE
            say(phrases[index].removeprefix("the ") if bare else phrases[index], (thing.segment,))
    for name, segment in facts.stuff.items():
        say(name if rng.random() < BARE_SHARE else f"the {name}", (segment,))
    sets = list(set_expressions(facts))
    for index in rng.permutation(len(sets))[:SETS_PER_SCENE]:
        say(*sets[index])
    missing = list(absent_phrases(facts, rng))
    for index in rng.permutation(len(missing))[:ABSENT_PER_SCENE]:
        say(missing[index], ())
    return tuple(found.values())


def descriptions(target: Thing, facts: SceneFacts) -> Iterator[str]:
    """Every phrase in store that is true of the target and of nothing else in the scene. All start with "the"."""
    yield from plain_descriptions(target, facts)
    same = [thing for thing in facts.named(target.name) if thing is not target]
    others = [thing for thing in facts.things if thing is not target]
    if same:
        yield from (f"the {word} {target.name}" for word in _size_words(target, same))
        for side, direction in SIDES.items():
            if all(target.offset(other, direction) > CLEARLY for other in same):
                yield f"the {target.name} {side}"
        yield from _ordinal_phrases(target, same)
    if len(others) > 1:
        yield from (f"the {word} thing" for word in _size_words(target, others))
    for corner, signs in CORNERS.items():
        if _within(target, signs, CLEARLY):
            if not any(_within(other, signs, HARDLY) for other in same):
                yield f"the {target.name} {corner}"
            if not any(_within(other, signs, HARDLY) for other in others):
                yield f"the thing {corner}"
    if target.place and not any(other.place in (target.place, None) for other in same):
        yield f"the {target.name} {PLACES[target.place]}"
    yield from _relation_phrases(target, same, others, facts)


def plain_descriptions(target: Thing, facts: SceneFacts) -> Iterator[str]:
    """Phrases of name, colour and pattern alone that only the target fits."""
    same = [thing for thing in facts.named(target.name) if thing is not target]
    if not same:
        yield f"the {target.name}"
    if all(other.colour != target.colour for other in same):
        yield f"the {target.noun}"
    if target.pattern_word:
        if all(other.pattern != target.pattern for other in same):
            yield f"the {target.pattern} {target.name}"
        if all((other.colour, other.pattern) != (target.colour, target.pattern) for other in same):
            yield f"the {target.full_noun}"
    if all(other is target or other.colour != target.colour for other in facts.things):
        yield f"the {target.colour} thing"


def set_expressions(facts: SceneFacts) -> Iterator[tuple[str, tuple[int, ...]]]:
    """(text, segments) for all things that share a name, a colour or a pattern. A bare name means all of it."""
    for name in dict.fromkeys(thing.name for thing in facts.things):
        named = facts.named(name)
        plural = PLURALS[name]
        yield name, segments_of(named)
        if len(named) > 1:
            yield plural, segments_of(named)
            yield f"all {plural}", segments_of(named)
            yield f"every {name}", segments_of(named)
            if len(named) < len(NUMBER_WORDS):
                yield f"the {NUMBER_WORDS[len(named)]} {plural}", segments_of(named)
            for colour in {thing.colour: None for thing in named}:
                alike = [thing for thing in named if thing.colour == colour]
                if len(alike) > 1:
                    yield f"all {colour} {plural}", segments_of(alike)
                    yield f"{colour} {plural}", segments_of(alike)
    for colour in COLOURS:
        coloured = [thing for thing in facts.things if thing.colour == colour]
        if len(coloured) > 1:
            yield f"all {colour} things", segments_of(coloured)
    for word in PATTERN_WORDS:
        patterned = [thing for thing in facts.things if thing.pattern == word]
        if len(patterned) > 1:
            yield f"all {word} things", segments_of(patterned)
    if len(facts.things) > 1:
        yield "all things", segments_of(list(facts.things))


def absent_phrases(facts: SceneFacts, rng: np.random.Generator) -> Iterator[str]:
    """Phrases that nothing fits: names that are not there, and names that are there in another colour only."""
    present = {thing.name for thing in facts.things}
    missing = [name for name in THING_NAMES if name not in present]
    for index in rng.permutation(len(missing))[:4]:
        name = missing[index]
        colour = _pick(rng, tuple(COLOURS))
        yield _pick(rng, (name, f"the {name}", f"the {colour} {name}", f"all {PLURALS[name]}", f"{colour} {name}"))
    for thing in facts.things:
        taken = {other.colour for other in facts.named(thing.name)}
        free = tuple(colour for colour in COLOURS if colour not in taken)
        yield f"the {_pick(rng, free)} {thing.name}"
    stuff = tuple(name for name in STUFF_NAMES if name not in facts.stuff)
    yield f"the {_pick(rng, stuff)}"


def _pick(rng: np.random.Generator, options: tuple[str, ...]) -> str:
    return options[int(rng.integers(len(options)))]


def _size_words(target: Thing, others: list[Thing]) -> Iterator[str]:
    if all(target.area_px > CLEARLY_LARGER * other.area_px for other in others):
        yield "biggest"
    if all(other.area_px > CLEARLY_LARGER * target.area_px for other in others):
        yield "smallest"


def _ordinal_phrases(target: Thing, same: list[Thing]) -> Iterator[str]:
    """ "the second star from the left", where the row of three or more is clear from end to end."""
    if not 2 <= len(same) < len(ORDINALS):
        return
    row = sorted((target, *same), key=lambda thing: thing.centre[0])
    if any(right.offset(left, (1, 0)) < CLEARLY / 2 for left, right in pairwise(row)):
        return
    place = row.index(target)
    yield f"the {ORDINALS[place]} {target.name} from the left"
    yield f"the {ORDINALS[len(row) - 1 - place]} {target.name} from the right"


def _within(thing: Thing, signs: tuple[int, int], margin: float) -> bool:
    """Whether a thing lies in the part of the picture that ``signs`` name; a small margin judges generously."""
    offsets = (thing.centre[0] - 0.5, thing.centre[1] - 0.5)
    if signs == (0, 0):
        return all(abs(offset) < 0.2 - margin for offset in offsets)
    least = margin if margin >= CLEARLY else -margin
    return all(offset * sign > least for offset, sign in zip(offsets, signs, strict=True))


def _relation_phrases(target: Thing, same: list[Thing], others: list[Thing], facts: SceneFacts) -> Iterator[str]:
    """ "the ball left of the blue box": needed and said only where there are others of the name, or as a variant."""
    for anchor in others:
        if anchor.name == target.name:
            continue
        anchor_words = next((text for text in plain_descriptions(anchor, facts) if anchor.name in text), "")
        if not anchor_words:
            continue
        for words, direction in RELATIONS.items():
            along = target.offset(anchor, direction)
            across = abs(target.offset(anchor, (direction[1], direction[0])))
            rivals = any(other.offset(anchor, direction) > HARDLY for other in same)
            if along > max(CLEARLY, across) and not rivals:
                yield f"the {target.name} {words} {anchor_words}"
        if anchor.segment in target.hides and not any(anchor.segment in other.hides for other in same):
            yield f"the {target.name} in front of {anchor_words}"
        if target.segment in anchor.hides and not any(other.segment in anchor.hides for other in same):
            yield f"the {target.name} behind {anchor_words}"
