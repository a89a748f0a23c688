"""A tokenizer that has seen the sample texts has seen every word that a scene can say."""

import re

import pytest

from xsam_backend.scenes.scene import draw_scene
from xsam_backend.scenes.texts import vocabulary_texts
from xsam_backend.scenes.vocabulary import PLACES, PLURALS, THING_NAMES, counted, with_article


def words(text: str) -> set[str]:
    return set(re.findall(r"[a-z0-9]+", text.lower()))


def test_the_samples_cover_what_scenes_say() -> None:
    known = set().union(*map(words, vocabulary_texts()))
    for seed in range(80):
        truth = draw_scene(seed, (64, 64))
        texts = [*(e.text for e in truth.referring), *(f"{e.text} {e.answer}" for e in truth.questions)]
        for text in (*texts, *truth.names, *(caption.text for caption in truth.captions)):
            assert words(text) <= known, text


def test_the_samples_are_always_the_same() -> None:
    assert list(vocabulary_texts()) == list(vocabulary_texts())


def test_every_name_has_its_forms() -> None:
    assert len(THING_NAMES) == len(set(PLURALS.values())) >= 16
    assert all(phrase.endswith(f" the {name}") for name, phrase in PLACES.items())


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (with_article("umbrella"), "an umbrella"),
        (with_article("red ball"), "a red ball"),
        (counted(1, "leaf"), "one leaf"),
        (counted(3, "leaf"), "three leaves"),
        (counted(2, "fish"), "two fish"),
        (counted(16, "box"), "16 boxes"),
    ],
)
def test_forms(said: str, expected: str) -> None:
    assert said == expected
