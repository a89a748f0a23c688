"""Captions of a scene, each noun phrase tied to the segments that it speaks of."""

from __future__ import annotations

import numpy as np

from xsam_backend.ground_truth import Caption
from xsam_backend.scenes.facts import CLEARLY, SceneFacts, Thing, segments_of
from xsam_backend.scenes.vocabulary import PLACES, RELATIONS, counted, with_article

Span = tuple[int, int, tuple[int, ...]]

OPENINGS = ("", "", "The picture shows ", "There is ", "A picture of ")
VERBS = ("is", "lies", "can be seen")


class CaptionWriter:
    """Grows a sentence from words and grounded words, and keeps where the latter are."""

    def __init__(self) -> None:
        self._text = ""
        self._spans: list[Span] = []

    def plain(self, text: str) -> None:
        """Adds words that speak of no segment."""
        self._text += text

    def grounded(self, text: str, segments: tuple[int, ...]) -> None:
        """Adds words that speak of these segments."""
        if not self._text or self._text.endswith(". "):
            text = text[0].upper() + text[1:]
        self._spans.append((len(self._text), len(self._text) + len(text), segments))
        self._text += text

    def caption(self) -> Caption:
        """The caption written so far."""
        return Caption(self._text, tuple(self._spans))


def captions(facts: SceneFacts, rng: np.random.Generator) -> tuple[Caption, ...]:
    """Two or three captions: everything listed, how two things lie to each other, and one thing alone."""
    written = [_list_caption(facts, rng)]
    if len(facts.things) > 1:
        written.append(_relation_caption(facts, rng))
    if facts.things:
        written.append(_short_caption(facts, rng))
    return tuple(written)


def _list_caption(facts: SceneFacts, rng: np.random.Generator) -> Caption:
    """ "The picture shows two stars, a red ball and a key with grass and sky in the background." Large ones first."""
    writer = CaptionWriter()
    names = list(dict.fromkeys(thing.name for thing in facts.things))
    groups = sorted(map(facts.named, names), key=lambda group: -sum(thing.area_px for thing in group))
    opening = OPENINGS[int(rng.integers(len(OPENINGS)))]
    if opening == "There is " and groups and len(groups[0]) > 1:
        opening = "There are "
    writer.plain(opening)
    _enumerate(writer, [(_group_words(group, rng), segments_of(group)) for group in groups])
    stuff = list(facts.stuff.items())
    if stuff:
        writer.plain(" with " if groups else "")
        _enumerate(writer, [(f"the {name}" if not groups else name, (segment,)) for name, segment in stuff])
        writer.plain(" in the background" if groups else "")
    writer.plain(".")
    return writer.caption()


def _relation_caption(facts: SceneFacts, rng: np.random.Generator) -> Caption:
    """ "A red star lies left of a striped box on the sand." """
    first, second = (facts.things[index] for index in rng.permutation(len(facts.things))[:2])
    writer = CaptionWriter()
    first_words, second_words = _thing_words(first, rng), _thing_words(second, rng)
    writer.grounded(with_article(first_words), (first.segment,))
    writer.plain(f" {VERBS[int(rng.integers(len(VERBS)))]} {_relation_words(first, second)} ")
    other = f"another {second_words}" if second_words == first_words else with_article(second_words)
    writer.grounded(other, (second.segment,))
    if first.place is not None and first.place == second.place:
        _place(writer, first.place, facts)
    writer.plain(".")
    return writer.caption()


def _short_caption(facts: SceneFacts, rng: np.random.Generator) -> Caption:
    """ "A blue striped kite in the sky." About the largest thing, as people do."""
    thing = max(facts.things, key=lambda each: each.area_px)
    writer = CaptionWriter()
    writer.grounded(with_article(_thing_words(thing, rng)), (thing.segment,))
    if thing.place is not None:
        _place(writer, thing.place, facts)
    writer.plain(".")
    return writer.caption()


def _place(writer: CaptionWriter, place: str, facts: SceneFacts) -> None:
    before, _, _ = PLACES[place].rpartition(" the ")
    writer.plain(f" {before} ")
    writer.grounded(f"the {place}", (facts.stuff[place],))


def _enumerate(writer: CaptionWriter, parts: list[tuple[str, tuple[int, ...]]]) -> None:
    for index, (words, segments) in enumerate(parts):
        if index:
            writer.plain(" and " if index == len(parts) - 1 else ", ")
        writer.grounded(words, segments)


def _group_words(group: list[Thing], rng: np.random.Generator) -> str:
    return with_article(_thing_words(group[0], rng)) if len(group) == 1 else counted(len(group), group[0].name)


def _thing_words(thing: Thing, rng: np.random.Generator) -> str:
    choices = (thing.name, thing.noun, thing.noun, thing.full_noun)
    return choices[int(rng.integers(len(choices)))]


def _relation_words(first: Thing, second: Thing) -> str:
    if second.segment in first.hides:
        return "in front of"
    if first.segment in second.hides:
        return "behind"
    words, distance = max(
        ((words, first.offset(second, direction)) for words, direction in RELATIONS.items()), key=lambda pair: pair[1]
    )
    return words if distance > CLEARLY else "beside"
