"""Whether a picture's captions speak of one person alone: then a lone mask is of everybody who is there.

People who write captions mention whoever can be seen well. Small figures in the background they pass over.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

LEAST_MENTIONS = 2
"""So many captions must speak of a person: one alone may have missed the others."""

_ONE = (
    "man woman boy girl person child kid toddler baby guy lady male female surfer skier skateboarder snowboarder "
    "rider player"
)
_SEVERAL = (
    "people persons men women boys girls children kids toddlers babies guys ladies adults teens teenagers couple "
    "group crowd bunch family team friends fans parents mother father son daughter players riders skiers surfers "
    "skateboarders snowboarders workers students officers police soldiers pedestrians bystanders spectators audience "
    "umpire everyone both two three four five several many some other others another"
)
_TOGETHER = "and with beside near watching"


def _any_of(words: str) -> str:
    return rf"\b(?:{'|'.join(words.split())})\b"


_A_PERSON = re.compile(_any_of(_ONE))
_MORE = re.compile(
    # "a man and his child", "a boy next to a tall girl"
    rf"{_any_of(_SEVERAL)}"
    rf"|{_any_of(_ONE)}.*(?:{_any_of(_TOGETHER)}|next to|behind) (?:an?|the|his|her) (?:\w+ )?{_any_of(_ONE)}"
)


def speak_of_one_person(captions: Sequence[str]) -> bool:
    """Whether at least LEAST_MENTIONS captions speak of a person, and none of more than one.

    >>> speak_of_one_person(["A man on a surfboard.", "A surfer rides a wave."])
    True
    >>> speak_of_one_person(["A man on a surfboard.", "Two men at the beach."])
    False
    """
    texts = [caption.lower() for caption in captions]
    mentions = sum(bool(_A_PERSON.search(text)) for text in texts)
    return mentions >= LEAST_MENTIONS and not any(_MORE.search(text) for text in texts)
