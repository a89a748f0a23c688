from __future__ import annotations

import itertools
import json
import time
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from label_studio_sdk.label_interface import LabelInterface

from xsam_backend.errors import LabelConfigError, RequestError
from xsam_backend.labelstudio.label_config import MAX_CHARACTERS, MAX_DEPTH, LabelConfig
from xsam_backend.labelstudio.tags import GEOMETRIES, clean_phrase
from xsam_backend.prompts import Category, Form, Task

RECORDED = Path(__file__).parents[1] / "recorded/label_studio"
CAT_DOG = '<Label value="cat"/><Label value="dog"/>'


def config(*tags: str) -> LabelConfig:
    return LabelConfig.parse(f'<View><Image name="image" value="$image"/>{"".join(tags)}</View>')


def tag(kind: str, name: str, labels: str = CAT_DOG, attributes: str = "") -> str:
    return f'<{kind} name="{name}" toName="image" {attributes}>{labels}</{kind}>'


@pytest.mark.parametrize(
    ("file", "outputs", "prompts"),
    [
        ("interactive_polygon.xml", ["poly"], ["kp", "rect", "prompt"]),
        ("interactive_brush.xml", ["brush"], ["kp", "rect"]),
        ("interactive_bitmask.xml", ["mask"], ["kp"]),
        ("multi_image.xml", ["brush"], ["kp"]),
        ("smart_only.xml", ["poly"], ["kp", "rect"]),
        ("every_image_tag.xml", ["poly"], ["kp", "rect", "brush", "bm", "prompt"]),
    ],
)
def test_recorded_configs(file: str, outputs: list[str], prompts: list[str]) -> None:
    parsed = LabelConfig.parse((RECORDED / "label_configs" / file).read_text())
    assert [output.name for output in parsed.outputs] == outputs
    assert [control.name for control in parsed.controls if control.is_prompt_tool] == prompts
    assert parsed.image().name == "image"


@pytest.mark.parametrize(
    "file", ["interactive_polygon.xml", "interactive_brush.xml", "interactive_bitmask.xml", "multi_image.xml"]
)
def test_labels_agree_with_the_sdk(file: str) -> None:
    xml = (RECORDED / "label_configs" / file).read_text()
    theirs = {name: (one.tag, list(one.to_name), one.labels) for name, one in LabelInterface(xml)._controls.items()}
    for control in LabelConfig.parse(xml).controls:
        assert theirs[control.name] == (control.tag, [control.to_name], list(control.label_names))


BRUSH, POLYGON, BOX = tag("BrushLabels", "brush"), tag("PolygonLabels", "poly"), tag("RectangleLabels", "box")
KEYPOINT = tag("KeyPointLabels", "kp")


@pytest.mark.parametrize(
    ("tags", "outputs", "reason"),
    [
        ([KEYPOINT, BRUSH, POLYGON], ["poly"], "polygon before brush: an object is written once"),
        ([KEYPOINT, BOX], ["box"], "prompt tools alone: the box takes the answers"),
        ([KEYPOINT], ["kp"], "a keypoint is better than nothing"),
        ([KEYPOINT, tag("BrushLabels", "brush")], ["brush"], "smart is true unless said otherwise"),
        (
            [BRUSH, tag("RectangleLabels", "box", attributes='smart="false"')],
            ["box"],
            "not a prompt tool comes first",
        ),
        (
            [POLYGON, tag("BrushLabels", "sky", '<Label value="sky"/>', 'smart="false"')],
            ["poly", "sky"],
            "a label that no better output has",
        ),
        (
            [POLYGON, tag("KeyPointLabels", "kp", '<Label value="nose"/>')],
            ["poly"],
            "a prompt tool's label is no output",
        ),
        ([POLYGON, tag("BrushLabels", "brush", attributes='model_output="true"')], ["brush"], "asked for in words"),
        (
            [
                tag("PolygonLabels", "poly", attributes='model_output="true"'),
                tag("RectangleLabels", "box", attributes='model_output="true"'),
            ],
            ["poly", "box"],
            "both asked for: each object is written twice",
        ),
        ([tag("PolygonLabels", "poly", attributes='model_output="false"'), BRUSH], ["brush"], "forbidden in words"),
        ([tag("PolygonLabels", "poly", attributes='model_output="false"')], [], "nothing is left"),
        ([tag("Polygon", "plain", ""), POLYGON], ["poly"], "a plain tag brings no label"),
        ([tag("Polygon", "plain", ""), tag("KeyPoint", "click", "")], ["plain"], "plain tags alone"),
        ([tag("PolygonLabels", "far").replace("image", "elsewhere")], [], "draws on no picture"),
        ([tag("Choices", "c", ""), tag("VectorLabels", "v")], [], "kinds we cannot write"),
        (
            ['<PolygonLabels name="poly" toName="image" value="$labels"/>'],
            ["poly"],
            "labels that come with the task",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_which_controls_are_outputs(tags: list[str], outputs: list[str], reason: str) -> None:
    assert [output.name for output in config(*tags).outputs] == outputs, reason


def test_geometries_are_ranked_as_stated() -> None:
    kinds = {"polygon": "Polygon", "brush": "Brush", "bitmask": "Bitmask", "rectangle": "Rectangle"}
    kinds |= {"ellipse": "Ellipse", "keypoint": "KeyPoint"}
    for better, worse in itertools.pairwise(GEOMETRIES):
        tags = [tag(f"{kinds[worse]}Labels", "worse", attributes='smart="false"')]
        tags += [tag(f"{kinds[better]}Labels", "better", attributes='smart="false"')]
        assert [output.name for output in config(*tags).outputs] == ["better"]


def test_each_picture_has_its_own_outputs() -> None:
    xml = """<View><Image name="left" value="$a"/><Image name="right" value="$b"/>
      <PolygonLabels name="p" toName="left"><Label value="cat"/></PolygonLabels>
      <BrushLabels name="b" toName="right" smart="false"><Label value="cat"/></BrushLabels>
      <RectangleLabels name="both" toName="left, right"><Label value="cat"/></RectangleLabels></View>"""
    parsed = LabelConfig.parse(xml)
    assert [(output.name, output.to_name) for output in parsed.outputs] == [("p", "left"), ("b", "right")]
    assert parsed.output_for("cat", "right")[0].name == "b"
    assert parsed.image_value({"a": "1.png", "b": "2.png"}, "right") == "2.png"
    assert [control.to_name for control in parsed.controls if control.name == "both"] == ["left", "right"]


LABELS = """
  <Label value="Vehicle" predicted_values="car, Delivery_Truck , car" background="#00f"/>
  <Label value="Traffic_Light"/>
  <Label value="Long name for annotators" alias="short"/>
  <Label value="Sky" model_stuff="true"/>
  <Label value="Traffic_Light"/>
  <Label/>
"""


def test_labels_aliases_and_phrases() -> None:
    (control,) = config(tag("PolygonLabels", "poly", LABELS)).controls
    assert control.label_names == ("Vehicle", "Traffic_Light", "short", "Sky")
    assert control.labels[0].background == "#00f"
    assert control.categories == (
        Category("car", "Vehicle"),
        Category("delivery truck", "Vehicle"),
        Category("traffic light", "Traffic_Light"),
        Category("long name for annotators", "short"),
        Category("sky", "Sky", is_thing=False),
    )


@pytest.mark.parametrize(
    ("asked", "label"),
    [
        ("Vehicle", "Vehicle"),
        ("vehicle", "Vehicle"),
        ("DELIVERY TRUCK", "Vehicle"),
        ("traffic light", "Traffic_Light"),
        ("short", "short"),
        ("long name for annotators", "short"),
    ],
)
def test_aliases_and_case_find_the_label(asked: str, label: str) -> None:
    control, found = config(tag("PolygonLabels", "poly", LABELS)).output_for(asked)
    assert (control.name, found) == ("poly", label)


def test_exact_name_wins_over_an_alias_in_a_better_output() -> None:
    parsed = config(
        tag("PolygonLabels", "poly", '<Label value="animal" predicted_values="cat"/>'),
        tag("BrushLabels", "brush", '<Label value="cat"/>', 'smart="false"'),
    )
    assert parsed.output_for("cat")[0].name == "brush"
    assert parsed.output_for("Cat") == (parsed.outputs[0], "animal")


def test_without_a_label_the_only_one_is_taken() -> None:
    assert config(tag("PolygonLabels", "poly", '<Label value="cat"/>')).output_for(None)[1] == "cat"
    assert config(POLYGON).output_for(None)[1] is None


def test_unknown_label_is_told_with_cause_mend_and_both_lists() -> None:
    parsed = config(KEYPOINT.replace("dog", "unicorn"), POLYGON)
    with pytest.raises(LabelConfigError) as error:
        parsed.output_for("unicorn")
    message = str(error.value)
    for part in ("'unicorn'", "['cat', 'dog']", "['cat', 'unicorn']", '<Label value="unicorn"/>', "predicted_values"):
        assert part in message


def test_label_beside_a_plain_tag() -> None:
    parsed = config(tag("Labels", "what"), tag("Brush", "brush", ""))
    assert parsed.outputs[0].labels_name == "what"
    assert parsed.output_for("dog") == (parsed.outputs[0], "dog")
    assert parsed.outputs[0].label_key is None


def test_labels_of_all_tags_beside_a_plain_tag() -> None:
    """Label Studio offers both for whatever is drawn."""
    more = tag("Labels", "more", '<Label value="sky" model_stuff="true"/><Label value="dog" model_stuff="true"/>')
    parsed = config(tag("Labels", "what"), more, tag("Brush", "brush", ""))
    (brush,) = parsed.outputs
    assert [(one.name, one.is_thing) for one in brush.labels] == [("cat", True), ("dog", True), ("sky", False)]
    assert [brush.labels_name_of(name) for name in ("cat", "dog", "sky", "unknown")] == [
        "what",
        "what",
        "more",
        "what",
    ]
    assert parsed.output_for("sky") == (brush, "sky")


def test_output_without_labels_takes_any_label() -> None:
    assert config(KEYPOINT, tag("Polygon", "plain", "")).output_for("cat")[1] is None


def test_dynamic_labels_are_taken_as_they_are() -> None:
    assert config('<PolygonLabels name="p" toName="image" value="$l"/>').output_for("anything")[1] == "anything"


def test_options_are_read() -> None:
    options = (
        'model_score_threshold="0.4" model_task="vgd" model_rotated="true" model_polygon_iou="0.9" smart="false"'
    )
    (control,) = config(tag("RectangleLabels", "box", attributes=options)).controls
    assert control.options.score_threshold == 0.4
    assert control.options.task is Task.VGD
    assert control.options.rotated
    assert control.options.polygon_iou == 0.9
    assert not control.smart


@pytest.mark.parametrize(
    ("tags", "names", "reason"),
    [
        (
            [POLYGON, tag("RectangleLabels", "box", attributes='smartOnly="true"')],
            {"box"},
            "no plain tool",
        ),
        ([POLYGON, BOX], set(), "somebody may draw a box as an object"),
        (
            [POLYGON, tag("RectangleLabels", "box", attributes='smartOnly="true" smart="false"')],
            set(),
            "asks nothing",
        ),
        ([tag("RectangleLabels", "box", attributes='smartOnly="true"')], set(), "it is the output, too"),
        ([POLYGON, '<TextArea name="words" toName="image" smartOnly="true"/>'], set(), "words are no objects"),
    ],
)
def test_tools_that_only_ask(tags: list[str], names: set[str], reason: str) -> None:
    assert config(*tags).asks_only == names, reason


def test_a_label_may_have_a_threshold_of_its_own() -> None:
    labels = '<Label value="cat" predicted_values="cat, kitten" model_score_threshold="0.9"/><Label value="dog"/>'
    (control,) = LabelConfig.parse(
        '<View><Image name="image" value="$image"/>'
        f'<PolygonLabels name="p" toName="image">{labels}</PolygonLabels></View>'
    ).controls
    assert [one.score_threshold for one in control.categories] == [0.9, 0.9, None]
    assert [control.threshold_of(label) for label in ("cat", "dog", "cow", None)] == [0.9, None, None, None]
    with pytest.raises(LabelConfigError, match="Label 'cat': model_score_threshold must be a number from 0 to 1"):
        LabelConfig.parse(
            '<View><Image name="image" value="$image"/><PolygonLabels name="p" toName="image">'
            '<Label value="cat" model_score_threshold="90"/></PolygonLabels></View>'
        )


@pytest.mark.parametrize("form", Form)
def test_forms_of_the_generic_task(form: Form) -> None:
    options = config(tag("BrushLabels", "b", attributes=f'model_task="{form.value.title()}"')).controls[0].options
    assert (options.task, options.form) == (Task.GENERIC, form)


@pytest.mark.parametrize("name", ["genseg", "gen", "GENERIC", "open_vocabulary", "reaseg", " intseg "])
def test_names_of_tasks(name: str) -> None:
    assert config(tag("PolygonLabels", "p", attributes=f'model_task="{name}"')).controls[0].options.task


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ('model_score_threshold="1.5"', "from 0 to 1"),
        ('model_score_threshold="40%"', "from 0 to 1"),
        ('model_score_threshold="nan"', "from 0 to 1"),
        ('model_polygon_iou="0.2"', "from 0.5 to 1"),
        ('model_task="segment"', "genseg, ovseg"),
        ('model_task="panoptics"', "panoptic, semantic"),
        ('model_output="yes"', '"true" or "false"'),
        ('model_rotated="1"', '"true" or "false"'),
    ],
)
def test_impossible_options_name_tag_option_and_what_is_possible(option: str, words: str) -> None:
    with pytest.raises(LabelConfigError) as error:
        config(tag("PolygonLabels", "poly", attributes=option))
    assert "PolygonLabels 'poly'" in str(error.value)
    assert option.partition("=")[0] in str(error.value)
    assert words in str(error.value)


def test_options_of_others_are_noted_not_refused() -> None:
    parsed = config(tag("PolygonLabels", "poly", attributes='model_score_treshold="0.4" model_path="yolo.pt"'))
    assert len(parsed.notes) == 2
    assert "did you mean 'model_score_threshold'?" in parsed.notes[0]
    assert "model_path" in parsed.notes[1]


def test_options_of_labels_are_noted_too() -> None:
    (note,) = config(tag("PolygonLabels", "poly", '<Label value="cat" model_stuf="true"/>')).notes
    assert "PolygonLabels 'poly', Label 'cat': option 'model_stuf'" in note
    assert "did you mean 'model_stuff'?" in note


@pytest.mark.parametrize(
    ("areas", "for_words", "for_reasons"),
    [
        ([], None, None),
        (["a smart"], None, None),
        (["a"], "a", None),
        (["a", "b"], "a", None),
        (["a why", "b"], "b", "a"),
        (["a region", "b"], "b", None),
        (["a region why"], None, None),
        (["a smart why", "b why"], None, "b"),
    ],
    ids=lambda value: "-".join(value).replace(" ", "_") if isinstance(value, list) else "",
)
def test_where_words_are_written(areas: list[str], for_words: str | None, for_reasons: str | None) -> None:
    """Not to a text area that asks, nor to one about each region: what is written there has no place."""
    written = {"smart": 'smart="true"', "why": 'model_says_why="true"', "region": 'perRegion="true"'}
    tags = []
    for area in areas:
        name, *words = area.split()
        attributes = [written[word] for word in words] + ([] if "smart" in words else ['smart="false"'])
        tags.append(tag("TextArea", name, "", " ".join(attributes)))
    parsed = config(*tags)
    found = [parsed.words_area("image", says_why=says_why) for says_why in (False, True)]
    assert [area.name if area else None for area in found] == [for_words, for_reasons]
    assert parsed.words_area("other", says_why=False) is None


def test_text_of_each_region_is_no_prompt() -> None:
    """Label Studio 1.23 sends nothing of it (tried in a browser)."""
    parsed = config(*(tag("TextArea", name, "", more) for name, more in [("a", ""), ("b", 'perRegion="true"')]))
    assert [control.is_prompt_tool for control in parsed.controls] == [True, False]


BILLION_LAUGHS = '<!DOCTYPE v [<!ENTITY a "aa"><!ENTITY b "&a;&a;">]><View>&b;<Image name="i" value="$i"/></View>'
OUTSIDE = '<!DOCTYPE v [<!ENTITY a SYSTEM "file:///etc/passwd">]><View><Image name="i" value="$i"/>&a;</View>'


@pytest.mark.parametrize(
    ("xml", "words"),
    [
        ("", "empty"),
        ("   ", "empty"),
        ("<View>", "not well-formed"),
        ("not xml", "not well-formed"),
        ("<View>\x00</View>", "not well-formed"),
        ("<View>\ud800</View>", "not well-formed"),
        ('<View a="&undefined;"/>', "not well-formed"),
        ("<!DOCTYPE v><View/>", "DOCTYPE"),
        (BILLION_LAUGHS, "DOCTYPE"),
        (OUTSIDE, "DOCTYPE"),
        ("<View>" + " " * MAX_CHARACTERS + "</View>", "characters"),
        ("<View/>", "no picture"),
        ('<View><Text name="t" value="$t"/></View>', "found only text, view: add an Image tag"),
        ('<View><Image name="i"/></View>', "no picture"),
    ],
    ids=lambda value: value[:20] if isinstance(value, str) else "",
)
def test_hostile_broken_or_useless_xml_is_refused(xml: str, words: str) -> None:
    with pytest.raises(LabelConfigError, match=words):
        LabelConfig.parse(xml)


def test_nesting_is_bounded() -> None:
    for depth, passes in ((MAX_DEPTH - 1, True), (MAX_DEPTH, False), (70_000, False)):
        deep = "<View>" * depth + '<Image name="image" value="$image"/>' + "</View>" * depth
        if passes:
            assert LabelConfig.parse(deep).images[0].name == "image"
        else:
            with pytest.raises(LabelConfigError, match="nested deeper than 50 tags"):
                LabelConfig.parse(deep)


BEGUN_VIEW = '<View><Image name="i" value="$i"/>'
ODD_OPTIONS = " ".join(f'model_score_thre{n}="1"' for n in range(30))
BEGUN_POLYGON = '<PolygonLabels name="p" toName="i">'


@pytest.mark.parametrize(
    "xml",
    [
        BEGUN_VIEW + "".join(f'{BEGUN_POLYGON}<Label value="{n}"/></PolygonLabels>' for n in range(8000)),
        f'{BEGUN_VIEW}{BEGUN_POLYGON * 45}{"""<Label value="x"/>""" * 45_000}{"</PolygonLabels>" * 45}',
        f'{BEGUN_VIEW}{"<View>" * 45}{"""<Label value="x"/>""" * 45_000}{"</View>" * 45}',
        f"{BEGUN_VIEW}{BEGUN_POLYGON * 45}{'<a/>' * 200_000}{'</PolygonLabels>' * 45}",
        f'{BEGUN_VIEW}{BEGUN_POLYGON}{"""<Label value="x" model_scoer_threshold="1"/>""" * 20_000}</PolygonLabels>',
        f"""{BEGUN_VIEW}<Polygon name="p" toName="i" {" ".join(f'model_a{n}="1"' for n in range(50_000))}/>""",
        f'{BEGUN_VIEW}<PolygonLabels name="p" toName="{"i," * 300_000}"><Label value="x"/></PolygonLabels>',
        f'{BEGUN_VIEW}<Labels name="p" toName="{"x," * 200_000}">{"""<Label value="x"/>""" * 20_000}</Labels>',
        "<View>" + "".join(f'<Image name="i{n}" value="$i"/>' for n in range(20_000)),
        BEGUN_VIEW + "".join(f'<Polygon name="p" toName="i" {ODD_OPTIONS}/>' for _ in range(900)),
    ],
    ids=[
        *("controls", "labels in nested controls", "labels in nested views", "nested controls", "misspelt options"),
        *("unknown options", "a control on pictures", "labels beside", "pictures", "controls with unknown options"),
    ],
)
def test_no_config_takes_long(xml: str) -> None:
    """Each held every thread for up to minutes, and anybody may send a setup."""
    begun = time.process_time()
    with suppress(LabelConfigError):
        LabelConfig.parse(xml + "</View>")
    assert time.process_time() - begun < 5


def test_ten_thousand_labels_are_read() -> None:
    labels = "".join(f'<Label value="label {n}"/>' for n in range(10_000))
    config = LabelConfig.parse(f"{BEGUN_VIEW}{BEGUN_POLYGON}{labels}</PolygonLabels></View>")
    assert len(config.outputs[0].labels) == 10_000


@given(st.text(max_size=200))
def test_any_text_is_parsed_or_refused(text: str) -> None:
    with pytest.raises(LabelConfigError):
        LabelConfig.parse(text)


def test_names_are_read_whatever_their_case() -> None:
    parsed = LabelConfig.parse(
        '<view><image NAME="i" VALUE="$x"/><polygonlabels Name="p" toname="i" SMART="False"><label Value="cat"/>'
        "</polygonlabels></view>"
    )
    assert parsed.outputs[0].tag == "PolygonLabels"
    assert parsed.outputs[0].label_names == ("cat",)
    assert not parsed.outputs[0].smart


@pytest.mark.parametrize(
    ("value", "data", "address", "reason"),
    [
        ("$image", {"image": "/data/a.png"}, "/data/a.png", "the usual"),
        ("$photo", {"image": "no", "photo": "b.png"}, "b.png", "the key is not always 'image'"),
        ("$a.b", {"a": {"b": "c.png"}}, "c.png", "down a path"),
        ("$a.b", {"a.b": "c.png"}, "c.png", "a key with a dot"),
        ("http://host/$dir/$name.png", {"dir": "d", "name": "n"}, "http://host/d/n.png", "a pattern"),
        ("$image", {"$undefined$": "early.png"}, "early.png", "uploaded before there was a config"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_address_of_a_picture(value: str, data: dict[str, object], address: str, reason: str) -> None:
    parsed = LabelConfig.parse(f'<View><Image name="image" value="{value}"/></View>')
    assert parsed.image_value(data) == address, reason


def test_pictures_of_a_list() -> None:
    body = json.loads((RECORDED / "interactive_multi_image.json").read_text())["request"]["body"]
    parsed = LabelConfig.parse(body["label_config"])
    data = body["tasks"][0]["data"]
    assert parsed.image().is_list
    assert parsed.image().sources(data) == tuple(data["images"])
    assert parsed.image_value(data, "image", 1) == data["images"][1]
    with pytest.raises(RequestError, match="has 2 picture"):
        parsed.image_value(data, "image", 2)


@pytest.mark.parametrize("found", [7, "", None, [], ["a", 3], {"url": "x"}], ids=repr)
def test_what_is_no_address_is_refused(found: object) -> None:
    for attribute in ("value", "valueList"):
        parsed = LabelConfig.parse(f'<View><Image name="image" {attribute}="$image"/></View>')
        with pytest.raises((RequestError, LabelConfigError), match="image"):
            parsed.image_value({"image": found})


def test_missing_field_names_what_the_task_has() -> None:
    with pytest.raises(LabelConfigError, match=r"reads '\$image'.*\['photo', 'text'\]"):
        config().image_value({"photo": "a.png", "text": "b"})


def test_unknown_picture_and_control_name_what_there_is() -> None:
    with pytest.raises(LabelConfigError, match=r"'other'.*\['image'\]"):
        config(POLYGON).image("other")
    with pytest.raises(LabelConfigError, match=r"'other'.*\['poly'\]"):
        config(POLYGON).control("other")
    assert config(POLYGON).control("poly").name == "poly"


def test_no_output_says_what_was_found_and_what_to_add() -> None:
    parsed = config(tag("TextArea", "words", ""))
    with pytest.raises(LabelConfigError, match=r"TextArea 'words'.*PolygonLabels"):
        parsed.outputs_on()


def test_cleaned_phrases() -> None:
    assert clean_phrase("  Traffic_Light\n red ") == "traffic light red"
    assert clean_phrase("_") == "_"
