"""What doctor says about a label config is what the service does: each gesture is sent over HTTP, as Label Studio
sends it, and the regions that come back are where and as what the plan has them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from app_parts import MemoryImages, request_of, services_of
from fake_predictor import FakePredictor
from flask.testing import FlaskClient

from xsam_backend.config import load_settings
from xsam_backend.geometry.brush_rle import mask_to_brush_rle
from xsam_backend.geometry.raster import box_to_mask
from xsam_backend.instances import Answer, Instances
from xsam_backend.labelstudio.context import labels_by_example
from xsam_backend.labelstudio.gestures import Asked, Gesture, plan_of
from xsam_backend.labelstudio.label_config import LabelConfig
from xsam_backend.prompts import Exemplar, Prompt, Task
from xsam_backend.server.app import create_app
from xsam_backend.server.project_exemplars import ProjectExemplars

ROOT = Path(__file__).parents[2]
FILES = [
    *sorted((ROOT / "label_configs").glob("*.xml")),
    *sorted((ROOT / "tests" / "recorded" / "label_studio" / "label_configs").glob("*.xml")),
    *(
        file
        for file in sorted((ROOT / "tests" / "examined_configs").glob("*.xml"))
        if "FAIL  label config" not in file.with_suffix(".txt").read_text("utf-8")
    ),
]
SIZE_WH = (320, 240)
WORDS = "what the model says"


class WordyPredictor(FakePredictor):
    """Says something where the task is answered in words; notes what it's asked."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[Prompt] = []

    def answer(self, state: Any, prompt: Prompt) -> Answer:
        self.asked.append(prompt)
        answer = super().answer(state, prompt)
        if prompt.task is Task.CONVERSATION:
            return Answer(answer.instances.select([]), text=WORDS)
        if prompt.task is Task.GCG:
            unnamed = Instances.of(answer.instances.masks, answer.instances.scores, (None,) * len(answer.instances))
            return Answer(unnamed, text=WORDS)
        return answer


Service = tuple[FlaskClient, WordyPredictor]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    predictor = WordyPredictor()
    settings = load_settings(data_dir=tmp_path_factory.mktemp("plan") / "data", train_worker=False)
    app = create_app(settings, predictor, MemoryImages())
    yield app.test_client(), predictor
    services_of(app).close()


def context_of(one: Asked) -> list[dict[str, Any]]:
    """The region that the labeling page sends for a gesture (tests/recorded has real ones)."""
    tool = one.tool
    region = {
        "id": "r",
        "from_name": tool.name,
        "to_name": tool.to_name,
        "type": tool.tag.lower(),
        "origin": "manual",
    }
    if one.gesture is Gesture.WORDS:
        return [{**region, "value": {"text": [one.chosen or "a thing nobody has named"]}}]
    if one.gesture is Gesture.QUESTION:
        return [{**region, "value": {"text": ["what could this be?"]}}]
    stroke = box_to_mask(40, 40, 30, 10, (SIZE_WH[1], SIZE_WH[0]))
    value: dict[str, Any] = {
        "keypoint": {"x": 25.0, "y": 50.0, "width": 0.3},
        "rectangle": {"x": 10.0, "y": 20.0, "width": 30.0, "height": 40.0, "rotation": 0},
        "brush": {"format": "rle", "rle": mask_to_brush_rle(stroke)},
    }[tool.geometry]
    region |= {"original_width": SIZE_WH[0], "original_height": SIZE_WH[1], "image_rotation": 0}
    if tool.geometry == "keypoint":
        region["is_positive"] = True
    if one.chosen is None:
        return [{**region, "value": value}]
    labels_name = tool.labels_name_of(one.chosen)
    if labels_name is None:
        return [{**region, "value": {**value, region["type"]: [one.chosen]}}]
    beside = {**region, "type": "labels", "from_name": labels_name, "value": {**value, "labels": [one.chosen]}}
    return [{**region, "value": value}, beside]


def ask(client: FlaskClient, xml: str, context: list[dict[str, Any]] | None) -> Any:
    body = request_of("a", context=context, config=xml)
    for image in LabelConfig.parse(xml).images:
        field = image.value.lstrip("$")
        body["tasks"][0]["data"][field] = ["a", "b"] if image.is_list else "a"
    return client.post("/predict", json=body)


def found(regions: list[dict[str, Any]]) -> set[tuple[str, str]]:
    """(from_name, what it says) of regions: a label, words, or nothing."""
    return {
        (
            region["from_name"],
            next(iter(region["value"].get(region["type"], region["value"].get("text", ()))), ""),
        )
        for region in regions
        if region["type"] != "labels"
    }


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_each_gesture_is_answered_as_planned(service: Service, file: Path) -> None:
    client, predictor = service
    xml = file.read_text("utf-8")
    config = LabelConfig.parse(xml)
    for one in plan_of(config).asked:
        if one.tool.geometry == "bitmask":
            continue  # as a brush; nobody sends it
        predictor.asked.clear()
        answer = ask(client, xml, context_of(one))
        if one.problem:
            assert answer.status_code == 422, (one, answer.text)
            assert answer.get_json()["error"] == one.problem
            continue
        assert answer.status_code == 200, (one, answer.text)
        assert [prompt.task for prompt in predictor.asked] == [question.prompt.task for question in one.questions]
        expected = set()
        for question in one.questions:
            prompt, output = question.prompt, question.control
            area = config.words_area(output.to_name, says_why=False)
            if prompt.task in (Task.GCG, Task.CONVERSATION) and area is not None:
                expected.add((area.name, WORDS))
            labels = [category.label for category in prompt.categories] or [prompt.label]
            if prompt.task is not Task.CONVERSATION:
                known = output.find_label(labels[0] or "") if labels[0] else None
                expected.add((output.name, known if known and output.label_key else ""))
        assert found(answer.get_json()["results"][0]["result"]) == expected, one


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_pre_labels_come_as_planned(service: Service, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    client, predictor = service
    seen = np.zeros(1, np.float32)
    monkeypatch.setattr(  # as if something of each label had been accepted
        ProjectExemplars,
        "of",
        lambda _self, _key, config, _asker: tuple(Exemplar(one, seen, seen) for one in labels_by_example(config)),
    )
    predictor.asked.clear()
    xml = file.read_text("utf-8")
    plan = plan_of(LabelConfig.parse(xml))
    answer = ask(client, xml, None)
    if plan.pre_labels_problem:
        assert answer.status_code == 422
        assert answer.get_json()["error"] == plan.pre_labels_problem
        return
    (entry,) = answer.get_json()["results"]
    asked = {(p.task, p.form, tuple(c.phrase for c in p.categories), p.phrase) for p in predictor.asked}
    planned = [question.prompt for question in plan.pre_labels]
    assert asked == {(p.task, p.form, tuple(c.phrase for c in p.categories), p.phrase) for p in planned}
    outputs = {question.control.name for question in plan.pre_labels}
    assert {name for name, said in found(entry["result"]) if said != WORDS} == outputs
