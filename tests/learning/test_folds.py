"""What is tested on was never learned from: pictures are told apart by content, whatever their tasks."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterable, Sequence

import pytest

from xsam_backend.learning import folds
from xsam_backend.learning.choosing import Choice
from xsam_backend.learning.folds import FIRST_TESTED, MOST_TESTED, PINNED_FROM, Split, split
from xsam_backend.learning.gate import MIN_PICTURES
from xsam_backend.store.tasks import TaskPicture


def sha(picture: int) -> str:
    return hashlib.sha256(str(picture).encode()).hexdigest()


def choice(task: int, picture: int) -> Choice:
    return Choice(task, task, TaskPicture("image", None, None, sha(picture), (48, 64)), (), {}, (), task)


def one_each(numbers: Iterable[int]) -> list[Choice]:
    return [choice(number, number) for number in numbers]


def content(choices: Sequence[Choice]) -> set[str]:
    return {str(one.picture.sha256) for one in choices}


def assert_held_out(found: Split, known: Iterable[str] = ()) -> None:
    assert found.tests or not found.learned
    for learned, tested in found.tests:
        assert not content(learned) & content(tested)
        assert not set(known) & content(tested)
        assert len(content(tested)) == len(tested), "each picture counts once"
        assert not {one.task_id for one in learned} & {one.task_id for one in tested}


@pytest.mark.parametrize("count", [5, 12, PINNED_FROM - 1, PINNED_FROM, 100, 300])
def test_one_picture_in_several_tasks_is_one_picture(count: int) -> None:
    choices = [choice(3 * picture + copy, picture) for picture in range(count) for copy in range(3)]
    random.Random(count).shuffle(choices)
    found = split(choices, ())
    assert_held_out(found)
    if count != PINNED_FROM:  # there chance decides whether it has enough
        assert found.is_pinned is (count > PINNED_FROM)


def test_pictures_of_a_task_and_whatever_shares_them_stay_together() -> None:
    chain = [choice(1, 1), choice(1, 2), choice(2, 2), choice(2, 3), choice(3, 3)]
    for learned, tested in split([*chain, *one_each(range(10, 20))], ()).tests:
        assert len({sha(1), sha(2), sha(3)} & content(tested)) in (0, 3)
        assert not {sha(1), sha(2), sha(3)} & content(learned) or not {sha(1), sha(2), sha(3)} & content(tested)


def test_one_picture_alone_is_no_evidence() -> None:
    found = split([choice(task, 0) for task in range(20)], ())
    assert found.tests == (), "without it there is nothing to learn from"
    assert len(found.learned) == 20


def test_a_picture_that_was_labelled_again_is_tested_by_its_last_labels() -> None:
    choices = [*one_each(range(10)), *(choice(100 + picture, picture) for picture in range(10))]
    assert {one.task_id for _, tested in split(choices, ()).tests for one in tested} == set(range(100, 110))


def test_folds_test_each_new_picture_once_and_learn_from_all_others() -> None:
    known = {sha(number) for number in range(6)}
    found = split(one_each(range(20)), known)
    assert_held_out(found, known)
    assert not found.is_pinned
    assert sorted(one.task_id for _, tested in found.tests for one in tested) == list(range(6, 20))
    assert all(len(learned) + len(tested) == 20 for learned, tested in found.tests)
    assert len(found.learned) == 20


@pytest.mark.parametrize(
    ("count", "known", "sizes", "why"),
    [
        (2 * FIRST_TESTED - 2, 0, [9, 9], "half are too few alone"),
        (2 * FIRST_TESTED - 1, 0, [10], "enough for a first version, whose gain is large"),
        (40, 0, [20], "enough"),
        (40, 20, [10, 10], "a later version gains little: all that is new is needed to see it"),
    ],
)
def test_a_first_version_needs_no_second_fold(count: int, known: int, sizes: list[int], why: str) -> None:
    found = split(one_each(range(count)), {sha(number) for number in range(known)})
    assert [len(tested) for _, tested in found.tests] == sizes, why
    assert_held_out(found, {sha(number) for number in range(known)})
    assert len(found.learned) == count


def test_what_is_pinned_stays_so_while_the_project_grows() -> None:
    before: set[str] = set()
    for count in (100, 200, 500):
        found = split(one_each(range(count)), ())
        ((learned, tested),) = found.tests
        assert found.is_pinned
        assert_held_out(found)
        assert learned == found.learned
        assert len(learned) + len(tested) == count
        assert before <= content(tested)
        before = content(tested)
    assert 0.14 < len(before) / 500 < 0.26, "about every fifth"


def test_a_pinned_part_that_a_version_has_learned_from_before_proves_nothing() -> None:
    """A project that was fine-tuned when it was small, and then grew."""
    choices = one_each(range(PINNED_FROM + 10))
    known = {sha(number) for number in range(PINNED_FROM - 1)}
    found = split(choices, known)
    assert not found.is_pinned
    assert_held_out(found, known)
    assert {one.task_id for _, tested in found.tests for one in tested} == set(
        range(PINNED_FROM - 1, PINNED_FROM + 10)
    )
    pinned = content(choices) - content(found.learned)
    assert 0.1 < len(pinned) / len(choices) < 0.3, "and yet it isn't learned from any more"
    for learned, _ in found.tests:
        assert not pinned & content(learned)
    grown = split(one_each(range(300)), known)
    assert grown.is_pinned
    assert len(grown.tests[0][1]) >= MIN_PICTURES
    assert_held_out(grown, known)


def test_an_exam_is_never_endless(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folds, "MOST_TESTED", 20)
    found = split(one_each(range(500)), ())
    ((_, tested),) = found.tests
    assert len(tested) == 20
    assert len(found.learned) < 440, "more is pinned than is tested"
    assert MOST_TESTED >= 10 * MIN_PICTURES
