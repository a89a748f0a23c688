"""Captions as Label Studio holds them: which of their words speak of which regions.

What we write ourselves, and annotators keep, is linked by words: a region's own text (a TextArea with ``perRegion``,
or its note) is a phrase of the caption. That survives an edited caption as long as the phrase stays in it. A relation
with a label is a caption of its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from xsam_backend.ground_truth import Caption


def linked_caption(text: str, phrases: Sequence[tuple[str, int]]) -> Caption:
    """The caption with its phrases' places.

    Args:
        phrases: (words, segment), in the order of the regions. Words that aren't in the caption are passed over;
            regions of the same words take its places one after the other, the last place takes those that are left.

    >>> linked_caption("A ball by a red ball.", [("a red ball", 0), ("a ball", 1)]).spans
    ((0, 6, (1,)), (10, 20, (0,)))
    """
    segments_of: dict[str, list[int]] = {}
    for words, segment in phrases:
        if words.strip():
            segments_of.setdefault(" ".join(words.lower().split()), []).append(segment)
    spans: dict[tuple[int, int], list[int]] = {}
    for words in sorted(segments_of, key=len, reverse=True):  # "a red ball" before "ball"
        places = [place for place in _places(text, words) if not any(_overlap(place, taken) for taken in spans)]
        for number, segment in enumerate(segments_of[words] if places else ()):
            spans.setdefault(places[min(number, len(places) - 1)], []).append(segment)
    return Caption(text, tuple((*place, tuple(dict.fromkeys(spans[place]))) for place in sorted(spans)))


def relation_captions(
    relation: Mapping[str, Any], segment_of: Mapping[str, int], names: Sequence[str]
) -> Iterable[Caption]:
    """A caption for each label of a relation, its two ends grounded: "cat on sofa"."""
    ends = [segment_of.get(str(relation.get(key))) for key in ("from_id", "to_id")]
    if relation.get("direction") == "left":
        ends.reverse()
    first, second = ends
    if first is None or second is None:
        return
    for label in relation.get("labels") or ():
        text = f"{names[first]} {label} {names[second]}"
        start = len(text) - len(names[second])
        yield Caption(text, ((0, len(names[first]), (first,)), (start, len(text), (second,))))


def _places(text: str, words: str) -> list[tuple[int, int]]:
    """(start, end) of the words in the text, whatever their case and the spaces between them."""
    pattern = r"\s+".join(map(re.escape, words.split()))
    return [match.span() for match in re.finditer(rf"(?<!\w){pattern}(?!\w)", text, re.IGNORECASE)]


def _overlap(one: tuple[int, int], other: tuple[int, int]) -> bool:
    return one[0] < other[1] and other[0] < one[1]
