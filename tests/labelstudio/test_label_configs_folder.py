"""Every config that we hand to users is loaded, and does what its comment says."""

from __future__ import annotations

from pathlib import Path

import pytest
from label_studio_sdk.label_interface import LabelInterface

from xsam_backend.labelstudio.context import batch_prompts
from xsam_backend.labelstudio.label_config import LabelConfig
from xsam_backend.prompts import Task

FOLDER = Path(__file__).parents[2] / "label_configs"
FILES = sorted(FOLDER.glob("*.xml"))


def load(name: str) -> LabelConfig:
    return LabelConfig.parse((FOLDER / f"{name}.xml").read_text(encoding="utf-8"))


def test_one_for_each_workflow() -> None:
    assert [file.stem for file in FILES] == ["bitmask", "brush", "polygon", "rectangle", "text"]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_config_works_and_explains_itself(file: Path) -> None:
    xml = file.read_text(encoding="utf-8")
    parsed = LabelConfig.parse(xml)
    assert parsed.notes == ()
    assert len(parsed.outputs) == 1
    assert not parsed.outputs[0].smart, "an output that is smart sends every stroke as a question"
    assert any(control.is_prompt_tool for control in parsed.controls)
    assert batch_prompts(parsed)
    assert xml.startswith("<!--"), "a comment for the reader comes first"
    LabelInterface(xml).validate()


@pytest.mark.parametrize("name", ["bitmask", "brush", "polygon", "rectangle"])
def test_clicks_boxes_and_words_can_be_sent(name: str) -> None:
    tools = [control for control in load(name).controls if control.is_prompt_tool]
    assert sorted(tool.geometry for tool in tools) == ["keypoint", "rectangle", "text"]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_label_that_can_be_clicked_can_be_written(file: Path) -> None:
    parsed = LabelConfig.parse(file.read_text(encoding="utf-8"))
    for control in parsed.controls:
        for label in control.label_names:
            assert parsed.output_for(label, control.to_name)[1] == label


def test_what_the_comments_say() -> None:
    assert load("polygon").outputs[0].options.polygon_iou == 0.98
    assert [one.phrase for one in load("polygon").outputs[0].categories][-3:] == ["car", "truck", "bus"]
    assert [label.is_thing for label in load("brush").outputs[0].labels] == [True, False, False]
    assert load("bitmask").control("example").options.task is Task.VGD
    assert load("bitmask").outputs[0].geometry == "bitmask"
    assert load("rectangle").outputs[0].name == "box"
    assert load("rectangle").outputs[0].options.rotated
    assert load("rectangle").outputs[0].options.score_threshold == 0.4
    assert load("text").control("look_for").is_prompt_tool
    assert not load("text").control("caption").is_prompt_tool
