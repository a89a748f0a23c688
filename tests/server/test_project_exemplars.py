"""A project's tasks are pre-labelled like what was accepted in it."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from app_parts import MakeApp, MemoryImages, png, request_of, services_of
from fake_predictor import FakePredictor

from xsam_backend.prompts import Prompt, Task
from xsam_backend.store.annotations import KeptAnnotation
from xsam_backend.store.tasks import TaskPicture

PROJECT = "21.1795347497"
KEY = f"local/{PROJECT}"
CONFIG = """<View><Image name="image" value="$image"/>
<PolygonLabels name="poly" toName="image" smart="false" model_task="vgd">
<Label value="cat"/><Label value="dog"/></PolygonLabels></View>"""
START = datetime(2026, 11, 28, 12, tzinfo=timezone.utc)


class Remembers(FakePredictor):
    """What it was asked, and how often it looked at an example."""

    def __init__(self) -> None:
        super().__init__()
        self.prompts: list[Prompt] = []
        self.looks = 0

    def exemplar(self, state: Any, region: Any, label: str) -> Any:
        self.looks += 1
        return super().exemplar(state, region, label)

    def answer(self, state: Any, prompt: Prompt) -> Any:
        self.prompts.append(prompt)
        return super().answer(state, prompt)


def accept(
    app: Any,
    number: int,
    label: str = "cat",
    content: bytes | None = None,
    *,
    damaged: bool = False,
    copied: bool = True,
) -> None:
    """As if an annotator had boxed one object of a picture."""
    services = services_of(app)
    sha256 = services.pictures.put(content or png(40, 30, 50 + number))
    if damaged:
        sha256 = "0" * 64
    there = TaskPicture("image", None, None, sha256, (30, 40))
    services.tasks.know(KEY, number, [there if copied else TaskPicture("image", None, f"/{number}.png")])
    box = {
        "id": f"r{number}",
        "type": "rectanglelabels",
        "from_name": "poly",
        "to_name": "image",
        "value": {"x": 10, "y": 10, "width": 50, "height": 50, "rotation": 0, "rectanglelabels": [label]},
    }
    at = START + timedelta(seconds=number)
    services.annotations.keep([KeptAnnotation(KEY, number, number, "accepted", at, 1, False, (box,))])


def pre_labelled(app: Any, *names: str) -> list[Any]:
    reply = app.test_client().post("/predict", json=request_of(*names, config=CONFIG))
    assert reply.status_code == 200
    return list(reply.get_json()["results"])


@pytest.fixture
def predictor() -> Remembers:
    return Remembers()


@pytest.fixture
def app(make_app: MakeApp, predictor: Remembers) -> Any:
    return make_app(predictor, MemoryImages())


def test_labels_are_looked_for_by_example_and_others_by_name(app: Any, predictor: Remembers) -> None:
    accept(app, 1)
    (entry,) = pre_labelled(app, "a")
    by_example, by_name = predictor.prompts
    assert by_example.task is Task.VGD
    assert [one.label for one in by_example.exemplars] == ["cat"]
    assert (by_name.task, [one.label for one in by_name.categories]) == (Task.GENERIC, ["dog"])
    labels = [region["value"]["polygonlabels"] for region in entry["result"]]
    assert labels == [["cat"], ["dog"]]
    (logged,) = services_of(app).predictions.find([entry["result"][0]["id"]]).values()
    assert logged.prompt == {"task": "vgdseg", "phrases": ["cat"], "exemplars": 1}, "the log tells by how many"


def test_nothing_accepted_means_by_name(app: Any, predictor: Remembers) -> None:
    pre_labelled(app, "a")
    assert [prompt.task for prompt in predictor.prompts] == [Task.GENERIC]


def test_examples_are_looked_at_once_until_more_is_accepted(app: Any, predictor: Remembers) -> None:
    accept(app, 1)
    pre_labelled(app, "a", "b", "c")
    pre_labelled(app, "d")
    assert predictor.looks == 1
    accept(app, 2)
    pre_labelled(app, "e")
    assert predictor.looks == 2, "the first is known"
    assert len(predictor.prompts[-2].exemplars) == 2


def test_a_picture_that_is_copied_after_its_annotation_came_is_an_example_then(
    app: Any, predictor: Remembers
) -> None:
    accept(app, 1, copied=False)
    pre_labelled(app, "a")
    assert [prompt.task for prompt in predictor.prompts] == [Task.GENERIC], "there is nothing to look at yet"
    services = services_of(app)
    (task,) = services.tasks.of_project(KEY)
    sha256 = services.pictures.put(png(40, 30, 51))
    services.tasks.copied(task, [TaskPicture("image", None, None, sha256, (30, 40))])
    pre_labelled(app, "b")
    assert [len(prompt.exemplars) for prompt in predictor.prompts[1:]] == [1, 0]


def test_a_submitted_prompt_is_no_example(app: Any, predictor: Remembers) -> None:
    asking = '<RectangleLabels name="poly" toName="image" smartOnly="true"><Label value="cat"/></RectangleLabels>'
    config = CONFIG.replace('name="poly"', 'name="out"').replace("</View>", f"{asking}</View>")
    accept(app, 1)
    app.test_client().post("/predict", json=request_of("a", config=config))
    assert [prompt.task for prompt in predictor.prompts] == [Task.GENERIC]


def test_a_damaged_example_costs_no_pre_label(app: Any, predictor: Remembers) -> None:
    accept(app, 1)
    accept(app, 2, damaged=True)
    (entry,) = pre_labelled(app, "a")
    assert len(predictor.prompts[0].exemplars) == 1
    assert entry["result"]
    assert "sync its project" in services_of(app).monitor.last_problems[0].message


def test_projects_have_their_own(app: Any, predictor: Remembers) -> None:
    accept(app, 1)
    body = {**request_of("a", config=CONFIG), "project": "22.1"}
    app.test_client().post("/predict", json=body)
    assert [prompt.task for prompt in predictor.prompts] == [Task.GENERIC]
