"""The plan of a label config against real requests; that each gesture comes so over HTTP: tests/server."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from xsam_backend.labelstudio.context import interactive_request
from xsam_backend.labelstudio.gestures import ANY_LABEL, Asked, Gesture, Plan, plan_of
from xsam_backend.labelstudio.label_config import LabelConfig

RECORDED = Path(__file__).parents[1] / "recorded/label_studio"
CAT_DOG = '<Label value="cat"/><Label value="dog"/>'


def plan(*tags: str) -> Plan:
    return plan_of(LabelConfig.parse(f'<View><Image name="image" value="$image"/>{"".join(tags)}</View>'))


def tag(kind: str, name: str, labels: str = CAT_DOG, attributes: str = "") -> str:
    return f'<{kind} name="{name}" toName="image" {attributes}>{labels}</{kind}>'


def brief(asked: tuple[Asked, ...]) -> list[tuple[str, str | None, list[str]]]:
    return [
        (str(one.gesture), one.chosen, [f"{q.prompt.task} {q.control.name} {q.prompt.label}" for q in one.questions])
        for one in asked
    ]


@pytest.mark.parametrize(
    ("name", "gesture", "chosen"),
    [
        ("interactive_keypoint_positive", Gesture.CLICK, "cat"),
        ("interactive_keypoint_other_label_same_task", Gesture.CLICK, "dog"),
        ("interactive_rectangle", Gesture.BOX, "dog"),
        ("interactive_multi_image", Gesture.CLICK, "cat"),
        ("interactive_text_prompt", Gesture.WORDS, None),
        ("labels_beside_keypoints", Gesture.CLICK, "disc"),
        ("labels_beside_rectangle", Gesture.BOX, "disc"),
    ],
)
def test_what_label_studio_sent_was_planned(name: str, gesture: Gesture, chosen: str | None) -> None:
    body = json.loads((RECORDED / f"{name}.json").read_text())["request"]["body"]
    config = LabelConfig.parse(body["label_config"])
    context = body["params"]["context"]
    request = interactive_request(config, context, (320, 320))
    sender = context["result"][0]["from_name"]
    (planned,) = [
        one for one in plan_of(config).asked if (one.tool.name, one.gesture, one.chosen) == (sender, gesture, chosen)
    ]
    assert [(q.prompt.task, q.prompt.label, q.control) for q in planned.questions] == [
        (q.prompt.task, q.prompt.label, q.control) for q in request.questions
    ]


def test_each_label_of_each_tool_is_tried() -> None:
    asked = plan(
        tag("KeyPointLabels", "kp"), tag("RectangleLabels", "box", '<Label value="dog"/>'), tag("PolygonLabels", "p")
    ).asked
    assert brief(asked) == [
        ("click", "cat", ["intseg p cat"]),
        ("click", "dog", ["intseg p dog"]),
        ("box", "dog", ["intseg p dog"]),
    ]


def test_words_are_tried_with_each_label_with_none_and_as_a_question() -> None:
    labels = '<Label value="cat"/><Label value="dogs, cows"/>'
    asked = plan(tag("TextArea", "t", ""), tag("PolygonLabels", "p", labels)).asked
    assert brief(asked) == [
        ("words", "cat", ["ovseg p None"]),
        ("words", None, ["ovseg p None"]),
        ("question", None, ["reaseg p None"]),
    ], "a comma would part the label"
    assert asked[0].questions[0].prompt.categories[0].label == "cat"


def test_what_is_refused_is_planned_as_refused() -> None:
    found = plan(
        tag("KeyPointLabels", "kp"), tag("PolygonLabels", "p", '<Label value="cat"/>', 'model_task="intseg"')
    )
    assert [one.problem is None for one in found.asked] == [True, False]
    assert "label 'dog' cannot be written" in str(found.asked[1].problem)
    assert found.pre_labels == ()
    assert "does not fit a picture that nobody has touched" in str(found.pre_labels_problem)


def test_what_label_studio_does_not_send() -> None:
    asked = plan(
        tag("BrushLabels", "b"), tag("BitmaskLabels", "m"), tag("TextArea", "t", "", 'perRegion="true"')
    ).asked
    assert {(one.gesture, one.is_sent) for one in asked} == {(Gesture.STROKE, False)}
    assert all(one.questions for one in asked), "other clients may send it"
    assert all(one.is_sent for one in plan(tag("KeyPointLabels", "kp")).asked)


@pytest.mark.parametrize(
    ("output", "labels"),
    [('value="$labels"', [ANY_LABEL]), ("", ["cat", "dog"])],
    ids=["of the task", "of the output"],
)
def test_labels_that_come_with_each_task(output: str, labels: list[str]) -> None:
    inside = "" if output else CAT_DOG
    found = plan(tag("KeyPointLabels", "kp", "", 'value="$labels"'), tag("PolygonLabels", "p", inside, output))
    assert [(one.chosen, one.questions[0].prompt.label) for one in found.asked] == [(name, name) for name in labels]


def test_without_an_output_nothing_is_answered() -> None:
    found = plan(tag("TextArea", "t", ""))
    assert all("no control tag can take masks" in str(one.problem) for one in found.asked)
    assert len(found.asked) == 2
