from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xsam_backend.errors import LabelConfigError, PromptError
from xsam_backend.geometry.brush_rle import mask_to_brush_rle
from xsam_backend.geometry.raster import box_to_mask
from xsam_backend.labelstudio.context import (
    MAX_PHRASES,
    MAX_REGIONS,
    batch_prompts,
    context_target,
    interactive_request,
)
from xsam_backend.labelstudio.label_config import LabelConfig
from xsam_backend.prompts import Box, Category, Form, MaskRegion, Point, Task

RECORDED = Path(__file__).parents[1] / "recorded/label_studio"
SIZE_HW = (100, 200)
CAT_DOG = '<Label value="cat"/><Label value="dog"/>'


def config(*, kp: str = "", text: str = "", poly: str = "", labels: str = CAT_DOG, more: str = "") -> LabelConfig:
    return LabelConfig.parse(
        f"""<View><Image name="image" value="$image"/>
        <KeyPointLabels name="kp" toName="image" {kp}>{CAT_DOG}</KeyPointLabels>
        <RectangleLabels name="rect" toName="image" {kp}>{CAT_DOG}</RectangleLabels>
        <PolygonLabels name="poly" toName="image" smart="false" {poly}>{labels}</PolygonLabels>
        <TextArea name="words" toName="image" {text}/>{more}</View>"""
    )


def click(x: float, y: float, label: str | None = "cat", **more: Any) -> dict[str, Any]:
    value: dict[str, Any] = {"x": x, "y": y, "width": 0.3}
    if label:
        value |= {"labels": [label], "keypointlabels": [label]}
    kind = "keypointlabels" if label else "keypoint"
    return {"id": "c", "type": kind, "from_name": "kp", "to_name": "image", "value": value} | more


def box(x: float, y: float, label: str = "cat", **more: Any) -> dict[str, Any]:
    value = {"x": x, "y": y, "width": 20, "height": 20, "rotation": 0, "rectanglelabels": [label]}
    return {"id": "b", "type": "rectanglelabels", "from_name": "rect", "to_name": "image", "value": value} | more


def words(*texts: str) -> dict[str, Any]:
    return {"id": "t", "type": "textarea", "from_name": "words", "to_name": "image", "value": {"text": list(texts)}}


def ask(parsed: LabelConfig, *regions: dict[str, Any]) -> Any:
    return interactive_request(parsed, {"result": list(regions)}, SIZE_HW)


def recorded(name: str) -> tuple[LabelConfig, dict[str, Any], tuple[int, int]]:
    body = json.loads((RECORDED / f"interactive_{name}.json").read_text())["request"]["body"]
    context = body["params"]["context"]
    last = context["result"][-1] if context["result"] else {}
    return (
        LabelConfig.parse(body["label_config"]),
        context,
        (last.get("original_height", 240), last.get("original_width", 320)),
    )


@pytest.mark.parametrize(
    ("name", "label", "objects"),
    [
        ("keypoint_positive", "cat", ["+"]),
        ("keypoint_two_positive", "cat", ["++"]),
        ("keypoint_two_positive_one_negative", "cat", ["++-"]),
        ("keypoint_other_label_same_task", "dog", ["+"]),
        ("rectangle", "dog", ["B"]),
        ("rectangle_two_same_label", "dog", ["B", "B"]),
        ("rectangle_three_point_rotated", "dog", ["B"]),
        ("exif_orientation_6", "cat", ["+"]),
        ("multi_image", "cat", ["+"]),
    ],
)
def test_recorded_clicks_and_boxes(name: str, label: str, objects: list[str]) -> None:
    request = interactive_request(*recorded(name))
    signs = ["".join("B" if isinstance(r, Box) else "-+"[r.positive] for r in p.regions) for p in request.prompts]
    assert signs == objects
    assert request.label == label
    assert all(prompt.task is Task.INTERACTIVE and prompt.label == label for prompt in request.prompts)
    assert all(question.control.name == "poly" for question in request.questions)
    assert request.to_name == "image"


def test_recorded_click_is_in_pixels_of_the_turned_picture() -> None:
    # The file holds 320 x 240 pixels with EXIF orientation 6: the browser shows 240 x 320.
    parsed, context, size_hw = recorded("exif_orientation_6")
    assert size_hw == (320, 240)
    value = context["result"][0]["value"]
    (point,) = interactive_request(parsed, context, size_hw).prompts[0].regions
    assert point == Point(value["x"] * 2.4, value["y"] * 3.2)


def test_recorded_three_point_box_keeps_its_turn() -> None:
    (prompt,) = interactive_request(*recorded("rectangle_three_point_rotated")).prompts
    (region,) = prompt.regions
    assert isinstance(region, Box)
    assert region.rotation_deg == pytest.approx(10.63, abs=0.01)


def test_recorded_list_of_pictures_asks_about_the_last() -> None:
    parsed, context, size_hw = recorded("multi_image")
    target = context_target(parsed, context)
    assert (target.to_name, target.item_index, len(target.regions)) == ("image", 1, 1)
    assert interactive_request(parsed, context, size_hw).item_index == 1


@pytest.mark.parametrize("name", ["text_prompt", "text_while_keypoint_pending"])
def test_recorded_texts(name: str) -> None:
    request = interactive_request(*recorded(name))
    (prompt,) = request.prompts
    assert prompt.task is Task.OPEN_VOCABULARY
    assert prompt.categories[0].phrase in ("the red ball", "ball")
    assert request.label is None


@pytest.mark.parametrize("context", [{"result": []}, {}, None], ids=repr)
def test_empty_context_asks_nothing(context: dict[str, Any] | None) -> None:
    request = interactive_request(config(), context, SIZE_HW)
    assert request.questions == ()
    assert request.to_name == "image"
    assert interactive_request(*recorded("empty_context")).questions == ()


@pytest.mark.parametrize(
    ("regions", "groups", "reason"),
    [
        ([click(10, 10), click(20, 20)], [["p", "p"]], "clicks are one object"),
        ([box(0, 0), box(50, 50)], [["b"], ["b"]], "boxes are several"),
        ([box(0, 0), click(90, 90)], [["b", "p"]], "one box and a click anywhere are one object"),
        ([box(0, 0), box(50, 50), click(60, 60)], [["b"], ["b", "p"]], "a click joins the box it lies in"),
        ([box(0, 0), box(50, 50), click(90, 10)], [["b"], ["b"], ["p"]], "a click in no box is one more object"),
        ([click(10, 10, is_positive=False), click(50, 50)], [["n", "p"]], "a negative click goes with the object"),
        (
            [box(0, 0), box(50, 50), click(10, 10, is_positive=False)],
            [["b", "n"], ["b", "n"]],
            "a negative click goes with every object",
        ),
        ([click(10, 10, "dog"), click(20, 20)], [["p"]], "another label is another question"),
        (
            [click(10, 10, "dog", is_positive=False), click(20, 20)],
            [["n", "p"]],
            "a negative click counts under any label",
        ),
        (
            [click(10, 10), click(30, 30, is_positive=False), click(20, 20), click(40, 40, is_positive=False)],
            [["p", "n", "p", "n"]],
            "each click corrects what came before it",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_makes_an_object(regions: list[dict[str, Any]], groups: list[list[str]], reason: str) -> None:
    def sign(region: object) -> str:
        return "b" if isinstance(region, Box) else "p" if isinstance(region, Point) and region.positive else "n"

    request = ask(config(), *regions)
    assert [[sign(region) for region in prompt.regions] for prompt in request.prompts] == groups, reason


def test_strokes_hint_at_one_object_and_outlines_are_objects() -> None:
    stroke = box_to_mask(20, 20, 30, 5, SIZE_HW)
    brush = {"type": "brush", "to_name": "image", "value": {"format": "rle", "rle": mask_to_brush_rle(stroke)}}
    polygon = {"type": "polygon", "to_name": "image", "value": {"points": [[50, 50], [90, 50], [90, 90]]}}
    ellipse = {"type": "ellipse", "to_name": "image", "value": {"x": 80, "y": 20, "radiusX": 9, "radiusY": 9}}
    assert [len(prompt.regions) for prompt in ask(config(), brush, brush).prompts] == [2]
    request = ask(config(), brush, polygon, ellipse)
    assert [len(prompt.regions) for prompt in request.prompts] == [1, 1, 1]
    assert all(isinstance(region, MaskRegion) for prompt in request.prompts for region in prompt.regions)


def test_a_plain_click_may_have_the_label_of_either_labels_tag() -> None:
    parsed = LabelConfig.parse(
        """<View><Image name="image" value="$image"/>
        <Labels name="what" toName="image"><Label value="cat"/></Labels>
        <Labels name="where" toName="image"><Label value="sky"/></Labels>
        <KeyPoint name="kp" toName="image"/><Polygon name="poly" toName="image"/></View>"""
    )
    for label, name in (("cat", "what"), ("sky", "where")):
        plain = click(5, 5, None)
        beside = {**plain, "type": "labels", "from_name": name, "value": {**plain["value"], "labels": [label]}}
        (prompt,) = ask(parsed, plain, beside).prompts
        assert prompt.label == label
    (question,) = batch_prompts(parsed)
    assert [one.label for one in question.prompt.categories] == ["cat", "sky"]


def test_plain_clicks_without_label() -> None:
    assert ask(config(), click(5, 5, None)).prompts[0].label is None
    only = config(labels='<Label value="cat"/>')
    assert ask(only, click(5, 5, None)).prompts[0].label == "cat", "the output's only label"


def test_label_is_written_as_the_output_names_it() -> None:
    request = ask(config(labels='<Label value="animal" predicted_values="cat, dog"/>'), click(5, 5, "cat"))
    assert request.label == "cat"
    assert request.prompts[0].label == "animal"


def test_label_that_no_output_has_is_refused() -> None:
    with pytest.raises(LabelConfigError, match=r"'dog'.*\['cat'\]"):
        ask(config(labels='<Label value="cat"/>'), click(5, 5, "dog"))


def test_only_negative_clicks_are_refused() -> None:
    with pytest.raises(PromptError, match="click on the object itself"):
        ask(config(), click(5, 5, is_positive=False))


def test_threshold_of_the_prompting_tag_goes_before_the_output_s() -> None:
    output = 'model_score_threshold="0.3"'
    assert ask(config(poly=output), click(5, 5)).prompts[0].score_threshold == 0.3
    both = config(poly=output, kp='model_score_threshold="0.6"')
    assert ask(both, click(5, 5)).prompts[0].score_threshold == 0.6
    assert ask(both, words("cat")).prompts[0].score_threshold == 0.3


def test_vgd_asks_for_everything_like_the_examples() -> None:
    parsed = config(kp='model_task="vgdseg"')
    (prompt,) = ask(parsed, box(0, 0), click(60, 60), box(30, 30)).prompts
    assert prompt.task is Task.VGD
    assert len(prompt.regions) == 3
    assert prompt.categories == (Category("cat", "cat"),) * 3
    (unlabelled,) = ask(parsed, click(5, 5, None)).prompts
    assert unlabelled.categories == ()
    (but_not,) = ask(parsed, click(60, 60), click(5, 5, is_positive=False), click(70, 70)).prompts
    assert [isinstance(one, Point) and one.positive for one in but_not.regions] == [True, False, True]
    assert but_not.categories == (Category("cat", "cat"),) * 2, "one for each example"
    with pytest.raises(PromptError, match="all clicks are negative"):
        ask(parsed, click(5, 5, is_positive=False))


ALIKE = '<KeyPointLabels name="like" toName="image" model_task="vgd"><Label value="cat"/></KeyPointLabels>'


def like(x: float, **more: Any) -> dict[str, Any]:
    return click(x, 50, from_name="like", **more)


@pytest.mark.parametrize(
    ("regions", "task", "xs", "reason"),
    [
        ([like(10), click(20, 50)], Task.INTERACTIVE, [20], "all like it is still pending, one object is asked for"),
        ([click(20, 50), like(10)], Task.VGD, [10], "the other way round"),
        ([click(20, 50), like(10), click(30, 50)], Task.INTERACTIVE, [20, 30], "back to the object of before"),
        (
            [click(20, 50), like(10), click(30, 50, is_positive=False)],
            Task.INTERACTIVE,
            [20, 30],
            "a negative click goes with its own task",
        ),
        ([like(10), click(30, 50, is_positive=False)], Task.VGD, [10, 30], "unless that has nothing yet"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_tools_of_two_tasks_ask_apart(
    regions: list[dict[str, Any]], task: Task, xs: list[float], reason: str
) -> None:
    """Label Studio groups pending prompts by type, label and picture, whatever tool they are of."""
    (prompt,) = ask(config(more=ALIKE), *regions).prompts
    assert prompt.task is task, reason
    assert [point.x_px for point in prompt.regions] == [2 * x for x in xs], reason


@pytest.mark.parametrize("option", ['model_task="imgconv"', 'model_task="refseg"', 'model_task="semantic"'])
def test_text_areas_of_two_tasks_ask_apart(option: str) -> None:
    parsed = config(text='model_task="genseg"', more=f'<TextArea name="other" toName="image" {option}/>')
    other = {**words("dog"), "from_name": "other"}
    (prompt,) = ask(parsed, other, words("cat")).prompts
    assert [one.phrase for one in prompt.categories] == ["cat"]
    (prompt,) = ask(parsed, words("cat"), other).prompts
    assert [prompt.phrase, *(one.phrase for one in prompt.categories)] in (["dog"], ["", "dog"])


ALIASES = '<Label value="Feline" predicted_values="cat, kitten"/><Label value="dog"/>'


@pytest.mark.parametrize(
    ("texts", "task", "asked"),
    [
        (["the red ball"], Task.OPEN_VOCABULARY, [("the red ball", "the red ball")]),
        (["Dog"], Task.OPEN_VOCABULARY, [("dog", "dog")]),
        (["KITTEN"], Task.OPEN_VOCABULARY, [("kitten", "Feline")]),
        (["cat, dog; ball"], Task.OPEN_VOCABULARY, [("cat", "Feline"), ("dog", "dog"), ("ball", "ball")]),
        (["cat\ndog", "ball"], Task.OPEN_VOCABULARY, [("cat", "Feline"), ("dog", "dog"), ("ball", "ball")]),
        (["cat", "cat,"], Task.OPEN_VOCABULARY, [("cat", "Feline")]),
    ],
    ids=repr,
)
def test_phrases_and_their_labels(texts: list[str], task: Task, asked: list[tuple[str, str]]) -> None:
    (prompt,) = ask(config(labels=ALIASES), words(*texts)).prompts
    assert prompt.task is task
    assert [(category.phrase, category.label) for category in prompt.categories] == asked


def test_the_only_label_is_given_to_any_phrase() -> None:
    (prompt,) = ask(config(labels='<Label value="thing"/>'), words("red ball")).prompts
    assert prompt.categories == (Category("red ball", "thing", typed="red ball"),)


WORLD = """<Label value="Vehicle" predicted_values="car, truck"/>
<Label value="sky" model_stuff="true" model_score_threshold="0.7"/>"""


@pytest.mark.parametrize(
    ("texts", "asked"),
    [
        (["sky"], [("sky", "sky", False, "sky")]),
        (["vehicle"], [("car", "Vehicle", True, "vehicle"), ("truck", "Vehicle", True, "vehicle")]),
        (["truck"], [("truck", "Vehicle", True, "truck")]),
        (
            ["the red truck left of the sky"],
            [("the red truck left of the sky", "Vehicle", True, "the red truck left of the sky")],
        ),
        (["red ball"], [("red ball", "red ball", True, "red ball")]),
        (["truck, Vehicle"], [("truck", "Vehicle", True, "Vehicle"), ("car", "Vehicle", True, "Vehicle")]),
    ],
    ids=["stuff", "a name: all its words", "one of its words", "described", "none of them", "each word once"],
)
def test_a_phrase_that_names_a_label_asks_as_the_label_does(
    texts: list[str], asked: list[tuple[str, str, bool, str]]
) -> None:
    (prompt,) = ask(config(labels=WORLD), words(*texts)).prompts
    assert [(one.phrase, one.label, one.is_thing, one.typed) for one in prompt.categories] == asked
    assert {one.score_threshold for one in prompt.categories} == ({0.7} if texts == ["sky"] else {None})


def test_the_only_label_says_whether_a_phrase_is_stuff() -> None:
    (prompt,) = ask(config(labels='<Label value="Water" model_stuff="true"/>'), words("river")).prompts
    assert [(one.phrase, one.label, one.is_thing) for one in prompt.categories] == [("river", "Water", False)]


def test_question_is_reasoned_about_and_not_parted() -> None:
    (prompt,) = ask(config(), words("which one, if any, could bite?")).prompts
    assert prompt.task is Task.REASONING
    assert prompt.phrase == "which one, if any, could bite?"
    both = ask(config(), words("could it bite?", "dog"))
    assert [prompt.task for prompt in both.prompts] == [Task.REASONING, Task.OPEN_VOCABULARY]


@pytest.mark.parametrize(
    ("option", "text", "task", "phrases"),
    [
        ("refseg", "the man on the left, in red", Task.REFERRING, "the man on the left, in red"),
        ("reaseg", "what bites", Task.REASONING, "what bites"),
        ("imgconv", "what is this?", Task.CONVERSATION, "what is this?"),
        ("genseg", "cat, ball", Task.GENERIC, ["cat", "ball"]),
        ("ovseg", "cat?", Task.OPEN_VOCABULARY, ["cat?"]),
        ("gcgseg", "describe", Task.GCG, ""),
    ],
)
def test_task_of_the_text_area(option: str, text: str, task: Task, phrases: str | list[str]) -> None:
    (prompt,) = ask(config(text=f'model_task="{option}"'), words(text)).prompts
    assert prompt.task is task
    if isinstance(phrases, str):
        assert prompt.phrase == phrases
    else:
        assert [category.phrase for category in prompt.categories] == phrases


STRICT_CAT = '<Label value="cat" model_score_threshold="0.9"/><Label value="dog"/>'


@pytest.mark.parametrize(
    ("asked", "of_prompt", "of_categories"),
    [
        (click(5, 5), 0.9, []),
        (click(5, 5, "dog"), 0.4, []),
        (words("cat, dog, cow"), 0.4, [0.9, None, None]),
    ],
    ids=["click", "click for another label", "words"],
)
def test_a_labels_own_threshold_goes_first(
    asked: dict[str, Any], of_prompt: float, of_categories: list[float | None]
) -> None:
    parsed = config(labels=STRICT_CAT, poly='model_score_threshold="0.4"')
    (prompt,) = ask(parsed, asked).prompts
    assert prompt.score_threshold == of_prompt
    assert [one.score_threshold for one in prompt.categories] == of_categories
    (batch,) = batch_prompts(parsed)
    assert [one.score_threshold for one in batch.prompt.categories] == [0.9, None]
    refers = batch_prompts(config(labels=STRICT_CAT, poly='model_score_threshold="0.4" model_task="refseg"'))
    assert [question.prompt.score_threshold for question in refers] == [0.9, 0.4]


def test_an_examples_label_brings_its_threshold() -> None:
    (prompt,) = ask(config(labels=STRICT_CAT, kp='model_task="vgd"'), click(5, 5)).prompts
    assert [one.score_threshold for one in prompt.categories] == [0.9]


@pytest.mark.parametrize("form", Form)
def test_a_batch_is_cut_as_the_output_says(form: Form) -> None:
    (question,) = batch_prompts(config(poly=f'model_task="{form}"'))
    assert (question.prompt.task, question.prompt.form) == (Task.GENERIC, form)


def test_a_text_may_ask_for_a_form_too() -> None:
    (prompt,) = ask(config(text='model_task="semantic"'), words("cat, ball")).prompts
    assert (prompt.task, prompt.form) == (Task.GENERIC, Form.SEMANTIC)
    (usual,) = ask(config(), words("cat, ball")).prompts
    assert usual.form is Form.OBJECTS


@pytest.mark.parametrize(
    ("parsed", "region"),
    [
        (config(kp='model_task="refseg"'), click(5, 5)),
        (config(kp='model_task="panoptic"'), click(5, 5)),
        (config(text='model_task="intseg"'), words("cat")),
        (config(text='model_task="vgd"'), words("which?")),
    ],
    ids=["click refers", "click covers all", "text is interactive", "text is an example"],
)
def test_task_that_does_not_fit_the_prompt_is_refused(parsed: LabelConfig, region: dict[str, Any]) -> None:
    with pytest.raises(LabelConfigError, match="does not fit"):
        ask(parsed, region)


def test_phrases_of_different_outputs_are_asked_apart() -> None:
    parsed = config(
        more='<BrushLabels name="brush" toName="image" smart="false"><Label value="sky"/></BrushLabels>',
    )
    request = ask(parsed, words("cat, sky, dog"))
    assert [question.control.name for question in request.questions] == ["poly", "brush"]
    assert [[c.label for c in prompt.categories] for prompt in request.prompts] == [["cat", "dog"], ["sky"]]


@pytest.mark.parametrize(
    ("texts", "message"),
    [([""], "empty"), (["  ", "\n"], "empty"), ([], "empty"), ([",;,"], "0 phrases"), (["a" * 501], "shorter")]
    + [([",".join(map(str, range(MAX_PHRASES + 1)))], "51 phrases")],
)
def test_texts_that_ask_nothing_or_too_much(texts: list[str], message: str) -> None:
    with pytest.raises(PromptError, match=message):
        ask(config(), words(*texts))


@pytest.mark.parametrize(
    ("context", "message"),
    [
        ([], "expected the context"),
        ({"result": {}}, "expected the context"),
        ({"result": ["x"]}, "expected the context"),
        ({"result": [click(1, 1)] * (MAX_REGIONS + 1)}, "201 regions"),
        ({"result": [click(math.nan, 1)]}, "finite"),
        ({"result": [click(1, 1, item_index="0")]}, "item_index"),
        ({"result": [click(1, 1, item_index=-1)]}, "item_index"),
        ({"result": [click(1, 1, to_name=4)]}, "to_name"),
        ({"result": [{"type": "choices", "value": {"choices": ["a"]}}]}, "'choices'"),
        ({"result": [{}]}, "type None"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_contexts_that_cannot_be_read(context: Any, message: str) -> None:
    with pytest.raises(PromptError, match=message):
        interactive_request(config(), context, SIZE_HW)


def test_picture_that_is_not_in_the_config() -> None:
    with pytest.raises(LabelConfigError, match="'gone'"):
        ask(config(), click(1, 1, to_name="gone"))


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
KEYS = st.sampled_from(["id", "type", "value", "to_name", "from_name", "item_index", "is_positive", "original_width"])


@given(st.lists(st.dictionaries(KEYS, JSON | st.sampled_from(["keypoint", "textarea", "image", "kp"])), max_size=3))
def test_any_json_is_answered_or_refused(regions: list[dict[str, Any]]) -> None:
    try:
        request = interactive_request(config(), {"result": regions}, SIZE_HW)
    except (PromptError, LabelConfigError):
        return  # anything else would be a fault of ours
    assert bool(request.questions) == bool(regions)


def test_batch_asks_each_output_for_its_own_labels() -> None:
    parsed = config(
        labels=ALIASES,
        poly='model_score_threshold="0.35"',
        more='<BrushLabels name="brush" toName="image" smart="false" model_task="ovseg"><Label value="Sky"'
        ' model_stuff="true"/></BrushLabels>',
    )
    first, second = batch_prompts(parsed)
    assert first.control.name == "poly"
    assert first.prompt.task is Task.GENERIC
    assert first.prompt.score_threshold == 0.35
    assert [(c.phrase, c.label) for c in first.prompt.categories] == [
        ("cat", "Feline"),
        ("kitten", "Feline"),
        ("dog", "dog"),
    ]
    assert second.prompt.task is Task.OPEN_VOCABULARY
    assert second.prompt.categories == (Category("sky", "Sky", is_thing=False),)


@pytest.mark.parametrize(
    ("option", "rest", "reason"),
    [
        ('model_task="panoptic"', "other", "what no segment covers"),
        ('model_task="semantic"', "other", "what no area covers"),
        ("", None, "objects leave nothing over: nobody said that all of them are found"),
    ],
)
def test_a_background_is_not_looked_for(option: str, rest: str | None, reason: str) -> None:
    labels = f'{CAT_DOG}<Label value="other" model_background="true"/>'
    (question,) = batch_prompts(config(poly=option, labels=labels))
    assert [one.label for one in question.prompt.categories] == ["cat", "dog"]
    assert question.prompt.rest == rest, reason


def test_a_background_can_be_drawn_with_a_tool() -> None:
    labels = f'{CAT_DOG}<Label value="other" model_background="true"/>'
    tool = f'<KeyPointLabels name="kp2" toName="image">{labels}</KeyPointLabels>'
    (prompt,) = ask(config(labels=labels, more=tool), click(50, 50, "other", from_name="kp2")).prompts
    assert (prompt.task, prompt.label) == (Task.INTERACTIVE, "other")


@pytest.mark.parametrize(
    ("option", "asked"),
    [
        ("", [("poly", ["cat", "dog"]), ("ring", ["Sky"])]),
        ('model_output="true"', [("ring", ["cat", "Sky"]), ("poly", ["dog"])]),
        ('model_task="refseg"', [("poly", ["cat", "dog"]), ("ring", ["Sky"])]),
    ],
    ids=["the first output has it", "the one that was asked for goes first", "phrase by phrase"],
)
def test_batch_writes_an_object_once(option: str, asked: list[tuple[str, list[str]]]) -> None:
    ring = '<EllipseLabels name="ring" toName="image" {}><Label value="cat"/><Label value="Sky"/></EllipseLabels>'
    found: dict[str, list[str]] = {}
    for question in batch_prompts(config(more=ring.format(option))):
        labels = [category.label for category in question.prompt.categories] or [question.prompt.label or ""]
        found.setdefault(question.control.name, []).extend(labels)
    assert list(found.items()) == asked


def test_batch_writes_twice_where_both_outputs_are_asked_for() -> None:
    more = '<EllipseLabels name="ring" toName="image" model_output="true"><Label value="cat"/></EllipseLabels>'
    questions = batch_prompts(config(poly='model_output="true"', more=more))
    assert [[c.label for c in q.prompt.categories] for q in questions] == [["cat", "dog"], ["cat"]]


def test_batch_refers_once_for_each_phrase() -> None:
    questions = batch_prompts(config(labels=ALIASES, poly='model_task="refseg"'))
    assert [(q.prompt.phrase, q.prompt.label) for q in questions] == [
        ("cat", "Feline"),
        ("kitten", "Feline"),
        ("dog", "dog"),
    ]


def test_batch_captions_where_asked_to() -> None:
    (question,) = batch_prompts(config(poly='model_task="gcgseg"'))
    assert question.prompt.task is Task.GCG


@pytest.mark.parametrize(
    ("parsed", "message"),
    [
        (config(poly='model_task="intseg"'), "does not fit a picture that nobody has touched"),
        (config(labels="", kp='model_output="false"'), "no output control has labels"),
        (LabelConfig.parse('<View><Image name="i" value="$i"/></View>'), "no control tag can take masks"),
    ],
    ids=["needs a click", "no labels", "no output"],
)
def test_batch_with_nothing_to_look_for(parsed: LabelConfig, message: str) -> None:
    with pytest.raises(LabelConfigError, match=message):
        batch_prompts(parsed)
