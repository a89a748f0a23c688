"""Which captions speak of one person alone."""

import pytest

from xsam_backend.evaluation.datasets.people_in_captions import speak_of_one_person

WAVE = "A man rides a wave."


@pytest.mark.parametrize(
    ("second", "alone"),
    [
        pytest.param("A surfer with a white board", True, id="another word for the same"),
        pytest.param("A MAN AND HIS DOG", True, id="a dog is nobody"),
        pytest.param("The sea.", False, id="one mention is too few"),
        pytest.param("Several people at the beach", False, id="several"),
        pytest.param("A man and a woman", False, id="two, each named"),
        pytest.param("A boy next to a tall girl", False, id="beside another"),
        pytest.param("A woman watching her child", False, id="hers"),
        pytest.param("A player is seen by the umpire", False, id="where such are, others are"),
        pytest.param("A manual and a boyish hat", False, id="only whole words count as a mention"),
    ],
)
def test_who_is_spoken_of(second: str, alone: bool) -> None:
    assert speak_of_one_person([WAVE, second]) is alone
    assert speak_of_one_person([second, WAVE]) is alone


def test_one_of_many_captions_is_enough_to_know_of_others() -> None:
    assert speak_of_one_person([WAVE] * 4)
    assert not speak_of_one_person([*[WAVE] * 4, "Two surfers on a wave"])
    assert not speak_of_one_person([])
