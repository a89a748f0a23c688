"""From events, the API and exports to kept annotations: nothing lost, nothing twice, whatever the order."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest
from learning_parts import CONFIG, KEY, PROJECT, Api, Parts, annotation, created, logged, polygon, task

from xsam_backend.errors import LabelConfigError, LabelStudioError, RequestError
from xsam_backend.store.predictions import PredictionLog
from xsam_backend.store.projects import ProjectKey

DELETED = {"action": "ANNOTATIONS_DELETED", "annotations": [{"id": 10}], "project": PROJECT}


def put(parts: Parts, *events: dict[str, Any], verified: bool = True) -> None:
    for event in events:
        parts.inbox.put(event, KEY, verified=verified)


def test_an_accepted_annotation_is_kept_with_its_task(parts: Parts) -> None:
    put(parts, created())
    assert parts.collect() == []
    (kept,) = parts.kept
    assert (kept.annotation_id, kept.task_id, kept.state, kept.annotator) == (10, 114, "accepted", 1)
    assert kept.result == (polygon("rg1"),)
    (known,) = parts.tasks.of_project(KEY)
    assert [(one.to_name, one.address) for one in known.pictures] == [("image", "/data/upload/21/114.png")]


@pytest.mark.parametrize(
    ("event", "states"),
    [
        pytest.param(created(was_cancelled=True, result=[]), ["skipped"], id="a skipped task"),
        pytest.param(created(action="ANNOTATION_UPDATED", second=30), ["accepted"], id="changed"),
        pytest.param(DELETED, ["deleted"], id="deleted"),
        pytest.param({"action": "TASKS_DELETED", "tasks": [{"id": 114}], "project": PROJECT}, [], id="task deleted"),
        pytest.param({"action": "PROJECT_UPDATED", "project": PROJECT}, ["accepted"], id="nothing about annotations"),
        pytest.param({"action": "START_TRAINING", "project": PROJECT}, ["accepted"], id="for others to hear"),
    ],
)
def test_what_events_mean(parts: Parts, event: dict[str, Any], states: list[str]) -> None:
    put(parts, created(second=1), event)
    assert parts.collect() == []
    assert [one.state for one in parts.kept] == states


def test_many_at_once(parts: Parts) -> None:
    many = {
        "action": "ANNOTATIONS_CREATED",
        "annotation": [annotation(10, 114), annotation(11, 115), annotation(12, 114)],
        "task": [task(114), task(115)],
        "project": PROJECT,
    }
    put(parts, many)
    assert parts.collect() == []
    assert [(one.task_id, one.annotation_id) for one in parts.kept] == [(114, 10), (114, 12), (115, 11)]


def test_doubled_and_out_of_order_events_end_the_same(parts: Parts) -> None:
    story = [
        created(10, second=1),
        created(10, action="ANNOTATION_UPDATED", second=2, result=[polygon("rg1"), polygon("rg2", "dog")]),
        created(11, 115, second=3),
        created(12, 116, second=4),
        {"action": "ANNOTATIONS_DELETED", "annotations": [{"id": 12}], "project": PROJECT},
    ]
    ends = []
    for seed in range(6):
        rng = random.Random(seed)
        events = story * 2
        rng.shuffle(events)
        for event in events:
            put(parts, event)
            if rng.random() < 0.5:
                parts.collect()  # as after a restart: young events are read again
        parts.collect()
        ends.append([(one.annotation_id, one.state, len(one.result)) for one in parts.kept])
    assert ends == [[(10, "accepted", 2), (11, "accepted", 1), (12, "deleted", 1)]] * 6


@pytest.mark.parametrize(
    ("spoilt", "words"),
    [
        pytest.param({"result": "none"}, "list of regions", id="no regions"),
        pytest.param({"result": [1]}, "list of regions", id="a region that is none"),
        pytest.param({"id": "ten"}, "number as 'id'", id="no number"),
        pytest.param({"updated_at": "yesterday"}, "'updated_at'", id="no time"),
        pytest.param({"task": 7}, "expected that task", id="another task"),
    ],
)
def test_an_event_that_cannot_be_understood_is_told_and_costs_no_other(
    parts: Parts, spoilt: dict[str, Any], words: str
) -> None:
    event = created(9)
    event["annotation"] |= spoilt
    put(parts, event, created(11))
    (said,) = parts.collect()
    assert words in said
    assert [one.annotation_id for one in parts.kept] == [11]


def test_a_hint_is_not_believed_but_asks_for_the_truth(parts: Parts) -> None:
    parts.projects.remember(ProjectKey.parse(KEY))
    put(parts, created(), verified=False)
    parts.inbox.put(created(), "local/99.5", verified=False)
    parts.collect()
    assert parts.kept == []
    assert [key for key, _ in parts.projects.sync_wanted()] == [KEY], "unknown projects aren't made up"


def shown(parts: Parts) -> dict[str, bool]:
    (kept,) = parts.kept
    return {region.region_id: region.interactive for region in kept.shown}


@pytest.mark.parametrize(
    ("result", "parent", "expected"),
    [
        pytest.param(["old1"], None, {"old1", "old2"}, id="one of a pre-annotation: the other was deleted"),
        pytest.param(["new1", "hand"], None, {"new1"}, id="the newest pre-annotation"),
        pytest.param(["click"], None, {"click"}, id="asked for by a click"),
        pytest.param([], 134, {"new1"}, id="all of the pre-annotation was deleted"),
        pytest.param(["hand"], None, set(), id="drawn by hand, before or without a pre-annotation"),
    ],
)
def test_what_the_annotator_was_shown(
    parts: Parts, result: list[str], parent: int | None, expected: set[str]
) -> None:
    parts.log.add([logged("old1"), logged("old2"), logged("new1", 5), logged("click", 6, interactive=True)])
    parts.log.add([logged("other", 5, task_id=115)])
    put(parts, created(result=[polygon(number) for number in result], parent_prediction=parent))
    parts.collect()
    assert set(shown(parts)) == expected


def test_sync_fetches_what_was_missed(parts: Parts) -> None:
    api = Api(
        task(114, annotations=[annotation(10), annotation(13, was_cancelled=True, result=[])]),
        task(115, annotations=[annotation(11, 115, completed_by={"id": 7, "email": "a@b.c"})]),
        task(116, annotations=[]),
    )
    put(parts, created(10, second=1))
    parts.collect()
    synced = parts.collector.sync(api, 21)
    assert (str(synced.project), synced.tasks, synced.news, synced.deleted) == (KEY, 3, 3, 0)
    assert [(one.annotation_id, one.state, one.annotator) for one in parts.kept] == [
        (10, "accepted", 1),
        (13, "skipped", 1),
        (11, "accepted", 7),
    ]
    assert {one.task_id for one in parts.tasks.of_project(KEY)} == {114, 115}
    assert parts.collector.sync(api, 21).news == 0, "again: nothing new"
    assert parts.projects.all()[0].title == "cats"


def test_sync_notes_what_is_gone(parts: Parts) -> None:
    api = Api(task(114, annotations=[annotation(10), annotation(12)]), task(115, annotations=[annotation(11, 115)]))
    parts.collector.sync(api, 21)
    api.rows = [task(114, annotations=[annotation(12)])]
    assert parts.collector.sync(api, 21).deleted == 2
    assert [(one.annotation_id, one.state) for one in parts.kept] == [(10, "deleted"), (12, "accepted")]
    assert [one.task_id for one in parts.tasks.of_project(KEY)] == [114]


def test_a_task_that_the_listing_passed_over_is_not_taken_for_deleted(parts: Parts) -> None:
    api = Api(task(114, annotations=[annotation(10)]), task(115, annotations=[annotation(11, 115)]))
    parts.collector.sync(api, 21)
    api.missed = {115}
    assert parts.collector.sync(api, 21).deleted == 0
    assert [one.state for one in parts.kept] == ["accepted", "accepted"]


def test_neither_is_one_whose_annotations_are_all_gone(parts: Parts) -> None:
    api = Api(task(114, annotations=[annotation(10)]))
    parts.collector.sync(api, 21)
    api.rows[0]["annotations"] = []
    api.missed = {114}
    parts.collector.sync(api, 21)
    api.rows[0]["annotations"], api.missed = [annotation(11)], set()
    parts.collector.sync(api, 21)
    assert [(one.annotation_id, one.state) for one in parts.kept] == [(10, "deleted"), (11, "accepted")]


def test_a_task_that_sync_cannot_understand_costs_no_other(parts: Parts) -> None:
    api = Api(task(113, annotations=[annotation(9, 113, result="none")]), task(114, annotations=[annotation(10)]))
    synced = parts.collector.sync(api, 21)
    assert [one.annotation_id for one in parts.kept] == [10]
    (problem,) = synced.problems
    assert "task 113: annotation 9: expected a list of regions" in problem


def test_another_project_under_the_same_number_is_not_collected(parts: Parts) -> None:
    api = Api(task(114, annotations=[annotation(10)]))
    with pytest.raises(LabelStudioError, match=r"expected project local/21\.5, Label Studio has local/21\."):
        parts.collector.sync(api, 21, ProjectKey("local", 21, 5))
    assert parts.kept == []
    assert parts.projects.all() == []


def test_sync_reads_only_what_is_new(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    api = Api(task(114, annotations=[annotation(10)]), task(115, annotations=[annotation(11, 115)]))
    parts.collector.sync(api, 21)
    for known in parts.tasks.lacking():
        parts.tasks.copied(known, [replace(known.pictures[0], sha256="a" * 64, size_hw=(240, 320))])
    api.rows[1]["annotations"] = [annotation(11, 115, second=30)]
    read: list[int] = []
    of_task = parts.log.batch_of_task
    monkeypatch.setattr(
        PredictionLog, "batch_of_task", lambda _, key, number: (read.append(number), of_task(key, number))[1]
    )
    assert parts.collector.sync(api, 21).news == 1
    assert read == [115]


def test_a_mended_address_is_heard_of_until_the_picture_is_copied(parts: Parts) -> None:
    broken, mended = task(114, data={"image": "/gone.png"}), task(114, data={"image": "/here.png"})
    for row in (broken, mended):
        parts.collector.sync(Api({**row, "annotations": [annotation(10)]}), 21)
    (known,) = parts.tasks.lacking()
    assert known.pictures[0].address == "/here.png"


def test_what_an_event_could_not_tell_is_fetched(parts: Parts) -> None:
    parts.projects.remember(ProjectKey.parse(KEY))
    event = created()
    event["project"] = {**PROJECT, "label_config": "<View/>"}
    put(parts, event, created(11))
    (said,) = parts.collect()
    assert "Image" in said
    assert [one.annotation_id for one in parts.kept] == [11]
    assert [key for key, _ in parts.projects.sync_wanted()] == [KEY]


@pytest.mark.parametrize(
    "strange",
    [
        pytest.param({"completed_by": 2**70}, id="a number no database holds"),
        pytest.param({"result": [polygon("\ud800")]}, id="an id that is no text"),
        pytest.param({"result": [polygon("\0")]}, id="an id that PostgreSQL refuses"),
        pytest.param({"updated_at": "0001-01-01T00:00:00+10:00"}, id="a time before time"),
    ],
)
def test_nothing_in_an_event_stops_those_behind_it(parts: Parts, strange: dict[str, Any]) -> None:
    event = created(9)
    event["annotation"] |= strange
    put(parts, event, created(11))
    parts.collect()
    assert 11 in [one.annotation_id for one in parts.kept]


def test_a_surprise_in_an_event_stops_none_behind_it(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    keep = parts.annotations.keep

    def surprised(annotations: Any) -> int:
        if annotations[0].annotation_id == 9:
            raise OverflowError("nobody thought of this")
        return keep(annotations)

    monkeypatch.setattr(parts.annotations, "keep", surprised)
    put(parts, created(9), created(11))
    assert parts.collect() == ["nobody thought of this"]
    assert [one.annotation_id for one in parts.kept] == [11]


def test_an_export_is_taken_in_whole(parts: Parts) -> None:
    rows = [task(114, annotations=[annotation(10)]), task(115, annotations=[annotation(11, 115)])]
    done = parts.collector.import_export(rows, ProjectKey.parse(KEY), CONFIG)
    assert (done.tasks, done.news) == (2, 2)
    assert [one.annotation_id for one in parts.kept] == [10, 11]


@pytest.mark.parametrize("rows", [[1], [{"data": {}}], [{"id": 1, "annotations": ["x"]}]])
def test_what_is_no_export_is_said(parts: Parts, rows: list[Any]) -> None:
    with pytest.raises(RequestError, match=r"expected"):
        parts.collector.import_export(rows, ProjectKey.parse(KEY), CONFIG)


def test_a_config_without_a_picture_is_said(parts: Parts) -> None:
    with pytest.raises(LabelConfigError):
        parts.collector.import_export([task(annotations=[annotation()])], ProjectKey.parse(KEY), "<View/>")


@pytest.mark.parametrize("verified", [True, False])
def test_a_believable_event_tells_title_and_config(parts: Parts, verified: bool) -> None:
    put(parts, {"action": "PROJECT_UPDATED", "project": PROJECT}, verified=verified)
    parts.collect()
    project = parts.projects.of(KEY)
    known = project and (project.title, project.label_config, project.confirmed)
    assert known == (("cats", CONFIG, True) if verified else None), "nobody makes projects up"
