"""What is commonly known about the things that scenes draw, as questions whose answer takes a step of thought."""

from __future__ import annotations

from dataclasses import dataclass

from xsam_backend.scenes.vocabulary import COLOURS


@dataclass(frozen=True)
class Riddle:
    """A question that some names answer.

    Attributes:
        question: the words.
        fits: names that answer it; all things of these names are the answer.
        unless: names that somebody could argue for. With one of them in the scene the question is not asked.
    """

    question: str
    fits: tuple[str, ...]
    unless: tuple[str, ...] = ()


RIDDLES: tuple[Riddle, ...] = (
    Riddle("What could roll away?", ("ball",), ("ring", "egg", "apple", "car", "balloon", "moon", "bottle", "cup")),
    Riddle("Which thing could you bounce on the ground?", ("ball",), ("balloon",)),
    Riddle("What would keep you dry in the rain?", ("umbrella",), ("house", "hat", "car")),
    Riddle("Which vehicle can you drive on a street?", ("car",)),
    Riddle("What needs fuel and has four wheels?", ("car",)),
    Riddle("What do you need to open a lock?", ("key",)),
    Riddle("Which animal lives in water?", ("fish",)),
    Riddle("What could carry people across a lake?", ("boat",), ("car",)),
    Riddle("What can you pour a drink into?", ("cup",), ("bottle", "box", "hat")),
    Riddle("Which things can hold a drink?", ("cup", "bottle"), ("box", "hat", "boat", "umbrella")),
    Riddle("What shows what time it is?", ("clock",)),
    Riddle("What would help you not to be late?", ("clock",), ("car", "rocket")),
    Riddle("Which thing would a bee visit?", ("flower",), ("tree", "apple", "leaf")),
    Riddle("Which plants grow in a garden?", ("flower", "tree"), ("leaf", "mushroom", "apple")),
    Riddle("Where could a family live?", ("house",), ("boat", "box")),
    Riddle("Which building has a door and a roof?", ("house",)),
    Riddle("What could a bird build its nest in?", ("tree",), ("house", "hat", "box", "umbrella")),
    Riddle("Which fruit could you eat?", ("apple",)),
    Riddle("What did a hen lay?", ("egg",)),
    Riddle("What could break when it is boiled too fast?", ("egg",), ("bottle", "cup")),
    Riddle("What can you switch on to read in the dark?", ("lamp",), ("moon",)),
    Riddle("What shines in the night sky?", ("moon", "star"), ("lamp", "rocket")),
    Riddle("What would fly away if you let go of its string?", ("balloon", "kite")),
    Riddle("What would burst if you pricked it with a needle?", ("balloon",), ("ball",)),
    Riddle("What do you wear on your head?", ("hat",), ("ring", "flower")),
    Riddle("Which thing could take an astronaut into space?", ("rocket",)),
    Riddle("Which insect is in the picture?", ("butterfly",)),
    Riddle("What was once a caterpillar?", ("butterfly",)),
    Riddle("Which thing points in a direction?", ("arrow",), ("key", "rocket", "triangle")),
    Riddle("Which sign stands for love?", ("heart",), ("flower", "ring")),
    Riddle("Which shape has six corners?", ("hexagon",)),
    Riddle("Which shape has three corners?", ("triangle",)),
    Riddle("What could you put presents into?", ("box",), ("cup", "hat", "house", "car", "boat", "umbrella")),
    Riddle("What has a hole in the middle?", ("ring",), ("key",)),
    Riddle("What could be worn on a finger if it were small?", ("ring",)),
    Riddle("What falls from trees in autumn?", ("leaf",), ("apple", "egg")),
    Riddle("What grows in a dark forest and has a cap?", ("mushroom",), ("bottle",)),
    Riddle("Which sign is used for adding two numbers?", ("cross",)),
)

COLOUR_RIDDLES: dict[str, tuple[str, ...]] = {
    "red": ("Which thing has the colour of a ripe tomato?", "What has the colour of blood?"),
    "orange": ("Which thing has the colour of a carrot?",),
    "yellow": ("Which thing has the colour of a lemon?", "What has the colour of a banana?"),
    "green": ("Which thing has the colour of fresh leaves?",),
    "blue": ("Which thing has the colour of the deep sea?",),
    "purple": ("Which thing has the colour of an aubergine?",),
    "pink": ("Which thing has the colour of a flamingo?",),
    "brown": ("Which thing has the colour of chocolate?",),
    "black": ("Which thing has the colour of coal?",),
    "white": ("Which thing has the colour of fresh snow?",),
    "grey": ("Which thing has the colour of an elephant?",),
}
"""Questions for a colour's name. Asked only where one thing has that colour, plain."""

assert set(COLOUR_RIDDLES) == set(COLOURS)
