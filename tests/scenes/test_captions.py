"""Captions: each span's words speak of the segments that it is tied to."""

import numpy as np
import pytest

from xsam_backend.ground_truth import Caption
from xsam_backend.scenes.captions import captions
from xsam_backend.scenes.facts import SceneFacts, Thing

STAR = Thing(0, "star", "red", "plain", 900, (0.2, 0.5), "sand", frozenset((1,)))
ORANGE_BOX = Thing(1, "box", "orange", "striped", 300, (0.35, 0.5), "sand")
GREEN_BOX = Thing(2, "box", "green", "plain", 300, (0.8, 0.5), None)
FACTS = SceneFacts((STAR, ORANGE_BOX, GREEN_BOX), {"sand": 3})
NAME_OF = {0: "star", 1: "box", 2: "box", 3: "sand"}


def drawn(facts: SceneFacts) -> list[Caption]:
    return [caption for seed in range(1000) for caption in captions(facts, np.random.default_rng(seed))]


def test_spans_hold_the_words_of_their_segments() -> None:
    for caption in drawn(FACTS):
        assert caption.text.endswith(".")
        assert caption.text[0].isupper()
        for start, end, segments in caption.spans:
            words = caption.text[start:end]
            assert {NAME_OF[segment] for segment in segments} & {*words.lower().replace("boxes", "box").split()}


@pytest.mark.parametrize(
    "text",
    [
        "A red star is in front of an orange box on the sand.",
        "A box is behind a star on the sand.",
        "A box is to the right of another box.",
    ],
    ids=["covering beats nearness", "the other way round", "two with one name"],
)
def test_relations(text: str) -> None:
    assert text in {caption.text for caption in drawn(FACTS)}


def test_untrue_relations_are_never_said() -> None:
    texts = {caption.text for caption in drawn(FACTS)}
    assert not any("star" in text.split(" right of ")[0] for text in texts if " right of " in text)


def test_things_of_one_name_are_counted_together() -> None:
    spans = {(c.text[a:b].lower(), s) for c in drawn(FACTS) for a, b, s in c.spans}
    assert ("two boxes", (1, 2)) in spans


def test_the_first_caption_names_everything_largest_first() -> None:
    red_box = Thing(4, "box", "red", "plain", 700, (0.8, 0.1), None)
    things = (ORANGE_BOX, STAR, red_box)
    for facts, expected in (
        (SceneFacts((ORANGE_BOX, STAR), {"sand": 3}), [(0,), (1,), (3,)]),
        (SceneFacts(things, {"sand": 3}), [(1, 4), (0,), (3,)]),
    ):
        for seed in range(20):
            first = captions(facts, np.random.default_rng(seed))[0]
            assert [segments for _, _, segments in first.spans] == expected


def test_a_scene_without_things_still_has_a_caption() -> None:
    (caption,) = captions(SceneFacts((), {"sand": 0, "sky": 1}), np.random.default_rng(0))
    assert [segments for _, _, segments in caption.spans] == [(0,), (1,)]
