"""Whole runs with a model that knows the truth, says nothing, or is off: every number is where it must be."""

from __future__ import annotations

import dataclasses
import gc
import math
import weakref
from typing import Any

import numpy as np
import pytest
from knowing_predictor import KnowingPredictor, RefusingPredictor, moved, nothing
from measured_pictures import Given, dataset_of, labelled
from measured_runs import OPTIONS, SCENES, TRUTHS, only, rows, run, value

from xsam_backend.errors import DatasetError
from xsam_backend.evaluation.datasets.records import Dataset
from xsam_backend.evaluation.running import Watching, Wish, evaluate
from xsam_backend.evaluation.tasks.choosing import TASKS, chosen_tasks
from xsam_backend.ground_truth import GroundTruth
from xsam_backend.instances import Instances
from xsam_backend.prompts import Box, Prompt, Task

LEFT_OVER = {"missed", "other_label", "invented", "ece", "failed85", "failed90"}
"""What is 0 where everything is right."""

OTHERWISE = {"noc85": 1.0, "noc90": 1.0, "cider": None, "vertices": None}
"""What is neither 0 nor 1 then; None: it depends."""


def test_who_knows_the_truth_is_perfect() -> None:
    tasks = only(run(SCENES)).tasks
    assert set(tasks) == {name for name in TASKS if name != "open-vocabulary"}
    for name, task in tasks.items():
        assert task.pictures == 3, name
        for table in task.tables:
            assert table.rows, (name, table.key)
            for row in table.rows:
                for column in table.columns:
                    if row.is_control or column.key not in row.values:
                        continue
                    got = row.values[column.key].value
                    want = OTHERWISE.get(column.key, 0.0 if column.key in LEFT_OVER else 1.0)
                    assert want is None or got == pytest.approx(want), (name, table.key, row.key, column.key)
    assert value(tasks["gcg"], "captions", "all", "cider") > 3


def test_who_says_nothing_has_nothing_but_its_refusals() -> None:
    tasks = only(run(SCENES, KnowingPredictor(TRUTHS, nothing))).tasks
    for name, table, row, columns in (
        ("generic", "average_precision", "all", ("ap", "ap50", "ap75")),
        ("generic", "panoptic", "all", ("pq", "rq")),
        ("generic", "at_threshold", "all", ("found", "other_label", "invented")),
        ("referring", "fit", "answer", ("g_iou", "c_iou", "p50")),
        ("referring", "refusing", "refusing", ("t_acc", "c_iou")),
        ("class-phrases", "fit", "answer", ("g_iou", "c_iou", "p50")),
        ("gcg", "captions", "all", ("ap50", "miou", "recall")),
        ("vgd", "visual", "box", ("ap", "ap50", "ap75")),
        ("interactive", "interactive", "point", ("iou", "c_iou", "boundary")),
        ("correction", "clicks", "clicks", ("iou1", "iou5")),
    ):
        for column in columns:
            assert value(tasks[name], table, row, column) == 0, (name, table, column)
    assert value(tasks["generic"], "at_threshold", "all", "missed") == 1
    assert value(tasks["referring"], "refusing", "refusing", "n_acc") == 1
    # One of three phrases is about something absent: a right refusal counts 1.
    assert value(tasks["referring"], "refusing", "refusing", "g_iou") == pytest.approx(1 / 3)
    assert value(tasks["correction"], "clicks", "clicks", "noc90") == 20
    assert value(tasks["correction"], "clicks", "clicks", "failed85") == 1
    assert math.isnan(value(tasks["interactive"], "interactive", "box", "vertices")), "there are no polygons"


def test_a_picture_is_encoded_once_for_all_its_questions() -> None:
    predictor = KnowingPredictor(TRUTHS)
    run(SCENES, predictor)
    assert predictor.encoded == [truth.source for truth in TRUTHS]
    assert len(predictor.asked) > 80


def test_controls_ask_about_the_next_picture_and_for_other_phrases() -> None:
    predictor = KnowingPredictor(TRUTHS)
    tasks = only(run(SCENES, predictor, dataclasses.replace(OPTIONS, controls=True))).tasks
    own = [truth.source for truth in TRUTHS]
    assert sorted(predictor.encoded) == sorted(own * 2), "each picture, and each as another's control"
    assert value(tasks["class-phrases"], "fit", "swapped", "g_iou") == 0, "absent classes get no mask"
    assert "box elsewhere" in rows(tasks["interactive"], "interactive")
    questions = rows(tasks["reasoning"], "fit")
    assert questions["answer"].items == 3
    assert questions["swapped"].items == 2, "there is no picture before the first"
    assert questions["swapped"].values["g_iou"].value == 0, "another picture's question means nothing here"


def test_of_a_single_picture_there_is_no_control_on_another() -> None:
    dataset = dataset_of([Given(labelled(0))])
    tasks = only(run(dataset, options=dataclasses.replace(OPTIONS, controls=True))).tasks
    assert "box elsewhere" not in rows(tasks["interactive"], "interactive")
    assert "elsewhere" not in rows(tasks["class-phrases"], "fit")


def test_the_same_seed_gives_the_same_numbers_and_a_task_alone_too() -> None:
    options = dataclasses.replace(OPTIONS, controls=True, objects=2)
    whole, again = (only(run(SCENES, KnowingPredictor(TRUTHS, moved), options)) for _ in range(2))
    assert _numbers(whole.tasks) == _numbers(again.tasks)
    for name in ("interactive", "vgd", "class-phrases"):
        alone = only(run(SCENES, KnowingPredictor(TRUTHS, moved), options, (name,)))
        assert _numbers(alone.tasks) == _numbers({name: whole.tasks[name]})


def _numbers(tasks: Any) -> dict[tuple[str, ...], str]:
    """Printed, so that nan equals nan."""
    return {
        (name, table.key, row.key, column): f"{row.items} {estimate}"
        for name, task in tasks.items()
        for table in task.tables
        for row in table.rows
        for column, estimate in row.values.items()
    }


def test_few_and_large_objects_are_asked_for_where_that_is_wished() -> None:
    options = dataclasses.replace(OPTIONS, objects=1, least_px=100, prompts=("box",))
    predictor = KnowingPredictor(TRUTHS)
    tasks = only(run(SCENES, predictor, options, ("interactive",))).tasks
    assert rows(tasks["interactive"], "interactive")["box"].items == 3
    assert len(predictor.asked) == 3
    heights = {prompt.regions[0].height_px for prompt in predictor.asked}  # type: ignore[union-attr]
    assert heights <= {20.0, 16.0}, "the small dog has 40 px"
    words = tasks["interactive"].conditions["objects of a picture"]
    assert words == "at most 1, drawn at random (seeded per picture), of at least 100 px"


def test_a_data_sets_own_prompts_are_asked_and_the_references_choice_is_shown() -> None:
    boxes = tuple(Box(1.0 + index, 2.0, 20.0, 10.0) for index in range(4))
    truth = labelled(0)
    predictor = KnowingPredictor([truth])
    dataset = dataset_of([Given(truth, boxes)], "instances", (Task.INTERACTIVE, Task.VGD))
    wish = Wish(dataset, ("interactive", "vgd"), OPTIONS, own_prompts="box")
    tasks = only(evaluate(predictor, "by hand", [wish])).tasks
    asked = [prompt.regions for prompt in predictor.asked if prompt.task is Task.INTERACTIVE]
    assert asked == [(box,) for box in boxes[:3] for _ in range(2)], "things only, each once more for the reference"
    assert {"box", "box closest"} <= set(rows(tasks["interactive"], "interactive"))
    assert "point" not in rows(tasks["interactive"], "interactive")
    (exemplars,) = (prompt.regions for prompt in predictor.asked if prompt.task is Task.VGD)
    assert set(exemplars) <= set(boxes)
    assert tasks["vgd"].conditions["prompts"] == "the data set's own"


def test_an_unreadable_picture_is_named_and_the_others_are_measured() -> None:
    records = [Given(TRUTHS[0]), Given(TRUTHS[1], error="picture 1.jpg: expected a picture"), Given(TRUTHS[2])]
    told: list[str] = []
    dataset = only(
        run(dataset_of(records), KnowingPredictor(TRUTHS), failed=lambda failure: told.append(failure.source))
    )
    assert (dataset.pictures, dataset.reached, dataset.unreadable) == (3, 3, 1)
    assert told == ["picture 1.jpg"]
    assert dataset.failures[0].reason == "picture 1.jpg: expected a picture"
    assert dataset.tasks["generic"].pictures == 2
    assert value(dataset.tasks["generic"], "panoptic", "all", "pq") == 1.0


def test_a_question_that_cannot_be_asked_costs_one_task_only() -> None:
    dataset = only(run(SCENES, RefusingPredictor(TRUTHS, Task.GCG)))
    assert dataset.unreadable == 0
    assert [(failure.task, failure.reason) for failure in dataset.failures] == [("gcg", "too many words")] * 3
    assert dataset.tasks["gcg"].pictures == 0
    assert dataset.tasks["interactive"].pictures == 3
    assert math.isnan(value(dataset.tasks["gcg"], "captions", "all", "ap50"))


@pytest.mark.parametrize(
    ("questions", "reached", "pictures"),
    [(0, 0, {0}), (4, 0, {0, 1}), (10_000, 3, {3})],
    ids=["before the first question", "within the first picture", "never"],
)
def test_a_stopped_run_has_what_there_is(questions: int, reached: int, pictures: set[int]) -> None:
    predictor = KnowingPredictor(TRUTHS)
    second = dataset_of([Given(labelled(9))])
    evaluation = evaluate(
        predictor,
        "by hand",
        [Wish(SCENES, (), OPTIONS), Wish(second, (), OPTIONS)],
        Watching(is_stopping=lambda: len(predictor.asked) >= questions),
    )
    assert evaluation.is_partial is (questions < 10_000)
    assert len(evaluation.datasets) == (1 if evaluation.is_partial else 2)
    first = evaluation.datasets[0]
    assert first.reached == reached
    assert {task.pictures for task in first.tasks.values()} <= pictures
    # What was counted before the stop is whole: the one picture of "generic" is right.
    if first.tasks["generic"].pictures:
        assert value(first.tasks["generic"], "panoptic", "all", "pq") == 1.0


def test_nothing_of_a_picture_is_kept() -> None:
    """Neither its pixels nor its masks: 5,000 pictures would not fit."""
    alive: list[weakref.ref[Any]] = []

    class Watched(Given):
        def load(self) -> GroundTruth:
            truth = super().load()
            alive.extend((weakref.ref(truth.image), weakref.ref(truth.masks)))
            return truth

    records = [Watched(truth) for truth in TRUTHS]
    seen: list[int] = []

    def watched(dataset: Dataset) -> Any:
        for record in dataset.records:
            gc.collect()
            seen.append(sum(one() is not None for one in alive))
            yield record

    run(dataset_of(records), KnowingPredictor(TRUTHS), pictures=watched)
    # Two of the picture before may live until the next one is there.
    assert max(seen) <= 2
    gc.collect()
    assert not any(one() is not None for one in alive)


@pytest.mark.parametrize(
    ("dataset", "task", "said"),
    [
        (dataset_of([], "phrases", (Task.REASONING,)), "generic", "which needs classes: it allows reasoning"),
        (dataset_of([], "instances", (Task.GENERIC,)), "gcg", "which needs captions with grounded phrases"),
        (dataset_of([], "semantic", (Task.OPEN_VOCABULARY,)), "vgd", "it allows open-vocabulary, class-phrases"),
        (SCENES, "panoptic", "expected tasks among generic, open-vocabulary, referring"),
        (dataset_of([], "phrases", (Task.CONVERSATION,)), "generic", "its truth allows none of"),
    ],
    ids=["questions only", "no captions", "no objects", "no such task", "nothing to measure"],
)
def test_a_task_that_does_not_fit_is_refused(dataset: Dataset, task: str, said: str) -> None:
    with pytest.raises(DatasetError, match=said):
        chosen_tasks(dataset, (task,))
    predictor = KnowingPredictor(TRUTHS)
    with pytest.raises(DatasetError):
        evaluate(predictor, "by hand", [Wish(SCENES, (), OPTIONS), Wish(dataset, (task,), OPTIONS)])
    assert predictor.encoded == [], "found out before anything is measured"


def test_without_a_data_set_there_is_nothing_to_evaluate() -> None:
    with pytest.raises(DatasetError, match="at least one data set"):
        evaluate(KnowingPredictor([]), "by hand", [])


def test_all_that_a_number_depends_on_stands_beside_it() -> None:
    evaluation = run(SCENES, options=dataclasses.replace(OPTIONS, seed=5, max_detections=500, threshold=0.4))
    assert (evaluation.model_version, evaluation.queries, evaluation.seed) == ("knowing-1", 7, 5)
    assert (evaluation.rounds, evaluation.confidence) == (20, 0.95)
    dataset = only(evaluation)
    assert (dataset.name, dataset.split, dataset.notes) == ("by hand", "val", ("made for a test",))
    assert dataset.tasks["generic"].conditions["maxDets"] == 500
    assert dataset.tasks["generic"].conditions["score threshold"] == 0.4
    assert str(dataset.tasks["vgd"].conditions["exemplars"]).startswith("one exemplar per class")
    assert all(task.conditions["queries of the model"] == 7 for task in dataset.tasks.values())
    estimate = rows(dataset.tasks["generic"], "panoptic")["all"].values["pq"]
    assert (estimate.low, estimate.high) == (1.0, 1.0)
    default = run(SCENES, tasks=("generic",))
    assert only(default).tasks["generic"].conditions["score threshold"] == 0.3, "the model's own"


def test_the_threshold_decides_what_annotators_see_and_no_other_number() -> None:
    class Unsure(KnowingPredictor):
        def candidates(self, state: Any, prompt: Prompt) -> Any:
            made = super().candidates(state, prompt)
            doubted = Instances.of(made.found.masks, made.found.scores * np.float32(0.5), made.found.labels)
            return dataclasses.replace(made, found=doubted)

    for threshold, found in ((0.4, 1.0), (0.6, 0.0)):
        options = dataclasses.replace(OPTIONS, threshold=threshold)
        tasks = only(run(SCENES, Unsure(TRUTHS), options)).tasks
        assert value(tasks["generic"], "at_threshold", "all", "found") == found
        assert value(tasks["generic"], "average_precision", "all", "ap") == 1.0
        assert value(tasks["vgd"], "visual", "box", "ap") == 1.0
    assert math.isnan(value(tasks["generic"], "at_threshold", "all", "ece")), "nothing is seen at 0.6"


def test_cases_are_the_best_the_worst_and_others() -> None:
    options = dataclasses.replace(OPTIONS, cases=1)
    tasks = only(run(SCENES, options=options)).tasks
    order = ["best", "worst", "random"]
    for name, task in tasks.items():
        kinds = [case.kind for case in task.cases]
        assert kinds == sorted(set(kinds), key=order.index), name
        assert bool(kinds) is (name != "correction"), name
        assert all(case.truth_jpeg.startswith(b"\xff\xd8") for case in task.cases)
    (best, *_) = tasks["interactive"].cases
    assert best.score == 1.0
    assert best.truth_words == "dog"
