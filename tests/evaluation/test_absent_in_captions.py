"""Which names captions rule out."""

import pytest

from xsam_backend.evaluation.datasets.absent_in_captions import HINTS, LEAST_CAPTIONS, ruled_out
from xsam_backend.evaluation.datasets.coco_names import COCO_NAMES

PLAIN = ("A man stands there.",) * LEAST_CAPTIONS


def test_nothing_is_ruled_out_by_too_few_captions_and_all_of_the_list_by_plain_ones() -> None:
    assert ruled_out(PLAIN[:-1]) == frozenset()
    assert ruled_out(PLAIN) == frozenset(HINTS)


@pytest.mark.parametrize(
    ("caption", "possible"),
    [
        pytest.param("A Dog sits.", {"dog"}, id="the name itself, whatever its case"),
        pytest.param("Two puppies play", {"dog"}, id="another word for it, in the plural"),
        pytest.param("A surfer", {"surfboard"}, id="who has one"),
        pytest.param("skiing downhill", {"skis"}, id="what is done with it"),
        pytest.param("in a kitchen", {"microwave", "sink", "toaster"}, id="where such are"),
        pytest.param("Please adopt a combat scheme", set(), id="cat, bat inside of other words"),
    ],
)
def test_one_caption_of_many_is_enough_to_let_a_name_stand(caption: str, possible: set[str]) -> None:
    assert frozenset(HINTS) - ruled_out([*PLAIN, caption]) == possible


def test_names_are_cocos_and_hints_are_lower_case_words() -> None:
    assert set(HINTS) <= set(COCO_NAMES.values())
    assert all(hints == hints.lower() and hints.split() for hints in HINTS.values())
