"""Words of a caption that speak of regions are found again, also after somebody has edited the caption."""

import pytest

from xsam_backend.evaluation.datasets.linked_captions import linked_caption


@pytest.mark.parametrize(
    ("text", "phrases", "spoken_of", "reason"),
    [
        ("A cat on a mat.", [("a cat", 0), ("a mat", 1)], {"A cat": (0,), "a mat": (1,)}, "case aside"),
        ("A  cat\nsleeps.", [("a cat", 0)], {"A  cat": (0,)}, "spaces aside"),
        ("A cat sleeps.", [("a dog", 0)], {}, "edited away"),
        ("A ball by a red ball.", [("ball", 0), ("a red ball", 1)], {"ball": (0,), "a red ball": (1,)}, "longest"),
        ("A cat and a cat.", [("a cat", 0), ("a cat", 1)], {"A cat": (0,), "a cat": (1,)}, "one after the other"),
        ("Two dogs.", [("two dogs", 0), ("two dogs", 1)], {"Two dogs": (0, 1)}, "together"),
        ("Two dogs.", [("two dogs", 0), ("two dogs", 0)], {"Two dogs": (0,)}, "each once"),
        ("A cartwheel.", [("car", 0), ("a", 1)], {"A": (1,)}, "whole words"),
        ("C++ (a language).", [("c++", 0), ("(a", 1)], {"C++": (0,), "(a": (1,)}, "no pattern"),
        ("A cat.", [(" ", 0), ("", 1)], {}, "no words"),
        ("", [("a cat", 0)], {}, "no caption"),
    ],
)
def test_words_are_found(
    text: str, phrases: list[tuple[str, int]], spoken_of: dict[str, tuple[int, ...]], reason: str
) -> None:
    caption = linked_caption(text, phrases)
    assert caption.text == text
    assert {text[start:end]: segments for start, end, segments in caption.spans} == spoken_of, reason
    places = [place for start, end, _ in caption.spans for place in (start, end)]
    assert places == sorted(places), "in the caption's order, none over another"
