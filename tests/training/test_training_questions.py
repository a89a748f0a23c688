"""Training questions are right: what is asked, with which regions, and what counts as found."""

import re
from collections.abc import Iterator

import numpy as np
import pytest

from xsam_backend.ground_truth import Caption, Expression, GroundTruth
from xsam_backend.prompts import Task
from xsam_backend.training.questions import CLICKS, OUTLINES, Asking, Question, ask

NAMES = ("ball", "ball", "dog", "people", "sky")
SIZE = (60, 80)
CROWD = 3


def truth(**fields) -> GroundTruth:
    """Two balls, a dog, a crowd of people, sky; "cat" and "tree" are known to be absent, "car" isn't known of."""
    boxes = [(2, 30, 14, 42), (30, 30, 46, 46), (50, 20, 70, 40), (0, 48, 80, 58), (0, 0, 80, 10)]
    masks = np.zeros((len(boxes), *SIZE), bool)
    for mask, (x0, y0, x1, y1) in zip(masks, boxes, strict=True):
        mask[y0:y1, x0:x1] = True
    return GroundTruth(
        image=np.zeros((*SIZE, 3), np.uint8),
        masks=masks,
        names=NAMES,
        is_thing=np.array([True, True, True, True, False]),
        is_crowd=np.arange(5) == CROWD,
        complete_for=fields.pop("complete_for", frozenset([*NAMES, "cat", "tree"])),
        **fields,
    )


POOL = ("ball", "dog", "people", "sky", "cat", "tree", "car")


def questions(task: Task, given: GroundTruth, count: int = 40, least_px: int = 10) -> Iterator[Question]:
    for seed in range(count):
        yield from ask(given, {task: 1}, np.random.default_rng(seed), Asking(POOL, least_px))


def asked(question: Question) -> list[str]:
    return re.findall("<p>(.*?)</p>", question.turn.question)


def segments(question: Question, given: GroundTruth) -> list[tuple[int, int]]:
    """(segment, condition) of each target, which must be one segment of the picture."""
    found = []
    for mask, condition in question.targets:
        same = [i for i in range(len(given.masks)) if np.array_equal(mask, given.masks[i])]
        assert len(same) == 1, "a target that is no segment"
        found.append((same[0], condition))
    return found


def test_generic_targets_are_all_instances_of_each_name_and_absent_names_have_none() -> None:
    given = truth()
    seen: set[str] = set()
    for question in questions(Task.GENERIC, given):
        names = asked(question)
        assert len(set(names)) == len(names)
        expected = sorted(
            (segment, condition)
            for condition, name in enumerate(names)
            for segment in range(5)
            if NAMES[segment] == name
        )
        assert sorted(segments(question, given)) == expected
        seen |= set(names)
    assert seen == {"ball", "dog", "sky", "cat", "tree"}, "people are a crowd, cars may be there unlabelled"


def test_generic_asks_only_for_names_that_are_fully_labelled() -> None:
    given = truth(complete_for=frozenset(["dog"]))
    assert {name for question in questions(Task.GENERIC, given) for name in asked(question)} == {"dog"}
    assert not list(questions(Task.GENERIC, truth(complete_for=frozenset())))


def test_vgd_targets_are_all_instances_like_each_exemplar() -> None:
    given = truth()
    counts = set()
    for question in questions(Task.VGD, given):
        found = segments(question, given)
        assert question.turn.question.count("<region>") == len(question.regions)
        counts.add(len(question.regions))
        for condition, region in enumerate(question.regions):
            names = {NAMES[segment] for segment, own in found if own == condition}
            assert len(names) == 1
            (name,) = names
            alike = [segment for segment in range(5) if NAMES[segment] == name]
            assert [segment for segment, own in found if own == condition] == alike
            assert any((region & given.masks[segment]).any() for segment in alike), "the exemplar is one of them"
    assert counts == {1, 2, 3}


def test_interactive_is_one_object_and_a_hint_that_touches_it() -> None:
    given = truth()
    seen = set()
    for question in questions(Task.INTERACTIVE, given, 80):
        ((segment, condition),) = segments(question, given)
        assert condition == 0
        (region,) = question.regions
        assert region.shape == SIZE
        assert (region & given.masks[segment]).any()
        seen.add(segment)
    assert seen == {0, 1, 2, 4}, "every segment but the crowd"


@pytest.mark.parametrize("task", [Task.GENERIC, Task.VGD, Task.INTERACTIVE])
def test_crowds_are_never_targets(task: Task) -> None:
    given = truth()
    for question in questions(task, given):
        assert CROWD not in {segment for segment, _ in segments(question, given)}


def test_small_instances_are_not_asked_for_one_by_one() -> None:
    given = truth()
    segment_px = given.masks.sum((1, 2))
    assert segment_px[0] < 200 < segment_px[1]
    found = {segments(q, given)[0][0] for q in questions(Task.INTERACTIVE, given, 60, least_px=200)}
    assert 0 not in found
    assert 1 in found


def test_a_class_name_as_phrase_means_all_of_it() -> None:
    """A crowd included: it's foreground of its class, if not an object."""
    given = truth()
    absent = 0
    for question in questions(Task.REFERRING, given, 80):
        (phrase,) = asked(question)
        named = [segment for segment in range(5) if NAMES[segment] == phrase]
        if not named:
            assert phrase in ("cat", "tree")
            assert question.targets == ()
            absent += 1
            continue
        ((mask, condition),) = question.targets
        assert condition == 0
        assert np.array_equal(mask, given.union(named))
    assert 0 < absent < 40


@pytest.mark.parametrize("task", [Task.REFERRING, Task.REASONING])
def test_expressions_and_those_about_nothing(task: Task) -> None:
    words = (Expression("the two Balls?", (0, 1)), Expression("the cow?", ()))
    given = truth(**{"referring" if task is Task.REFERRING else "questions": words})
    seen = set()
    for question in questions(task, given):
        (phrase,) = asked(question)
        seen.add(phrase.lower())
        if phrase.lower() == "the cow?":
            assert question.targets == ()
        else:
            ((mask, condition),) = question.targets
            assert condition == 0
            assert np.array_equal(mask, given.union((0, 1)))
    assert seen == {"the two balls?", "the cow?"}


def test_captions_name_their_phrases_in_order_of_the_text() -> None:
    caption = Caption("A dog and two balls under nothing.", ((10, 19, (0, 1)), (2, 5, (2,)), (26, 33, ())))
    given = truth(captions=(caption, Caption("No spans here.")))
    for question in questions(Task.GCG, given, 10):
        assert re.findall("<p>(.*?)</p>", question.turn.answer) == ["dog", "two balls", "nothing"]
        first, second = question.targets
        assert np.array_equal(first[0], given.masks[2])
        assert np.array_equal(second[0], given.union((0, 1)))
        assert (first[1], second[1]) == (0, 1)


def test_conversation_has_an_answer_and_no_targets() -> None:
    answered = Expression("What rolls?", (0,), "The balls do.")
    given = truth(questions=(answered, Expression("What barks?", (2,))))
    for question in questions(Task.CONVERSATION, given, 10):
        assert question.turn.question == "What rolls?"
        assert question.turn.answer == "The balls do."
        assert question.targets == question.regions == ()


@pytest.mark.parametrize("task", [Task.REASONING, Task.GCG, Task.CONVERSATION])
def test_pictures_that_cannot_answer_are_not_asked(task: Task) -> None:
    assert not list(questions(task, truth()))


def test_an_empty_picture_is_asked_nothing_but_what_is_absent() -> None:
    empty = GroundTruth(
        np.zeros((*SIZE, 3), np.uint8),
        np.zeros((0, *SIZE), bool),
        (),
        np.zeros(0, bool),
        np.zeros(0, bool),
        complete_for=frozenset(["cat"]),
    )
    for task in (Task.INTERACTIVE, Task.VGD, Task.GENERIC):
        assert not list(questions(task, empty))
    for question in questions(Task.REFERRING, empty):
        assert asked(question) == ["cat"]
        assert question.targets == ()


def test_the_mix_says_how_many_of_each() -> None:
    mix = {Task.INTERACTIVE: 3, Task.GENERIC: 1, Task.REFERRING: 2, Task.GCG: 1}
    found = ask(truth(), mix, np.random.default_rng(0), Asking(POOL, 10))
    assert [question.task for question in found] == [Task.INTERACTIVE] * 3 + [Task.GENERIC] + [Task.REFERRING] * 2


def test_a_click_means_the_smallest_thing_there() -> None:
    """A window in a house: clicks for the house lie beside it, boxes and scribbles of the house go over it."""
    house, window = np.zeros((2, *SIZE), bool)
    house[5:55, 10:70] = True
    window[15:45, 20:60] = True  # also where the house's middle is
    given = GroundTruth(
        image=np.zeros((*SIZE, 3), np.uint8),
        masks=np.stack([house, window]),
        names=("house", "window"),
        is_thing=np.array([True, True]),
        is_crowd=np.array([False, False]),
        complete_for=frozenset(["house", "window"]),
    )
    clicks_on, others_over = {0: 0, 1: 0}, 0
    for question in questions(Task.INTERACTIVE, given, 200):
        ((segment, _),) = segments(question, given)
        (region,) = question.regions
        is_click = region.sum() <= 4  # discs of 0.8 px
        if is_click:
            assert bool((region & window).any()) is (segment == 1)
            clicks_on[segment] += 1
        elif segment == 0:
            others_over += bool((region & window).any())
    assert min(clicks_on.values()) > 10
    assert others_over > 10


def test_a_thing_that_smaller_ones_cover_is_clicked_all_the_same() -> None:
    whole = np.zeros(SIZE, bool)
    whole[5:55, 10:70] = True
    almost = whole.copy()
    almost[5, 10] = False
    given = GroundTruth(
        image=np.zeros((*SIZE, 3), np.uint8),
        masks=np.stack([whole, almost]),
        names=("crate", "lid"),
        is_thing=np.array([True, True]),
        is_crowd=np.array([False, False]),
        complete_for=frozenset(),
    )
    assert {segments(question, given)[0][0] for question in questions(Task.INTERACTIVE, given, 40)} == {0, 1}


def test_large_objects_are_pointed_at_more_often_unless_all_are_alike() -> None:
    given = truth()  # sky has 800 px, a ball 144
    mix = {Task.INTERACTIVE: 1}

    def share_of_sky(by_area: bool) -> float:
        asked = [
            ask(given, mix, np.random.default_rng(seed), Asking(POOL, 10, by_area))[0].targets[0][0]
            for seed in range(400)
        ]
        return float(np.mean([np.array_equal(mask, given.masks[4]) for mask in asked]))

    areas = np.sqrt(given.masks[[0, 1, 2, 4]].sum((1, 2)))
    assert share_of_sky(True) == pytest.approx(areas[3] / areas.sum(), abs=0.06)
    assert share_of_sky(False) == pytest.approx(0.25, abs=0.06)


@pytest.mark.parametrize("index", range(len((*CLICKS, *OUTLINES))))
def test_every_kind_of_hint_touches_its_mask(index: int) -> None:
    from xsam_backend.region_masks import region_mask

    _, simulate = (*CLICKS, *OUTLINES)[index]
    mask = truth().masks[2]
    for seed in range(10):
        region = region_mask(simulate(mask, np.random.default_rng(seed)), SIZE)
        assert (region & mask).any()
    assert sum(share for share, _ in (*CLICKS, *OUTLINES)) == pytest.approx(1)


def test_the_same_seed_asks_the_same() -> None:
    first, second = (
        ask(truth(), {Task.VGD: 2, Task.GENERIC: 2}, np.random.default_rng(5), Asking(POOL, 10)) for _ in range(2)
    )
    assert [question.turn for question in first] == [question.turn for question in second]
    for ours, theirs in zip(first, second, strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(ours.regions, theirs.regions, strict=True))
