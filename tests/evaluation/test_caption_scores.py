"""Words, the words phrases share, and CIDEr-D against cases worked out by hand."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xsam_backend.evaluation.caption_scores import cider_d, word_overlap, words


def test_words() -> None:
    assert words("A red ball, on it a dog's hair.") == ["a", "red", "ball", "on", "it", "a", "dog's", "hair"]
    assert words("Well-kept — 3 Äpfel!") == ["well-kept", "3", "äpfel"]
    assert words("...") == []


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ("a red ball", "The red ball", 1.0),
        ("a red ball", "the ball", 2 / 3),
        ("a red ball", "a blue ball", 2 / 4),
        ("a ball", "a box", 0.0),
        ("ball ball", "ball", 2 / 3),
        ("the", "a", 1.0),
        ("", "ball", 0.0),
    ],
    ids=[
        "articles and case don't matter",
        "one of two and one of one",
        "one word each is wrong",
        "only the article in common",
        "a word counts as often as it is there",
        "no words on either side",
        "no words on one side",
    ],
)
def test_word_overlap(first: str, second: str, expected: float) -> None:
    assert word_overlap(first, second) == pytest.approx(expected)
    assert word_overlap(second, first) == pytest.approx(expected)


OTHER = "a blue box"
"""The second picture's reference: "a" is in both pictures and weighs log(2 / 2) = 0, all else weighs log 2."""


@pytest.mark.parametrize(
    ("caption", "references", "expected"),
    [
        ("a red ball", ["a red ball"], 10 * 3 / 4),
        ("A red ball.", ["a red ball"], 10 * 3 / 4),
        ("a red box", ["a red ball"], 10 * (1 / 2 + 1 / 2) / 4),
        ("red ball", ["a red ball"], 10 * math.exp(-1 / 72) * (1 + 1 / math.sqrt(2)) / 4),
        ("red red red", ["a red ball"], 10 * (1 / (3 * math.sqrt(2))) / 4),
        ("a a a", ["a red ball"], 0.0),
        ("a red ball", ["a red ball", "a green key"], 10 * (3 / 4 + 0) / 2),
        ("a red ball on a box", ["a red ball on a box"], 10.0),
        ("", ["a red ball"], 0.0),
    ],
    ids=[
        "equal: one, two and three words match; of four there are none",
        "case and punctuation don't matter",
        "one of two weighty words, one of two pairs, not the triple",
        "short by one word: 'red ball' is one of the reference's two pairs",
        "repeats count once but lengthen the vector: 1 * 1 / (3 * sqrt 2)",
        "a word of every picture says nothing",
        "the mean over references",
        "four words and more can reach 10",
        "nothing said",
    ],
)
def test_cider_d(caption: str, references: list[str], expected: float) -> None:
    scores = cider_d([caption, OTHER], [references, [OTHER]])
    assert scores[0] == pytest.approx(expected)


def test_words_of_many_pictures_weigh_less() -> None:
    """ "ball" is in two of four pictures, "red" in one: weights log 2 and log 4 = 2 log 2."""
    references = [["red ball"], ["ball"], ["key"], ["box"]]
    scores = cider_d(["ball", "ball", "key", "nothing"], references)
    # Words: 1 * 1 / (1 * sqrt(1 + 4)); pairs: none said. One word short.
    assert scores[0] == pytest.approx(10 * math.exp(-1 / 72) / math.sqrt(5) / 4)
    assert scores[1:3] == pytest.approx([2.5, 2.5])
    assert scores[3] == 0


def test_agrees_with_another_implementation() -> None:
    """Scores that aac-metrics 0.6.0 (``functional.cider_d``) gives."""
    captions = [
        "a red ball lies on the sand",
        "two stars and a blue box in front of the sky",
        "the the the green tree",
    ]
    references = [
        ["a red ball on the sand under the sky", "the ball lies on sand"],
        ["two yellow stars and a blue box", "a box in front of the sky"],
        ["a green tree on the left of a house", "the tree"],
    ]
    assert cider_d(captions, references) == pytest.approx([3.7919510413354, 4.50332591824925, 1.61781117142961])


def test_a_single_picture_has_no_score() -> None:
    assert np.isnan(cider_d(["a red ball"], [["a red ball"]])).all()
    assert cider_d([], []).shape == (0,)


@pytest.mark.parametrize("references", [[["a"]], [["a"], []]], ids=["fewer than captions", "none for the second"])
def test_references_that_do_not_fit(references: list[list[str]]) -> None:
    with pytest.raises(ValueError, match="at least one reference for each of 2"):
        cider_d(["a", "b"], references)


TEXT = st.lists(st.sampled_from(["a", "red", "blue", "ball", "box", "on"]), min_size=1, max_size=7).map(" ".join)


@given(st.lists(st.tuples(TEXT, st.lists(TEXT, min_size=1, max_size=3)), min_size=2, max_size=5))
def test_scores_stay_in_range_and_saying_a_reference_is_best(entries: list[tuple[str, list[str]]]) -> None:
    captions, references = [caption for caption, _ in entries], [texts for _, texts in entries]
    scores = cider_d(captions, references)
    assert (scores >= 0).all()
    assert (scores <= 10 + 1e-9).all()
    single = [texts[:1] for texts in references]
    perfect = cider_d([texts[0] for texts in references], single)
    assert (cider_d(captions, single) <= perfect + 1e-9).all()
