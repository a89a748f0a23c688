"""Faults and corrections; what is said about each of many configs: tests/cli/test_label_config_told.py."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xsam_backend.labelstudio.config_check.examination import Examination, examine
from xsam_backend.labelstudio.label_config import MAX_CHARACTERS, LabelConfig

ROOT = Path(__file__).parents[2]
EXAMINED = sorted((ROOT / "tests" / "examined_configs").glob("*.xml"))
SHARED = [
    *sorted((ROOT / "label_configs").glob("*.xml")),
    *sorted((ROOT / "tests" / "recorded" / "label_studio" / "label_configs").glob("*.xml")),
]
CAT_DOG = '<Label value="cat"/><Label value="dog"/>'


def names_of(xml: str) -> set[str]:
    return set(re.findall(r'\bname="([^"]+)"', xml))


def check_correction(xml: str) -> Examination:
    """What holds for any config."""
    found = examine(xml)
    if found.correction is None:
        return found
    corrected = found.correction.xml
    parsed = LabelConfig.parse(corrected)
    again = examine(corrected)
    assert again.works
    assert again.plan is not None
    assert all(one.problem is None for one in again.plan.asked)
    assert again.correction is None, "one correction is enough"
    assert found.correction.changes
    assert corrected != xml
    assert parsed.outputs
    if found.config is not None and found.config.outputs and not {"twin"} & names_of(xml):
        kept = {control.name for control in parsed.controls}
        assert {control.name for control in found.config.controls} <= kept, "names stay"
    return found


@pytest.mark.parametrize("file", EXAMINED + SHARED, ids=lambda file: file.stem)
def test_corrections_work(file: Path) -> None:
    found = check_correction(file.read_text("utf-8"))
    if file.stem in ("not-xml", "hostile"):
        assert not found.works
        assert found.correction is None
    else:
        assert found.works or found.correction is not None


@pytest.mark.parametrize("file", EXAMINED + SHARED, ids=lambda file: file.stem)
def test_nothing_is_wrong_where_nothing_is_said(file: Path) -> None:
    """The other way round: whatever is refused has a fault that says so."""
    found = examine(file.read_text("utf-8"))
    if found.plan is not None:
        refused = any(one.problem for one in found.plan.asked if one.is_sent)
        assert not (refused and found.works), "a gesture is refused, and no fault says so"


def test_a_correction_changes_nothing_else() -> None:
    xml = (ROOT / "label_configs" / "polygon.xml").read_text("utf-8")
    spoilt = xml.replace('model_polygon_iou="0.98"', 'model_polygon_uio="0.98"', 2)
    spoilt = spoilt.replace('    <Label value="Dog" background="#2e86ab"/>\n', "", 1)
    found = examine(spoilt)
    assert found.works
    assert found.correction is not None
    restored = found.correction.xml
    assert restored.count("model_polygon_uio") == 1, "the comment's stays"
    moved = '    <Label value="Dog" background="#2e86ab"/>\n'
    lines = [line for line in xml.splitlines() if line.strip() != moved.strip()]
    kept = [line for line in restored.splitlines() if line.strip() != moved.strip()]
    assert [line.replace("uio", "iou") for line in kept] == lines


@pytest.mark.parametrize(
    ("value", "corrected"),
    [
        ('model_score_threshold="40%"', 'model_score_threshold="0.4"'),
        ('model_score_threshold="0,4"', 'model_score_threshold="0.4"'),
        ('model_score_threshold="high"', ""),
        ('model_polygon_iou="97"', 'model_polygon_iou="0.97"'),
        ('model_polygon_iou="0.2"', ""),
        ('model_output="Yes"', 'model_output="true"'),
        ('model_rotated="off"', 'model_rotated="false"'),
        ('model_rotated="maybe"', ""),
        ('model_task="semantics"', 'model_task="semantic"'),
        ('model_task="segment"', ""),
    ],
)
def test_values_that_cannot_be(value: str, corrected: str) -> None:
    click = f'<KeyPointLabels name="kp" toName="image">{CAT_DOG}</KeyPointLabels>'
    config = (
        '<View><Image name="image" value="$image"/>'
        + click
        + '<PolygonLabels name="p" toName="image"{}>{}</PolygonLabels></View>'
    )
    found = check_correction(config.format(f" {value}", CAT_DOG))
    assert not found.works
    assert found.config is None
    assert found.correction is not None
    assert found.correction.xml == config.format(f" {corrected}" if corrected else "", CAT_DOG)


@pytest.mark.parametrize(
    "xml",
    [
        "",
        "  ",
        "text",
        "<View>",
        "<View/><View/>",
        "<View>" + " " * MAX_CHARACTERS + "</View>",
        '<View a="1" a="2"/>',
    ],
    ids=["empty", "blank", "no tag", "not closed", "two roots", "endless", "an attribute twice"],
)
def test_what_is_no_config_has_one_fault_and_no_correction(xml: str) -> None:
    found = examine(xml)
    assert (found.config, found.plan, found.correction) == (None, None, None)
    (fault,) = found.faults
    assert fault.breaks


def test_deep_and_long_configs_take_no_time_and_no_stack() -> None:
    assert not examine("<View>" * 1100 + "</View>" * 1100).works
    labels = "".join(f'<Label value="label {number}"/>' for number in range(200))
    found = examine(
        f'<View><Image name="image" value="$image"/><KeyPointLabels name="k" toName="image">{labels}</KeyPointLabels>'
        f'<PolygonLabels name="p" toName="image">{labels}</PolygonLabels></View>'
    )
    assert found.works
    assert found.correction is None


TAGS = ["KeyPointLabels", "RectangleLabels", "PolygonLabels", "BrushLabels", "EllipseLabels", "BitmaskLabels"]
PLAIN = ["KeyPoint", "Rectangle", "Polygon", "Brush", "TextArea", "VectorLabels"]
ATTRIBUTES = st.sampled_from(
    [
        'smart="true"', 'smart="false"', 'smartOnly="true"', 'perRegion="true"', 'value="$labels"',
        'model_task="vgd"', 'model_task="panoptic"', 'model_task="gcgseg"', 'model_task="imgconv"', 'model_task="no"',
        'model_task="refseg"', 'model_output="true"', 'model_output="false"', 'model_output="1"',
        'model_score_threshold="50"', 'model_score_treshold="0.5"', 'model_says_why="true"', 'model_rotated="true"',
    ]
)  # fmt: skip
LABELS = st.lists(
    st.sampled_from(
        [
            '<Label value="cat"/>', '<Label value="dog" background="red"/>', '<Label value="a, b?"/>',
            '<Label value="Animal" predicted_values="cat, cow"/>', '<Label value="sky" model_stuff="true"/>',
            '<Label value="x" alias="y"/>', '<Label/>', '<Label value="z" model_score_threshold="2"/>',
        ]
    ),
    max_size=3,
)  # fmt: skip


@st.composite
def configs(draw: st.DrawFn) -> str:
    tags = []
    for number in range(draw(st.integers(0, 4))):
        kind = draw(st.sampled_from(TAGS + PLAIN))
        attributes = {one.partition("=")[0]: one for one in draw(st.lists(ATTRIBUTES, max_size=3))}
        to_name = draw(st.sampled_from(["image", "image", "image", "other", "nothing"]))
        inside = "\n    ".join(draw(LABELS)) if kind in TAGS else ""
        opened = f'<{kind} name="tag{number}" toName="{to_name}" {" ".join(attributes.values())}'
        tags.append(f"{opened}>{inside}</{kind}>" if inside else f"{opened}/>")
    pictures = draw(st.sampled_from(["$image", "image", ""]))
    tags.append(draw(st.sampled_from([f'<Image name="image" value="{pictures}"/>', "", "<Image/>"])))
    tags.append(
        draw(st.sampled_from(["", '<Image name="other" valueList="$others"/>', '<Text name="other" value="$t"/>']))
    )
    tags.append(draw(st.sampled_from(["", f'<Labels name="what" toName="image">{CAT_DOG}</Labels>'])))
    tags = draw(st.permutations(tags))
    return "<View>\n  " + "\n  ".join(tag for tag in tags if tag) + "\n</View>"


@settings(deadline=None, max_examples=60)
@given(configs())
def test_any_config_is_examined_and_its_correction_works(xml: str) -> None:
    found = check_correction(xml)
    assert found.works or found.correction is not None, "whatever is well-formed can be mended"
