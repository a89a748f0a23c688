"""Sample sentences of every kind that scenes speak, for building a tokenizer."""

from __future__ import annotations

from collections.abc import Iterator

from xsam_backend.scenes.captions import OPENINGS, VERBS
from xsam_backend.scenes.questions import NOTHING
from xsam_backend.scenes.referring import ORDINALS
from xsam_backend.scenes.riddles import COLOUR_RIDDLES, RIDDLES
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
    counted,
    with_article,
)


def vocabulary_texts() -> Iterator[str]:
    """Each word and each turn of phrase of the scenes at least once, common ones often. Fixed order, no drawing."""
    colours = tuple(COLOURS)
    for position, name in enumerate(THING_NAMES):
        other = THING_NAMES[(position + 7) % len(THING_NAMES)]
        plural = PLURALS[name]
        yield from (name, plural, f"all {plural}", f"every {name}", f"How many {plural} are there?")
        yield from (f"the {word} {name}" for word in ("biggest", "smallest"))
        yield from (f"the {name} {words}" for words in (*SIDES, *CORNERS, *PLACES.values()))
        yield from (f"the {ordinal} {name} from the {side}" for ordinal in ORDINALS for side in ("left", "right"))
        yield from (f"There are {counted(count, name)}." for count in range(2, len(NUMBER_WORDS)))
        yield f"There is {counted(1, name)}."
        for place, colour in enumerate(colours):
            pattern = PATTERN_WORDS[(position + place) % len(PATTERN_WORDS)]
            relation = (*RELATIONS, "in front of", "behind", "beside")[(position + place) % (len(RELATIONS) + 3)]
            stuff = STUFF_NAMES[(position + place) % len(STUFF_NAMES)]
            verb = VERBS[(position + place) % len(VERBS)]
            opening = OPENINGS[place % len(OPENINGS)]
            noun = f"{colour} {pattern} {name}"
            yield from (f"the {noun}", f"the {colour} {name}", f"the {pattern} {name}", f"all {colour} {plural}")
            yield f"the {name} {relation} the {colour} {other}"
            yield f"{with_article(noun).capitalize()} {verb} {relation} {with_article(other)} {PLACES[stuff]}."
            first = with_article(f"{colour} {name}")
            yield f"{opening}{first} and two {PLURALS[other]} with {stuff} in the background."
            yield f"What is partly hidden by the {colour} {name}?"
            yield f"The {colour} {name} and the {other}."
    for colour in colours:
        yield from (f"the {colour} thing", f"all {colour} things")
        yield from COLOUR_RIDDLES[colour]
    yield from (f"all {word} things" for word in PATTERN_WORDS)
    yield from (text for name in STUFF_NAMES for text in (name, f"the {name}", PLACES[name]))
    yield from (f"the {word} thing" for word in ("biggest", "smallest", *CORNERS))
    yield from (riddle.question for riddle in RIDDLES)
    yield from ("all things", f"another {THING_NAMES[0]}", NOTHING)
