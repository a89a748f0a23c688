"""Which names a picture's captions rule out: what people who describe a picture would hardly have passed over.

A picture with masks of one class alone could otherwise not teach what is absent. Only names of large or telling
things are here: nobody mentions each cup. Counted on the 84 training photos of ``photos`` that have captions and all
masks: of 4,058 times that a name was ruled out, it was there 11 times, each with less than 1 % of the picture.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

LEAST_CAPTIONS = 4
"""With fewer, too much is passed over."""

HINTS: Mapping[str, str] = {
    "airplane": "plane jet aircraft aeroplane",
    "banana": "fruit food",
    "baseball bat": "baseball bat softball",
    "baseball glove": "baseball pitcher catcher mitt umpire softball",
    "bear": "animal cub",
    "bed": "bedroom mattress hospital",
    "bicycle": "bike cycl moped",
    "bird": "gull seagull duck geese goose pigeon parrot owl swan penguin chicken flamingo crow pelican animal",
    "boat": "ship canoe kayak sail ferry raft harbor marina vessel row",
    "broccoli": "vegetable veggie food salad meal",
    "bus": "trolley double-decker",
    "cake": "dessert birthday pastry cupcake wedding food",
    "carrot": "vegetable veggie food salad meal",
    "cat": "kitten kitty feline animal",
    "couch": "sofa living loveseat lounge",
    "cow": "cattle bull calf steer herd ox animal",
    "dog": "pup canine poodle animal pet",
    "donut": "doughnut pastr food",
    "elephant": "animal",
    "fire hydrant": "hydrant",
    "frisbee": "frizbee disc disk",
    "giraffe": "animal",
    "hair drier": "dryer drier hair bathroom",
    "horse": "pony ponies colt foal equestrian jockey animal carriage rodeo",
    "hot dog": "hotdog sausage food bun",
    "keyboard": "computer desk piano",
    "kite": "flying sail parasail",
    "laptop": "computer macbook notebook desk",
    "microwave": "kitchen oven",
    "motorcycle": "motorbike scooter moped bike harley",
    "parking meter": "meter street parked",
    "pizza": "food pie",
    "sandwich": "burger food bread sub meal lunch",
    "scissors": "shear cut",
    "sheep": "lamb ram ewe goat flock herd animal",
    "sink": "kitchen bathroom faucet wash",
    "skateboard": "skate board",
    "skis": "ski slope snow",
    "snowboard": "snow slope",
    "stop sign": "sign",
    "surfboard": "surf board wave",
    "teddy bear": "teddy stuffed toy plush doll bear",
    "tennis racket": "tennis racquet racket",
    "toaster": "kitchen",
    "toilet": "bathroom restroom urinal lavatory",
    "toothbrush": "brush teeth bathroom",
    "traffic light": "light signal street road intersection traffic",
    "train": "locomotive subway tram rail",
    "truck": "van lorry pickup vehicle suv",
    "tv": "television screen monitor computer living wii game",
    "umbrella": "parasol rain",
    "zebra": "animal",
}
"""COCO's names, each with the beginnings of words that let one think of it."""

_PATTERNS = {name: re.compile(rf"\b(?:{'|'.join([name, *hints.split()])})") for name, hints in HINTS.items()}


def ruled_out(captions: Sequence[str]) -> frozenset[str]:
    """The names of ``HINTS`` that no caption says or hints at; none if there are too few captions.

    >>> "dog" in ruled_out(["A man on a wave."] * 4), "surfboard" in ruled_out(["A man on a wave."] * 4)
    (True, False)
    """
    if len(captions) < LEAST_CAPTIONS:
        return frozenset()
    text = " ".join(captions).lower()
    return frozenset(name for name, pattern in _PATTERNS.items() if not pattern.search(text))
