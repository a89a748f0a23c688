"""Every config that we hand to users is loaded, and does what its comment and docs/label-configs.md say."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from label_studio_sdk.label_interface import LabelInterface

from xsam_backend.labelstudio.config_check.examination import examine
from xsam_backend.labelstudio.context import Question, batch_prompts
from xsam_backend.labelstudio.gestures import Gesture, plan_of
from xsam_backend.labelstudio.label_config import LabelConfig
from xsam_backend.labelstudio.tags import CONTROL_OPTIONS, LABEL_OPTIONS, TASK_NAMES
from xsam_backend.prompts import Form, Task

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "label_configs"
FILES = sorted(FOLDER.glob("*.xml"))
PAGE = ROOT / "docs" / "label-configs.md"

ASKED = {
    Task.INTERACTIVE: "that object",
    Task.VGD: "all like it",
    Task.OPEN_VOCABULARY: "all of that name",
    Task.REFERRING: "the one described",
    Task.REASONING: "what is meant",
    Task.CONVERSATION: "an answer",
}
BEFORE = {
    Form.OBJECTS: "objects",
    Form.PANOPTIC: "panoptic segments",
    Form.SEMANTIC: "an area for each label",
}
SHAPES = {
    "polygon": "polygons",
    "brush": "brush masks",
    "bitmask": "bitmasks",
    "rectangle": "rectangles",
    "ellipse": "ellipses",
    "keypoint": "points",
}


def load(name: str) -> LabelConfig:
    return LabelConfig.parse((FOLDER / f"{name}.xml").read_text(encoding="utf-8"))


def test_one_for_each_workflow() -> None:
    rows = re.findall(r"^\| .*\]\(\.\./label_configs/([a-z-]+)\.xml\)", PAGE.read_text("utf-8"), re.MULTILINE)
    assert sorted(rows) == [file.stem for file in FILES], "each config has its row"
    pictures = set(re.findall(r"!\[[^\]]+\]\(([^)]+)\)", PAGE.read_text("utf-8")))
    of_configs = {f"label-config-{file.stem}.jpg" for file in FILES}
    assert pictures == of_configs | {"cells-all-alike.jpg"}, "each config has its picture"
    assert all((PAGE.parent / picture).is_file() for picture in pictures)


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


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_doctor_has_nothing_to_say(file: Path) -> None:
    found = examine(file.read_text("utf-8"))
    assert found.faults == ()
    assert found.correction is None
    assert found.plan is not None
    assert all(one.problem is None and one.is_sent for one in found.plan.asked)


def said_of(config: LabelConfig) -> list[str]:
    """The page's cells about a config: click, box, words, question, before anybody looks, what it comes as."""
    plan = plan_of(config)

    def task(question: Question) -> str:
        return ASKED[question.prompt.task]

    def cell(gesture: Gesture) -> str:
        found = [task(question) for one in plan.asked if one.gesture is gesture for question in one.questions]
        return " / ".join(dict.fromkeys(found)) or "–"

    special = {Task.GCG: "a caption, and what it names", Task.VGD: "all like what was accepted last"}
    before = [special.get(question.prompt.task, BEFORE[question.prompt.form]) for question in plan.pre_labels]
    stated = any(category.score_threshold for question in plan.pre_labels for category in question.prompt.categories)
    outputs = [("turned " if output.options.rotated else "") + SHAPES[output.geometry] for output in config.outputs]
    asked = [question for one in plan.asked for question in one.questions]
    in_words = any(question.prompt.task in (Task.GCG, Task.CONVERSATION) for question in (*asked, *plan.pre_labels))
    if in_words and config.words_area(config.image().name, says_why=False) is not None:
        outputs.append("words")
    if config.phrase_area(config.image().name) is not None:
        outputs.append("words of each")
    if config.words_area(config.image().name, says_why=True) is not None:
        outputs.append("why nothing came")
    gestures = (Gesture.CLICK, Gesture.BOX, Gesture.WORDS, Gesture.QUESTION)
    thresholds = ", each as sure as stated" if stated else ""
    return [*map(cell, gestures), ", ".join(dict.fromkeys(before)) + thresholds, ", ".join(outputs)]


def test_the_pages_table_says_what_happens() -> None:
    """``UPDATE_DOCS=1`` writes the cells anew; the first one of a row, the workflow, is written by hand."""
    page = PAGE.read_text("utf-8")

    def row(found: re.Match[str]) -> str:
        return f"| {found[1]} | {' | '.join(said_of(load(found[2])))} |"

    whole = re.sub(r"^\| ([^|]*\]\(\.\./label_configs/([a-z-]+)\.xml\)[^|]*) \|.*$", row, page, flags=re.MULTILINE)
    if os.environ.get("UPDATE_DOCS"):
        PAGE.write_text(whole, "utf-8")
    else:
        assert whole == page, "a config does something else than its row says: UPDATE_DOCS=1 writes the row"


def test_the_tests_that_the_page_names_are_there() -> None:
    page = PAGE.read_text("utf-8")
    rows = re.findall(r"^\| .* \|$", page.partition("## What else is asked and answered")[2], re.MULTILINE)[2:]
    named = [re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", row) for row in rows]
    assert named
    assert all(named), "a row without a test"
    for file, name in {one for of_row in named for one in of_row}:
        assert f"\ndef {name}(" in (ROOT / file).read_text("utf-8"), f"{file}::{name}"


@pytest.mark.parametrize("name", ["bitmask", "brush", "ellipse", "polygon", "rectangle", "rotated-rectangle"])
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
    assert load("rectangle").outputs[0].name == "box"
    assert not load("rectangle").outputs[0].options.rotated
    assert load("rectangle").outputs[0].options.score_threshold == 0.4
    assert load("text").control("look_for").is_prompt_tool
    assert not load("caption").control("caption").is_prompt_tool
    assert [label.is_thing for label in load("panoptic").outputs[0].labels] == [True, True, False, False]
    assert load("several-images").image().is_list
    (thresholds,) = batch_prompts(load("thresholds"))
    assert [one.score_threshold for one in thresholds.prompt.categories] == [0.7, 0.3, None]
    assert thresholds.prompt.score_threshold == 0.5
    (words,) = batch_prompts(load("open-vocabulary"))
    assert (words.prompt.task, len(words.prompt.categories)) == (Task.OPEN_VOCABULARY, 7)
    assert load("open-vocabulary").output_for("bench")[1] == "Street furniture"


def test_the_table_of_attributes_has_them_all() -> None:
    """And no other one."""
    section = PAGE.read_text(encoding="utf-8").partition("## Attributes\n")[2].partition("\n## ")[0]
    rows = [[cell.strip() for cell in line.split("|")[1:4]] for line in section.splitlines() if "| `" in line]
    names = {name.strip("`") for name, _, _ in rows}
    assert names == {*CONTROL_OPTIONS, *LABEL_OPTIONS, "predicted_values"}
    assert {name.strip("`") for name, place, _ in rows if "Label" in place} == {*LABEL_OPTIONS, "predicted_values"}
    told = {word for name, _, means in rows if name == "`model_task`" for word in re.findall(r"`(\w+)`", means)}
    assert {TASK_NAMES.get(word, word) for word in told - {"TextArea"}} == {
        *(task for task in Task if task is not Task.GENERIC),  # its forms stand for it
        *(form.value for form in Form),
    }
