"""Each config of label_configs/ at work in a real Label Studio: pre-labels, every gesture that it has a tool for, and
what is accepted of the answers.

The pictures are painted, and the backend sees what is painted: what must come, and that nothing else may, is known.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from backend_process import BackendProcess
from found_regions import Mask, assert_found
from ls_client import LsClient, Region, phrase
from painted import Thing, data_url, paint, png
from painted_gestures import box_around, click_on

from xsam_backend.labelstudio.label_config import LabelConfig

pytestmark = pytest.mark.e2e

FOLDER = Path(__file__).parents[2] / "label_configs"

A, B, C, D = (20, 20, 90, 90), (200, 30, 300, 110), (30, 140, 110, 210), (180, 140, 290, 220)
"""Places for things: left and right above, left and right below."""

Found = tuple[str | None, str]
"""A label, and the name of a thing in ``Work.things``; of several that are one region, with + between; "rest" is
where nothing is."""


@dataclass(frozen=True)
class Asked:
    """A gesture, and its answer.

    Attributes:
        control: its tool in the config.
        at: the thing that is clicked or boxed; or the words.
        label: chosen for it; "" for words.
        found: all regions of the answer.
        said: all texts of the answer, by their control.
        on: of several pictures, which one.
        waiting: a thing on the first picture that was clicked before, which waits for an answer as well.
    """

    control: str
    at: str
    label: str = ""
    found: tuple[Found, ...] = ()
    said: Mapping[str, str] = field(default_factory=dict)
    on: int | None = None
    waiting: str = ""


@dataclass(frozen=True)
class Work:
    """What is done with one config.

    Attributes:
        things: what is painted, by names for it here; of several pictures, the second has those from "second" on.
        before: all regions of the pre-label.
        asked: the gestures, one after the other.
        said: all texts of the pre-label, by their control.
    """

    things: Mapping[str, Thing]
    before: tuple[Found, ...]
    asked: tuple[Asked, ...]
    said: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def mask(self, names: str) -> Mask:
        if names == "rest":
            return ~np.any([thing.mask() for thing in self.things.values()], axis=0)
        return np.any([self.things[name].mask() for name in names.split("+")], axis=0)

    def expected(self, found: tuple[Found, ...]) -> list[tuple[str | None, Mask]]:
        return [(label, self.mask(names)) for label, names in found]


WORK = {
    "polygon": Work(
        {"cat": Thing("cat", A, shape="disc"), "truck": Thing("truck", B), "stone": Thing("stone", C)},
        (("Cat", "cat"), ("Vehicle", "truck")),
        (
            Asked("click", "cat", "Cat", (("Cat", "cat"),)),
            Asked("box", "truck", "Vehicle", (("Vehicle", "truck"),)),
            Asked("look_for", "cat, truck", found=(("Cat", "cat"), ("Vehicle", "truck"))),
        ),
    ),
    "brush": Work(
        {"a": Thing("person", A), "b": Thing("person", C), "road": Thing("road", B), "path": Thing("road", D)},
        (("Person", "a"), ("Person", "b"), ("Road", "road+path")),
        (
            Asked("click", "a", "Person", (("Person", "a"),)),
            Asked("box", "road", "Road", (("Road", "road"),)),
            Asked("look_for", "person", found=(("Person", "a"), ("Person", "b"))),
        ),
    ),
    "bitmask": Work(
        {"a": Thing("cell", A, shape="disc"), "b": Thing("cell", C, shape="disc"), "c": Thing("debris", B)},
        (("Cell", "a"), ("Cell", "b"), ("Debris", "c")),
        (
            Asked("click", "a", "Cell", (("Cell", "a"),)),
            Asked("example", "b", "Cell", (("Cell", "a"), ("Cell", "b"))),
            Asked("look_for", "debris", found=(("Debris", "c"),)),
        ),
    ),
    "rectangle": Work(
        {"car": Thing("car", A), "boat": Thing("boat", B), "faint": Thing("car", C, 0.35)},
        (("Car", "car"), ("Boat", "boat")),
        (
            Asked("click", "boat", "Boat", (("Boat", "boat"),)),
            Asked("rough", "car", "Car", (("Car", "car"),)),
            Asked("look_for", "car", found=(("Car", "car"),)),
        ),
    ),
    "rotated-rectangle": Work(
        {"plane": Thing("plane", (100, 50, 200, 80), shape="leaning"), "ship": Thing("ship", D)},
        (("Plane", "plane"), ("Ship", "ship")),
        (
            Asked("click", "plane", "Plane", (("Plane", "plane"),)),
            Asked("rough", "ship", "Ship", (("Ship", "ship"),)),
            Asked("look_for", "plane", found=(("Plane", "plane"),)),
        ),
    ),
    "ellipse": Work(
        {"cell": Thing("cell", A, shape="disc"), "bubble": Thing("bubble", B, shape="disc")},
        (("Cell", "cell"), ("Bubble", "bubble")),
        (
            Asked("click", "cell", "Cell", (("Cell", "cell"),)),
            Asked("box", "bubble", "Bubble", (("Bubble", "bubble"),)),
            Asked("look_for", "bubble", found=(("Bubble", "bubble"),)),
        ),
    ),
    "keypoint": Work(
        {"a": Thing("seedling", A), "b": Thing("seedling", D), "weed": Thing("weed", B)},
        (("Seedling", "a"), ("Seedling", "b"), ("Weed", "weed")),
        (
            Asked("example", "a", "Seedling", (("Seedling", "a"), ("Seedling", "b"))),
            Asked("look_for", "weed", found=(("Weed", "weed"),)),
        ),
    ),
    "all-alike": Work(
        {"a": Thing("apple", A, shape="disc"), "b": Thing("apple", C, shape="disc"), "leaf": Thing("leaf", B)},
        (("Apple", "a"), ("Apple", "b"), ("Leaf", "leaf")),
        (
            Asked("like_this", "b", "Apple", (("Apple", "a"), ("Apple", "b"))),
            Asked("like_these", "leaf", "Leaf", (("Leaf", "leaf"),)),
        ),
    ),
    "text": Work(
        {"kitten": Thing("kitten", A), "dog": Thing("dog", B), "car": Thing("red car", C)},
        (("Cat", "kitten"), ("Dog", "dog")),
        (Asked("look_for", "kitten, red car", found=(("Cat", "kitten"), (None, "car"))),),
    ),
    "referring": Work(
        {"person": Thing("person", A), "meant": Thing("the person in red, on the right", B)},
        (("Person", "person"),),
        (Asked("describe", "the person in red, on the right", found=(("Person", "meant"),)),),
    ),
    "reasoning": Work(
        {"knife": Thing("knife", A), "meant": Thing("what could hurt a child", B)},
        (("Hazard", "knife"),),
        (
            Asked("question", "what could hurt a child", found=(("Hazard", "meant"),)),
            Asked("question", "what is lost?", said={"why_not": "nothing here is sure enough"}),
        ),
    ),
    "caption": Work(
        {"person": Thing("person", A), "animal": Thing("animal", B), "stone": Thing("stone", C)},
        (("Person", "person"), ("Animal", "animal")),
        (Asked("click", "stone", "Thing", (("Thing", "stone"),)),),
        {"caption": ("I see the person and the animal.",), "called": ("the person", "the animal")},
    ),
    "conversation": Work(
        {"defect": Thing("defect", A, shape="disc"), "part": Thing("part", B)},
        (("Defect", "defect"), ("Part", "part")),
        (
            Asked("ask", "what is it?", said={"answer": "A disc and a block."}),
            Asked("click", "defect", "Defect", (("Defect", "defect"),)),
        ),
    ),
    "panoptic": Work(
        {"person": Thing("person", A), "car": Thing("car", B), "road": Thing("road", C), "path": Thing("road", D)},
        (("Person", "person"), ("Car", "car"), ("Road", "road+path")),
        (
            Asked("click", "person", "Person", (("Person", "person"),)),
            Asked("box", "car", "Car", (("Car", "car"),)),
        ),
    ),
    "semantic": Work(
        {
            "sea": Thing("water", A),
            "pond": Thing("water", C),
            "town": Thing("buildings", B),
            "road": Thing("road", D),
        },
        (("Water", "sea+pond"), ("Built up", "town+road"), ("Other", "rest")),
        (
            Asked("click", "pond", "Water", (("Water", "pond"),)),
            Asked("box", "town", "Built up", (("Built up", "town"),)),
        ),
    ),
    "open-vocabulary": Work(
        {"a": Thing("bicycle", A), "b": Thing("bench", B), "c": Thing("lamp post", C), "d": Thing("other", D)},
        (("Two-wheeler", "a"), ("Street furniture", "b"), ("Street furniture", "c"), ("Other", "d")),
        (
            Asked("click", "a", "Two-wheeler", (("Two-wheeler", "a"),)),
            Asked("box", "b", "Street furniture", (("Street furniture", "b"),)),
            Asked("look_for", "lamp post, scooter", found=(("Street furniture", "c"),)),
        ),
    ),
    "several-images": Work(
        {"scratch": Thing("scratch", A), "second": Thing("dent", B), "third": Thing("scratch", C)},
        (("Scratch", "scratch"), ("Dent", "second"), ("Scratch", "third")),
        (
            Asked("click", "third", "Scratch", (("Scratch", "third"),), on=1),
            Asked("click", "third", "Scratch", (("Scratch", "third"),), on=1, waiting="scratch"),
            Asked("box", "scratch", "Scratch", (("Scratch", "scratch"),), on=0),
            Asked("box", "second", "Dent", (("Dent", "second"),), on=1),
        ),
    ),
    "thresholds": Work(
        {
            "sure": Thing("nucleus", A, 0.9),
            "unsure": Thing("nucleus", C, 0.6),
            "rare": Thing("mitosis", B, 0.35),
            "debris": Thing("debris", D, 0.45),
        },
        (("Nucleus", "sure"), ("Mitosis", "rare")),
        (
            Asked("click", "sure", "Nucleus", (("Nucleus", "sure"),)),
            Asked("click", "unsure", "Nucleus", said={"why_not": "nothing here is sure enough"}),
            Asked("box", "rare", "Mitosis", (("Mitosis", "rare"),)),
            Asked("look_for", "nucleus, mitosis, debris", found=(("Nucleus", "sure"), ("Mitosis", "rare"))),
            Asked("look_for", "moon", said={"why_not": "nothing here is sure enough"}),
        ),
    ),
}


@dataclass
class Project:
    """One with the config, one task, and the backend."""

    client: LsClient
    name: str
    work: Work
    config: LabelConfig
    id: int
    task_id: int
    backend_id: int

    @property
    def turned(self) -> bool:
        return self.config.outputs[0].options.rotated

    def ask(self, asked: Asked) -> list[Region]:
        """What the labeling page would show."""
        if not asked.label:
            sent = phrase(asked.at)
        elif self.config.control(asked.control).geometry == "keypoint":
            sent = click_on(self.work.mask(asked.at), asked.label)
        else:
            sent = box_around(self.work.mask(asked.at), asked.label)
        sent["from_name"] = asked.control
        if asked.on is not None:
            sent["item_index"] = asked.on
        context = [sent]
        if asked.waiting:
            first = click_on(self.work.mask(asked.waiting), asked.label)
            context = [{**first, "from_name": asked.control, "item_index": 0}, sent]
        reply = self.client.interactive(self.backend_id, self.task_id, context)
        assert "errors" not in reply, reply
        return list(reply["data"]["result"])

    def kept(self, result: list[Region]) -> list[Region]:
        """What Label Studio has of them as an annotation."""
        annotation_id = self.client.annotate(self.task_id, result)
        return list(self.client.call("GET", f"/api/annotations/{annotation_id}/")["result"])


@pytest.fixture(scope="module", params=sorted(file.stem for file in FOLDER.glob("*.xml")))
def project(request: pytest.FixtureRequest, ls_client: LsClient, seeing_backend: BackendProcess) -> Project:
    name = request.param
    xml, work = (FOLDER / f"{name}.xml").read_text("utf-8"), WORK[name]
    project_id = ls_client.create_project(f"gallery: {name}", xml)
    config = LabelConfig.parse(xml)
    if config.image().is_list:
        names = list(work.things)
        split = names.index("second")
        task_id = ls_client.import_task(
            project_id, {"images": [painted_url(work, names[:split]), painted_url(work, names[split:])]}
        )
    else:
        task_id = ls_client.upload(project_id, "painted.png", png(paint(list(work.things.values()))), "image/png")
    backend_id = ls_client.connect(project_id, seeing_backend.url)["id"]
    return Project(ls_client, name, work, config, project_id, task_id, backend_id)


def painted_url(work: Work, names: list[str]) -> str:
    return data_url(png(paint([work.things[name] for name in names])))


def texts_of(result: list[Region]) -> list[tuple[str, str]]:
    return [(one["from_name"], text) for one in result if one["type"] == "textarea" for text in one["value"]["text"]]


def test_each_config_has_its_work_and_each_of_its_tools_is_used() -> None:
    assert sorted(WORK) == sorted(file.stem for file in FOLDER.glob("*.xml"))
    for name, work in WORK.items():
        controls = LabelConfig.parse((FOLDER / f"{name}.xml").read_text("utf-8")).controls
        assert {asked.control for asked in work.asked} == {tool.name for tool in controls if tool.is_prompt_tool}


def test_gestures(project: Project) -> None:
    """Each tool of the config brings what it should, and Label Studio keeps all of it as an annotation."""
    answers = [project.ask(asked) for asked in project.work.asked]
    kept = project.kept([region for answer in answers for region in answer])
    for asked, answer in zip(project.work.asked, answers, strict=True):
        ids = {region["id"] for region in answer}
        for result in (answer, [region for region in kept if region["id"] in ids]):
            assert_found(result, project.work.expected(asked.found), turned=project.turned, item_index=asked.on)
            assert texts_of(result) == list(asked.said.items())
            unlabelled = [project.work.things[name].name for label, name in asked.found if label is None]
            notes = [region["meta"]["text"] for region in result if "meta" in region]
            assert notes == [[name] for name in unlabelled], "words that are no label travel with their region"
            for region in result:
                assert region["from_name"] in (project.config.outputs[0].name, *asked.said)


def test_pre_labels(project: Project) -> None:
    """They are in Label Studio, and accepted as they are they are an annotation."""
    project.client.retrieve_predictions(project.id)
    (prediction,) = project.client.predictions(project.task_id)
    assert 0 < prediction["score"] <= 1
    assert prediction["model_version"] == project.client.backend(project.backend_id)["model_version"]
    for result in (prediction["result"], project.kept(prediction["result"])):
        check(project, result)


def check(project: Project, result: list[Region]) -> None:
    """Whether that is what must be there before anybody looks."""
    work = project.work
    said = [(control, text) for control, texts in work.said.items() for text in texts]
    assert sorted(texts_of(result)) == sorted(said)
    regions = [region for region in result if region["type"] != "textarea"]
    assert {region["from_name"] for region in regions} == {project.config.outputs[0].name}
    if not project.config.image().is_list:
        assert_found(regions, work.expected(work.before), turned=project.turned)
        return
    split = next(number for number, (_, name) in enumerate(work.before) if name == "second")
    for item_index, found in enumerate((work.before[:split], work.before[split:])):
        mine = [region for region in regions if region["item_index"] == item_index]
        assert_found(mine, work.expected(found), item_index=item_index)
