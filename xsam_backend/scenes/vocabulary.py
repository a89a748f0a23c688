"""The words of drawn scenes: names of things and stuff, colours, patterns, places and relations.

Everything that a scene can say is built from these tables, so a tokenizer built from ``scenes.texts`` covers it.
"""

from __future__ import annotations

PLURALS: dict[str, str] = {
    "ball": "balls",
    "box": "boxes",
    "triangle": "triangles",
    "star": "stars",
    "ring": "rings",
    "cross": "crosses",
    "heart": "hearts",
    "moon": "moons",
    "diamond": "diamonds",
    "hexagon": "hexagons",
    "egg": "eggs",
    "arrow": "arrows",
    "cup": "cups",
    "house": "houses",
    "tree": "trees",
    "car": "cars",
    "fish": "fish",
    "flower": "flowers",
    "umbrella": "umbrellas",
    "key": "keys",
    "boat": "boats",
    "bottle": "bottles",
    "mushroom": "mushrooms",
    "kite": "kites",
    "clock": "clocks",
    "leaf": "leaves",
    "balloon": "balloons",
    "hat": "hats",
    "lamp": "lamps",
    "butterfly": "butterflies",
    "rocket": "rockets",
    "apple": "apples",
}
"""Every thing that can be drawn, with its plural."""

THING_NAMES: tuple[str, ...] = tuple(PLURALS)

PLACES: dict[str, str] = {
    "sky": "in the sky",
    "grass": "on the grass",
    "sand": "on the sand",
    "water": "on the water",
    "wall": "in front of the wall",
    "floor": "on the floor",
    "road": "on the road",
    "snow": "on the snow",
    "mountain": "in front of the mountain",
}
"""Every stuff that can be drawn, with the words for a thing that is there. They end in the stuff's name."""

STUFF_NAMES: tuple[str, ...] = tuple(PLACES)

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (205, 32, 36),
    "orange": (242, 130, 24),
    "yellow": (243, 214, 40),
    "green": (46, 145, 58),
    "blue": (34, 84, 200),
    "purple": (122, 48, 158),
    "pink": (243, 140, 180),
    "brown": (121, 74, 38),
    "black": (28, 28, 30),
    "white": (240, 240, 238),
    "grey": (130, 131, 134),
}
"""The eleven basic colour names, each with a typical RGB value (0-255) around which things are drawn."""

PATTERN_WORDS: tuple[str, ...] = ("striped", "dotted", "checkered")
"""Surface patterns that have a word. Others (plain, a gradient, a fine grain) are never spoken of."""

NUMBER_WORDS: tuple[str, ...] = (
    *("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"),
    *("thirteen", "fourteen", "fifteen"),
)

SIDES: dict[str, tuple[int, int]] = {
    "on the left": (-1, 0),
    "on the right": (1, 0),
    "at the top": (0, -1),
    "at the bottom": (0, 1),
}
"""Where the utmost of several things is: the direction (x, y) in which it lies furthest."""

CORNERS: dict[str, tuple[int, int]] = {
    "in the top left": (-1, -1),
    "in the top right": (1, -1),
    "in the bottom left": (-1, 1),
    "in the bottom right": (1, 1),
    "in the middle": (0, 0),
}
"""Parts of the picture, as signs of (x, y) from its centre."""

RELATIONS: dict[str, tuple[int, int]] = {
    "left of": (-1, 0),
    "to the right of": (1, 0),
    "above": (0, -1),
    "below": (0, 1),
}
"""How one thing lies to another: the direction (x, y) from the other to it."""


def with_article(noun: str) -> str:
    """The noun phrase with its indefinite article: "a red ball", "an umbrella"."""
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def counted(count: int, name: str) -> str:
    """A number of things of one name, in words up to fifteen: "two boxes", "16 boxes"."""
    number = NUMBER_WORDS[count] if count < len(NUMBER_WORDS) else str(count)
    return f"{number} {name if count == 1 else PLURALS[name]}"
