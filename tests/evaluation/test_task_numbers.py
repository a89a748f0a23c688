"""Each task's numbers worked out by hand, with a model whose answers are known."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from knowing_predictor import KnowingPredictor, moved, nothing
from measured_pictures import CAT, DOG, SIZE_HW, SKY, SMALL_DOG, Given, dataset_of, labelled
from measured_runs import OPTIONS, SCENES, TRUTHS, only, rows, run, value

from xsam_backend.errors import LabelStudioError
from xsam_backend.evaluation.results import Row
from xsam_backend.ground_truth import Expression, GroundTruth
from xsam_backend.instances import Instances
from xsam_backend.prompts import Prompt, Task


class Narrowed(KnowingPredictor):
    """Answers an object with its left part: of the 20 columns of the large dog more with each click."""

    columns = (10, 18, 20)

    def answer(self, state: Any, prompt: Prompt) -> Any:
        answer = super().answer(state, prompt)
        if prompt.task is not Task.INTERACTIVE:
            return answer
        left = np.zeros(SIZE_HW, np.bool_)
        left[:, : 5 + self.columns[min(len(prompt.regions), len(self.columns)) - 1]] = True
        found = answer.instances
        return dataclasses.replace(answer, instances=Instances.of(found.masks & left, found.scores, found.labels))


def one_dog(**changes: Any) -> GroundTruth:
    """The large dog alone, 20 x 20 px."""
    one = np.ones(1, np.bool_)
    return labelled(0, masks=DOG[None], names=("dog",), is_thing=one, is_crowd=~one, **changes)


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ((10, 18, 20), {"noc85": 2, "noc90": 2, "failed85": 0, "failed90": 0, "iou1": 0.5, "iou3": 0.9, "iou5": 0.9}),
        ((10, 17, 20), {"noc85": 2, "noc90": 3, "failed85": 0, "failed90": 0, "iou1": 0.5, "iou3": 1, "iou5": 1}),
        ((10, 17), {"noc85": 2, "noc90": 20, "failed85": 0, "failed90": 1, "iou1": 0.5, "iou3": 0.85, "iou5": 0.85}),
        ((2, 4), {"noc85": 20, "noc90": 20, "failed85": 1, "failed90": 1, "iou1": 0.1, "iou3": 0.2, "iou5": 0.2}),
        ((20,), {"noc85": 1, "noc90": 1, "failed85": 0, "failed90": 0, "iou1": 1, "iou3": 1, "iou5": 1}),
    ],
    ids=[
        "both at the second click",
        "one click more for 90 %",
        "90 % never: all 20 clicks count",
        "neither",
        "at once",
    ],
)
def test_clicks_by_hand(columns: tuple[int, ...], expected: dict[str, float]) -> None:
    predictor = Narrowed([one_dog()])
    predictor.columns = columns
    tasks = only(run(dataset_of([Given(one_dog())], "instances"), predictor, tasks=("correction",))).tasks
    got = {column: value(tasks["correction"], "clicks", "clicks", column) for column in expected}
    assert got == pytest.approx(expected)


def test_clicks_are_averaged_over_objects() -> None:
    """The cat starts where all the dog's columns end: with one click it has nothing, and never more."""
    tasks = only(
        run(
            dataset_of([Given(labelled(0))], "instances"),
            Narrowed([labelled(0)]),
            dataclasses.replace(OPTIONS, least_px=100),
            ("correction",),
        )
    ).tasks
    row = rows(tasks["correction"], "clicks")["clicks"]
    assert row.items == 2
    assert row.values["noc90"].value == pytest.approx((2 + 20) / 2)
    assert row.values["failed90"].value == pytest.approx(1 / 2)
    assert row.values["iou1"].value == pytest.approx((0.5 + 0) / 2)


def test_single_objects_by_hand() -> None:
    """Half of the large dog, nothing of the small one and the cat."""
    options = dataclasses.replace(OPTIONS, objects=0, prompts=("box",))
    dataset = dataset_of([Given(labelled(0))], "instances")
    row = rows(
        only(run(dataset, Narrowed([labelled(0)]), options, ("interactive",))).tasks["interactive"], "interactive"
    )
    assert row["box"].values["iou"].value == pytest.approx((0.5 + 0 + 0) / 3)
    assert row["box"].values["c_iou"].value == pytest.approx(200 / (400 + 40 + 400))
    crowd = labelled(0, is_crowd=np.array([True, False, False, False]))
    for task, table in (("interactive", "interactive"), ("correction", "clicks")):
        (asked, *_) = rows(only(run(dataset_of([Given(crowd)]), None, options, (task,))).tasks[task], table).values()
        assert asked.items == 2, "a crowd is no object"


def test_half_of_what_is_meant_is_enough_and_incomplete_classes_are_not_named() -> None:
    class Halved(KnowingPredictor):
        def answer(self, state: Any, prompt: Prompt) -> Any:
            answer = super().answer(state, prompt)
            left = np.arange(SIZE_HW[1]) < 15
            found = answer.instances
            return dataclasses.replace(answer, instances=Instances.of(found.masks & left, found.scores, found.labels))

    dog = Expression("the large dog", (0,))
    truth = one_dog(referring=(dog,), complete_for=frozenset({"dog"}))
    tasks = only(run(dataset_of([Given(truth)]), Halved([truth]), tasks=("referring", "class-phrases"))).tasks
    for name in ("referring", "class-phrases"):
        assert value(tasks[name], "fit", "answer", "p50") == 1, "IoU 0.5 exactly"
    several = labelled(0, complete_for=frozenset({"dog"}))
    task = only(run(dataset_of([Given(several)]), tasks=("class-phrases",))).tasks["class-phrases"]
    assert rows(task, "fit")["answer"].items == 1, "cats may be there without a mask"
    assert {table.key for table in task.tables} == {"fit"}, "nothing is known to be absent"


def test_alike_objects_by_hand() -> None:
    """Two dogs and a cat; exemplars are one dog and the cat."""
    dataset = dataset_of([Given(labelled(0))], "instances")
    table = rows(only(run(dataset, tasks=("vgd",))).tasks["vgd"], "visual")
    guess = table["exemplars alone"]
    assert guess.is_control
    assert guess.items == 3
    # Dogs: precision 1 up to recall 0.5, 51 of 101 points; the cat is whole.
    assert guess.values["ap"].value == pytest.approx((51 / 101 + 1) / 2)

    class Inventing(KnowingPredictor):
        def candidates(self, state: Any, prompt: Prompt) -> Any:
            made = super().candidates(state, prompt)
            masks = np.concatenate([np.roll(made.found.masks[:1], 30, axis=2), made.found.masks])
            scores = np.array([1, 0.9, 0.8, 0.7], np.float32)
            return dataclasses.replace(made, found=Instances.of(masks, scores, ("dog", *made.found.labels)))

    table = rows(only(run(dataset, Inventing([labelled(0)]), tasks=("vgd",))).tasks["vgd"], "visual")
    # Dogs: a miss, then two hits: precision 2/3 at every recall.
    assert table["box"].values["ap50"].value == pytest.approx((2 / 3 + 1) / 2)
    assert table["exemplars alone"].values["ap"].value == guess.values["ap"].value, "needs no model"


def test_crowds_are_no_exemplars_and_no_targets() -> None:
    truth = labelled(0, is_crowd=np.array([True, False, False, False]))
    table = rows(only(run(dataset_of([Given(truth)], "instances"), tasks=("vgd",))).tasks["vgd"], "visual")
    assert table["box"].items == 2
    assert table["box"].values["ap"].value == 1.0


def test_of_classes_that_may_be_there_unlabelled_no_exemplar_is_shown() -> None:
    predictor = KnowingPredictor([labelled(0)])
    truth = labelled(0, complete_for=frozenset({"dog"}))
    table = rows(only(run(dataset_of([Given(truth)], "instances"), predictor, tasks=("vgd",))).tasks["vgd"], "visual")
    assert table["box"].items == 2, "the dogs; other cats may be there"
    assert {category.label for prompt in predictor.asked for category in prompt.categories} == {"dog"}


def test_the_threshold_that_is_given_decides_which_alike_objects_are_shown() -> None:
    for threshold, words in ((1.0, "dog × 2, cat"), (0.0, "dog × 2, cat"), (None, "dog × 2, cat")):
        options = dataclasses.replace(OPTIONS, cases=1, threshold=threshold)
        (case, *_) = only(run(dataset_of([Given(labelled(0))]), options=options, tasks=("vgd",))).tasks["vgd"].cases
        assert case.answer_words == words

    class Unsure(KnowingPredictor):
        def candidates(self, state: Any, prompt: Prompt) -> Any:
            made = super().candidates(state, prompt)
            doubted = Instances.of(made.found.masks, made.found.scores * np.float32(0.5), made.found.labels)
            return dataclasses.replace(made, found=doubted)

    options = dataclasses.replace(OPTIONS, cases=1, threshold=0.6)
    dataset = dataset_of([Given(labelled(0))])
    (case, *_) = only(run(dataset, Unsure([labelled(0)]), options, ("vgd",))).tasks["vgd"].cases
    assert case.answer_words == "nothing"


def test_false_alarms_and_refusals_by_hand() -> None:
    """The large dog is answered, both dogs score too little, the absent car is answered with the cat."""
    scores = {"the large dog": 0.9, "both dogs": 0.2, "a green car": 0.8}

    class Alarmed(KnowingPredictor):
        def answer(self, state: Any, prompt: Prompt) -> Any:
            answer = super().answer(state, prompt)
            masks = answer.instances.masks if len(answer.instances) else CAT[None]
            score = np.array([scores[prompt.phrase]], np.float32)
            return dataclasses.replace(answer, instances=Instances.of(masks, score, (None,)))

    options = dataclasses.replace(OPTIONS, threshold=0.5)
    dataset = dataset_of([Given(labelled(0))])
    task = only(run(dataset, Alarmed([labelled(0)]), options, ("referring",))).tasks["referring"]
    fit = rows(task, "fit")["answer"]
    assert fit.items == 2, "the present ones"
    assert {key: fit.values[key].value for key in ("g_iou", "c_iou", "p50")} == {"g_iou": 1, "c_iou": 1, "p50": 1}
    refusing = rows(task, "refusing")["refusing"]
    assert refusing.items == 3
    dog, dogs, cat = 20 * 20, 20 * 20 + 4 * 10, 16 * 25
    expected = {"g_iou": 1 / 3, "c_iou": dog / (dog + dogs + cat), "n_acc": 0, "t_acc": 1 / 2}
    assert {key: refusing.values[key].value for key in expected} == pytest.approx(expected)


def test_average_precision_counts_proposals_that_nobody_sees() -> None:
    class Doubting(KnowingPredictor):
        def candidates(self, state: Any, prompt: Prompt) -> Any:
            made = super().candidates(state, prompt)
            doubted = Instances.of(made.found.masks, made.found.scores * np.float32(0.01), made.found.labels)
            return dataclasses.replace(made, found=doubted)

    tasks = only(run(SCENES, Doubting(TRUTHS), tasks=("generic",))).tasks
    assert value(tasks["generic"], "average_precision", "all", "ap") == 1
    assert value(tasks["generic"], "at_threshold", "all", "missed") == 1


def test_phrases_are_held_against_others_of_the_picture() -> None:
    """The large dog, both dogs, the cat: of the dogs' phrases only the cat's is about something else."""
    phrases = (
        Expression("the large dog", (0,)),
        Expression("both dogs", (0, 1)),
        Expression("the cat", (2,)),
        Expression("a green car", ()),
    )
    truth = labelled(0, referring=phrases)
    options = dataclasses.replace(OPTIONS, controls=True)

    class Deaf(KnowingPredictor):
        """Answers with the large dog, whatever is asked."""

        def answer(self, state: Any, prompt: Prompt) -> Any:
            return super().answer(state, dataclasses.replace(prompt, phrase="the large dog"))

    both = DOG.sum() / (DOG.sum() + 4 * 10)
    for predictor, answer, other in (
        (KnowingPredictor([truth]), 1.0, 0.0),
        (Deaf([truth]), (1 + both + 0) / 3, (1 + both + 0) / 3),
    ):
        table = rows(
            only(run(dataset_of([Given(truth)]), predictor, options, ("referring",))).tasks["referring"], "fit"
        )
        assert table["answer"].values["g_iou"].value == pytest.approx(answer)
        assert table["other"].items == 3, "the absent car is neither asked for nor answered"
        assert table["other"].values["g_iou"].value == pytest.approx(other), "who doesn't listen gains nothing"
        assert table["other"].is_control
    same = labelled(0, referring=phrases[:2])
    table = rows(only(run(dataset_of([Given(same)]), None, options, ("referring",))).tasks["referring"], "fit")
    assert "other" not in table


def test_right_refusals_are_no_cases() -> None:
    """Nothing is seen on either side, and they would take the places of all the best."""
    options = dataclasses.replace(OPTIONS, cases=9)
    for task in ("referring", "class-phrases"):
        cases = only(run(SCENES, options=options, tasks=(task,))).tasks[task].cases
        assert cases
        assert all((case.truth_words, case.answer_words) == ("object", "object") for case in cases), task
    missed = only(run(SCENES, KnowingPredictor(TRUTHS, nothing), options, ("referring",))).tasks["referring"].cases
    assert {(case.truth_words, case.answer_words) for case in missed} == {("object", "nothing")}


def test_a_control_passes_over_pictures_that_cannot_be_had() -> None:
    class Refused(Given):
        def load(self) -> GroundTruth:
            raise LabelStudioError("it refuses")

    records = [Given(TRUTHS[0]), Refused(TRUTHS[1]), Given(TRUTHS[2])]
    predictor = KnowingPredictor(TRUTHS)
    options = dataclasses.replace(OPTIONS, controls=True)
    dataset = only(run(dataset_of(records), predictor, options, ("interactive",)))
    assert dataset.unreadable == 1
    assert [failure.task for failure in dataset.failures] == [""]
    assert dataset.tasks["interactive"].pictures == 2


def test_masks_that_are_off_are_counted_as_that() -> None:
    """A third of the width to the right: the large dog keeps nothing, the cat 5 of 25 columns and more."""
    dataset = dataset_of([Given(labelled(0))], "instances")
    options = dataclasses.replace(OPTIONS, prompts=("box",), objects=0)
    tasks = only(run(dataset, KnowingPredictor([labelled(0)], moved), options)).tasks
    off = np.roll(CAT, 20, axis=1)
    iou = (off & CAT).sum() / (off | CAT).sum()
    assert 0.1 < iou < 0.2
    row = rows(tasks["interactive"], "interactive")["box"]
    assert row.items == 3
    assert row.values["iou"].value == pytest.approx(iou / 3)
    assert value(tasks["generic"], "at_threshold", "all", "found") == 0
    assert value(tasks["generic"], "at_threshold", "all", "invented") == 3
    assert value(tasks["generic"], "at_threshold", "all", "missed") == 1, "of what is there, not of what was said"


def test_the_guesses_need_no_model() -> None:
    tasks = only(run(SCENES, KnowingPredictor(TRUTHS, nothing), tasks=("interactive",))).tasks
    table = rows(tasks["interactive"], "interactive")
    assert table["filled box"].values["iou"].value == 1.0, "all objects are rectangles"
    assert 0.7 < table["ellipse"].values["iou"].value < 0.8, "pi / 4 of a rectangle"
    assert table["truth"].values["vertices"].value == 4
    assert all(table[key].is_control for key in ("filled box", "ellipse", "truth"))


def test_only_complete_classes_count() -> None:
    """Only the large dog is labelled: finding the cat would be wrong, were cats complete."""
    unlabelled = labelled(
        0,
        masks=np.stack([DOG]),
        names=("dog",),
        is_thing=np.ones(1, np.bool_),
        is_crowd=np.zeros(1, np.bool_),
        complete_for=frozenset({"dog"}),
        referring=(),
        questions=(),
        captions=(),
    )
    predictor = KnowingPredictor([labelled(0)])
    dataset = dataset_of([Given(unlabelled)], "instances", names=("dog", "cat"))
    table = rows(only(run(dataset, predictor, tasks=("generic",))).tasks["generic"], "at_threshold")
    assert table["all"].values["invented"].value == 1, "the small dog, which the truth lacks; not the cat"
    complete = dataclasses.replace(unlabelled, complete_for=frozenset({"dog", "cat"}))
    dataset = dataset_of([Given(complete)], "instances", names=("dog", "cat"))
    table = rows(only(run(dataset, predictor, tasks=("generic",))).tasks["generic"], "at_threshold")
    assert table["all"].values["invented"].value == 2


def assert_all_found(row: Row) -> None:
    """Nothing missed, nothing invented."""
    assert [row.values[key].value for key in ("found", "missed", "invented")] == [1, 0, 0]


def test_objects_of_incomplete_classes_are_not_missed() -> None:
    """The cat has a mask, other cats may have none: neither it nor what is found of cats counts."""
    truth = labelled(0, complete_for=frozenset({"dog"}))
    tasks = only(run(dataset_of([Given(truth)], "instances"), tasks=("generic",))).tasks
    row = rows(tasks["generic"], "at_threshold")["all"]
    assert row.items == 2
    assert_all_found(row)
    assert {row.key for row in rows(tasks["generic"], "per_label").values()} == {"dog"}


def test_a_class_may_be_complete_in_some_pictures_only() -> None:
    """In the first picture a cat is found and may be a right one: it is no miss before the second picture's hit."""
    truths = [dataclasses.replace(labelled(0), complete_for=frozenset({"dog"})), labelled(1)]
    tasks = only(run(dataset_of([Given(truth) for truth in truths], "instances"), tasks=("generic",))).tasks
    assert value(tasks["generic"], "per_label", "cat", "ap") == 1
    assert value(tasks["generic"], "at_threshold", "all", "invented") == 0


def test_crowds_are_neither_missed_nor_invented() -> None:
    """The large dog is a crowd of dogs, of which half is found as one; the others are found as they are."""
    truth = labelled(0, is_crowd=np.array([True, False, False, False]))
    part = DOG & (np.arange(SIZE_HW[1]) < 15)

    class Parting(KnowingPredictor):
        def candidates(self, state: Any, prompt: Prompt) -> Any:
            made = super().candidates(state, prompt)
            masks = np.concatenate([part[None], made.found.masks])
            scores = np.append(np.float32(1), made.found.scores * np.float32(0.9))
            return dataclasses.replace(made, found=Instances.of(masks, scores, ("dog", *made.found.labels)))

    tasks = only(run(dataset_of([Given(truth)]), Parting([truth]), tasks=("generic",))).tasks
    assert value(tasks["generic"], "panoptic", "all", "pq") == 1
    assert value(tasks["generic"], "average_precision", "all", "ap") == 1
    row = rows(tasks["generic"], "at_threshold")["all"]
    assert row.items == 2
    assert_all_found(row)
    assert row.values["ece"].value == pytest.approx(0.1), "two at 0.9 are right; what lies in the crowd is neither"


def test_semantic_truth_has_semantic_measures_only() -> None:
    dataset = dataset_of([Given(labelled(0))], "semantic", (Task.OPEN_VOCABULARY,))
    tasks = only(run(dataset)).tasks
    assert set(tasks) == {"open-vocabulary", "class-phrases"}
    assert {table.key for table in tasks["open-vocabulary"].tables} == {"semantic", "per_label"}
    assert value(tasks["open-vocabulary"], "semantic", "all", "miou") == 1
    assert tasks["open-vocabulary"].confusion is None


def test_ignored_pixels_count_neither_way() -> None:
    ignored = np.zeros(SIZE_HW, np.bool_)
    ignored[:, 15:] = True
    truth = labelled(0, questions=(Expression("What barks?", (0,)),), ignored=ignored)

    class Spilling(KnowingPredictor):
        def answer(self, state: Any, prompt: Prompt) -> Any:
            answer = super().answer(state, prompt)
            everywhere = answer.instances.masks | ignored
            return dataclasses.replace(
                answer, instances=Instances.of(everywhere, answer.instances.scores, answer.instances.labels)
            )

    dataset = dataset_of([Given(truth)], "phrases", (Task.REASONING,))
    task = only(run(dataset, Spilling([truth]))).tasks["reasoning"]
    assert value(task, "fit", "answer", "g_iou") == 1.0


def test_captions_with_masks_of_their_own_are_counted_whole() -> None:
    """Also masks whose phrase isn't found in the caption: "object" beyond the labels, as GLaMM has them."""
    truth = labelled(0, names=("a dog", "object", "a cat", "the sky"))
    for labelling, phrases in (("phrases", 4), ("panoptic", 2)):
        dataset = dataset_of([Given(truth)], labelling, (Task.GCG,))  # type: ignore[arg-type]
        table = rows(only(run(dataset)).tasks["gcg"], "captions")["all"]
        assert table.items == phrases
        # The answer has the masks of the caption's two phrases.
        assert table.values["recall"].value == pytest.approx(2 / phrases)
        assert table.values["miou"].value == 1.0


def test_classes_of_small_objects_only_are_neither_asked_for_nor_absent() -> None:
    truth = labelled(0, masks=np.stack([SMALL_DOG, SMALL_DOG, CAT, SKY]))
    predictor = KnowingPredictor([truth])
    options = dataclasses.replace(OPTIONS, least_px=100)
    task = only(run(dataset_of([Given(truth)]), predictor, options, ("class-phrases",))).tasks["class-phrases"]
    assert {prompt.phrase for prompt in predictor.asked} == {"cat", "sky", "car"}
    assert rows(task, "fit")["answer"].items == 2
    assert task.conditions["classes asked for"] == "with an object of at least 100 px"
    everything = KnowingPredictor([labelled(0)])
    run(dataset_of([Given(labelled(0))]), everything, options, ("class-phrases",))
    assert "dog" in {prompt.phrase for prompt in everything.asked}, (
        "the large one is there, the small one belongs to it"
    )
