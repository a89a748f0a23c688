from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xsam_backend.labelstudio.config_check.source import ConfigSource, tag_of
from xsam_backend.labelstudio.label_config import LabelConfig

XML = """<?xml version="1.0"?>
<!-- <Ä> a > b -->
<View>
  <Image name="image" value="$é"/>
  <PolygonLabels  name = 'poly'
      toName="image" >
    <Label value="a > b"/><Label
 value="c" />
  </PolygonLabels><Header value="x" />
  <KeyPointLabels name="kp" toName="image"></KeyPointLabels>
  <BrushLabels name="brush" toName="image"><!-- none yet --></BrushLabels>
</View>
"""


def test_where_everything_stands() -> None:
    source = ConfigSource(XML)
    assert [element.tag for element in source.elements] == [
        *("view", "image", "polygonlabels", "label", "label", "header", "keypointlabels", "brushlabels")
    ]
    written = [source.written(element) for element in source.elements]
    assert written[1] == '<Image name="image" value="$é"/>'
    assert written[3:6] == ['<Label value="a > b"/>', '<Label\n value="c" />', '<Header value="x" />']
    assert written[0] == XML[XML.index("<View>") :].rstrip()
    poly = source.called("PolygonLabels", "poly")
    assert poly is not None
    assert poly.attributes == {"name": "poly", "toname": "image"}
    assert not poly.is_empty


@pytest.mark.parametrize(
    ("tag", "name", "attribute", "value", "before", "after", "reason"),
    [
        ("Image", "image", "zoom", "true", 'value="$é"/>', 'value="$é" zoom="true"/>', "added at the end"),
        ("PolygonLabels", "poly", "smart", "no", '"image" >', '"image" smart="no" >', "the space stays"),
        ("PolygonLabels", "poly", "NAME", "p", "name = 'poly'", 'name ="p"', "changed, in any case"),
        ("PolygonLabels", "poly", "toName", None, '\n      toName="image" >', " >", "taken away with its space"),
        ("KeyPointLabels", "kp", "smart", None, "kp", "kp", "not there, nothing to take away"),
        (
            "KeyPointLabels",
            "kp",
            "hint",
            '"<&',
            'toName="image"></K',
            'toName="image" hint=\'"&lt;&amp;\'></K',
            "escaped",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) and " " in value and "=" not in value else "",
)
def test_one_attribute_changes(
    tag: str, name: str, attribute: str, value: str | None, before: str, after: str, reason: str
) -> None:
    source = ConfigSource(XML)
    element = source.called(tag, name)
    assert element is not None
    assert source.with_attribute(element, attribute, value) == XML.replace(before, after, 1), reason


def test_an_attribute_is_called_otherwise() -> None:
    source = ConfigSource('<View><Image name="a" valeu = "$a"/></View>')
    image = source.called("image", "a")
    assert image is not None
    assert source.with_attribute_renamed(image, "valeu", "value") == '<View><Image name="a" value = "$a"/></View>'


@pytest.mark.parametrize(
    ("tag", "name", "before", "after"),
    [
        ("PolygonLabels", "poly", '"c" />', '"c" /><Label value="n"/>'),
        ("KeyPointLabels", "kp", "></KeyPoint", '>\n    <Label value="n"/>\n  </KeyPoint'),
        ("BrushLabels", "brush", "yet --></Brush", 'yet -->\n    <Label value="n"/>\n  </Brush'),
        ("Image", "image", '$é"/>', '$é">\n    <Label value="n"/>\n  </Image>'),
    ],
    ids=["after the last, in its line", "into nothing", "after a comment", "into an empty tag"],
)
def test_a_label_comes_inside(tag: str, name: str, before: str, after: str) -> None:
    source = ConfigSource(XML)
    element = source.called(tag, name)
    assert element is not None
    assert source.with_inside(element, ['<Label value="n"/>']) == XML.replace(before, after, 1)


def test_a_tag_comes_after_another_with_its_indentation() -> None:
    source = ConfigSource(XML)
    element = source.called("Image", "image")
    assert element is not None
    added = tag_of("KeyPointLabels", {"name": "k"}, [tag_of("Label", {"value": "n"})])
    lines = '  <KeyPointLabels name="k">\n    <Label value="n"/>\n  </KeyPointLabels>\n'
    assert source.with_after(element, added) == XML.replace("  <Polygon", f"{lines}  <Polygon", 1)
    in_a_line = ConfigSource('<View><Image name="i"/></View>')
    image = in_a_line.called("Image", "i")
    assert image is not None
    inside = '<KeyPointLabels name="k"><Label value="n"/></KeyPointLabels>'
    assert in_a_line.with_after(image, added) == f'<View><Image name="i"/>{inside}</View>'


def test_a_free_name() -> None:
    source = ConfigSource('<View><A name="click"/><A name="click_2"/></View>')
    assert [source.free_name(name) for name in ("box", "click")] == ["box", "click_3"]


TEXTS = st.text(st.characters(min_codepoint=32, max_codepoint=0x1F600, exclude_categories=["Cs"]), max_size=12)


@given(TEXTS, TEXTS)
def test_any_value_is_written_so_that_it_is_read_again(before: str, value: str) -> None:
    """And what stands before it may be longer in bytes than in characters."""
    comment = before.replace("-", "")
    xml = f'<View><!-- {comment} --><Image name="image" value="$image"/><TextArea name="t" toName="image"/></View>'
    source = ConfigSource(xml)
    area = source.called("TextArea", "t")
    assert area is not None
    changed = source.with_attribute(area, "placeholder", value)
    again = ConfigSource(changed).called("TextArea", "t")
    assert again is not None
    assert again.attributes["placeholder"] == value
    assert LabelConfig.parse(changed).controls == LabelConfig.parse(xml).controls
