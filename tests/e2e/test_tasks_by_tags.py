"""Every task, by every gesture that asks for it, into every tag that can take regions: through a real Label Studio.

The pictures are painted (``painted``), and the backend answers with a predictor that sees what is painted. So it is
known for each of them which regions must come, where, and that nothing else may.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from backend_process import BackendProcess
from event_parts import until
from found_regions import Mask, assert_found
from ls_client import LsClient, Region, phrase
from painted import Thing, paint, png
from painted_gestures import box_around, box_at, click_on

from xsam_backend.server.auth import WEBHOOK_HEADER
from xsam_backend.store.annotations import Annotations
from xsam_backend.store.database import database_url, open_database
from xsam_backend.store.predictions import PredictionLog
from xsam_backend.store.projects import ProjectKey
from xsam_backend.store.tasks import Tasks

pytestmark = pytest.mark.e2e

PAGE = Path(__file__).parents[2] / "docs" / "label-configs.md"

TAGS = {
    "polygons": ("PolygonLabels", ""),
    "brush masks": ("BrushLabels", ""),
    "bitmasks": ("BitmaskLabels", ""),
    "rectangles": ("RectangleLabels", ""),
    "turned rectangles": ("RectangleLabels", 'model_rotated="true"'),
    "ellipses": ("EllipseLabels", ""),
    "points": ("KeyPointLabels", ""),
}
THINGS = {
    "first disc": Thing("disc", (20, 20, 70, 70), 0.9, "disc"),
    "second disc": Thing("disc", (20, 100, 60, 140), 0.8, "disc"),
    "third disc": Thing("disc", (20, 170, 80, 230), 0.7, "disc"),
    "left half": Thing("block", (150, 20, 210, 90), 0.9),
    "right half": Thing("block", (210, 20, 240, 90), 0.85),
    "leaning": Thing("block", (110, 150, 210, 180), 0.6, "leaning"),
    "tower": Thing("the tower on the right", (270, 10, 300, 120), 0.8),
    "tallest": Thing("what is the tallest?", (270, 130, 310, 230), 0.7),
    "beside": Thing("what nobody asks for", (186, 128, 224, 156)),
    "coin": Thing("coin", (100, 40, 130, 70), 0.95, "disc"),
}
"""What is painted. Two halves of one block touch. A coin is what no label names, and what is accepted as a disc.
Where the box along the leaning block were if it were straight, there is something else."""

MASKS: dict[str, Mask] = {name: thing.mask() for name, thing in THINGS.items()}
MASKS["block"] = MASKS["left half"] | MASKS["right half"]
MASKS["two discs"] = MASKS["first disc"] | MASKS["second disc"]
MASKS["discs"] = MASKS["two discs"] | MASKS["third disc"]
MASKS["blocks"] = MASKS["block"] | MASKS["leaning"]
MASKS["left half, leaning"] = MASKS["left half"] | MASKS["leaning"]
MASKS["towers"] = MASKS["tower"] | MASKS["tallest"]
MASKS["ground"] = ~(MASKS["discs"] | MASKS["blocks"] | MASKS["towers"])

LABELS = """<Label value="disc"/><Label value="block"/>
<Label value="tower" predicted_values="the tower on the right, what is the tallest?"/>
<Label value="ground" model_background="true"/>"""
TOOLS = f"""<Image name="image" value="$image"/>
<KeyPointLabels name="click" toName="image" smart="true">{LABELS}</KeyPointLabels>
<KeyPointLabels name="like" toName="image" smart="true" model_task="vgd">{LABELS}</KeyPointLabels>
<RectangleLabels name="box" toName="image" smart="true">{LABELS}</RectangleLabels>
<RectangleLabels name="all_like" toName="image" smart="true" model_task="vgd">{LABELS}</RectangleLabels>
<TextArea name="words" toName="image" smart="true"/>
<TextArea name="described" toName="image" smart="true" model_task="refseg"/>
<TextArea name="asked" toName="image" smart="true" model_task="reaseg"/>
<TextArea name="talk" toName="image" smart="true" model_task="imgconv"/>
<TextArea name="answer" toName="image" smart="false"/>"""


def at(name: str, label: str, *, positive: bool = True) -> Region:
    return click_on(MASKS[name], label, positive=positive)


def around(name: str, label: str) -> Region:
    return box_around(MASKS[name], label)


ALONG_THE_LEANING = box_at("block", 124.2, 127.0, 100, 30, 30)
"""Around the leaning block as it lies."""


@dataclass(frozen=True)
class Case:
    """What somebody does, and what must come of it.

    Attributes:
        task, gesture: as the page of the label configs names them.
        asked: the task that the model must be asked.
        control: which tool; of pre-labels, what the output's ``model_task`` says.
        found: (label, which mask) of all regions.
        sent: what the labeling page sends; empty for what is there before anybody looks.
    """

    task: str
    gesture: str
    asked: str
    control: str
    found: tuple[tuple[str, str], ...]
    sent: tuple[Region, ...] = ()

    def __str__(self) -> str:
        return f"{self.task}, {self.gesture}"


DISCS = (("disc", "first disc"), ("disc", "second disc"), ("disc", "third disc"))
BLOCKS = (("block", "block"), ("block", "leaning"))
TOWERS = (("tower", "tower"), ("tower", "tallest"))
ALL = (*DISCS, *BLOCKS, *TOWERS)
ONE_EACH = (("disc", "first disc"), ("block", "block"), *TOWERS)
AREAS = (("disc", "discs"), ("block", "blocks"), ("tower", "towers"), ("ground", "ground"))
DESCRIBED, ASKED = THINGS["tower"].name, THINGS["tallest"].name
ON_BLOCK, NOT_RIGHT = at("left half", "block"), at("right half", "block", positive=False)
CASES = (
    Case("one object", "click", "intseg", "click", DISCS[:1], (at("first disc", "disc"),)),
    Case(
        "one object",
        "several clicks",
        "intseg",
        "click",
        (("disc", "two discs"),),
        (at("first disc", "disc"), at("second disc", "disc")),
    ),
    Case("one object", "Alt + click", "intseg", "click", (("block", "left half"),), (ON_BLOCK, NOT_RIGHT)),
    Case(
        "one object",
        "Alt + click, click",
        "intseg",
        "click",
        (("block", "left half, leaning"),),
        (ON_BLOCK, NOT_RIGHT, at("leaning", "block")),
    ),
    Case("one object", "box", "intseg", "box", BLOCKS[:1], (around("block", "block"),)),
    Case("one object", "turned box", "intseg", "box", BLOCKS[1:], (ALONG_THE_LEANING,)),
    Case(
        "several objects",
        "several boxes",
        "intseg",
        "box",
        (DISCS[0], DISCS[2]),
        (around("first disc", "disc"), around("third disc", "disc")),
    ),
    Case("all like it", "click", "vgdseg", "like", DISCS, (at("second disc", "disc"),)),
    Case("all like it", "box", "vgdseg", "all_like", BLOCKS, (around("leaning", "block"),)),
    Case("all of a name", "words", "ovseg", "words", BLOCKS, (phrase("block"),)),
    Case("all of several names", "words", "ovseg", "words", ALL[:6], (phrase(f"disc, block; {DESCRIBED}"),)),
    Case("the one described", "words", "refseg", "described", TOWERS[:1], (phrase(DESCRIBED),)),
    Case("what is meant", "words", "reaseg", "asked", TOWERS[:1], (phrase(DESCRIBED),)),
    Case("what is meant", "question", "reaseg", "words", TOWERS[1:], (phrase(ASKED),)),
    Case("objects", "none", "genseg", "instance", ALL),
    Case("open vocabulary", "none", "ovseg", "ovseg", ALL),
    Case("panoptic segments", "none", "genseg panoptic", "panoptic", (*ALL, AREAS[-1])),
    Case("an area for each label", "none", "genseg semantic", "semantic", AREAS),
    Case("the one described", "none", "refseg", "refseg", ONE_EACH),
    Case("what is meant", "none", "reaseg", "reaseg", ONE_EACH),
    Case("a caption with regions", "none", "gcgseg", "gcgseg", ONE_EACH[:2]),
    Case("all like what was accepted", "none", "vgdseg", "vgd", (("disc", "coin"), *BLOCKS, *TOWERS)),
)


def config_of(tag: str, task: str = "") -> str:
    """All tools, and that output."""
    name, more = TAGS[tag]
    says = f'model_task="{task}"' if task else ""
    return f'<View>{TOOLS}<{name} name="out" toName="image" smart="false" {more} {says}>{LABELS}</{name}></View>'


@dataclass
class Project:
    """One for each tag. Its config is told again where another one is wanted than the last.

    Attributes:
        task_id: with the painted picture.
        accepted: the id of the annotation of another task, in which a coin was accepted as a disc.
    """

    client: LsClient
    tag: str
    id: int
    task_id: int
    backend_id: int
    config: str
    accepted: int

    def have(self, config: str) -> None:
        if config != self.config:
            self.client.update_project(self.id, label_config=config)
            self.config = config

    def answer(self, case: Case) -> list[Region]:
        """What comes, by Label Studio's way for it."""
        if case.sent:
            self.have(config_of(self.tag))
            return self.ask(case.control, *case.sent)
        self.have(config_of(self.tag, case.control))
        return self.pre_label()

    def ask(self, control: str, *sent: Region, task_id: int | None = None) -> list[Region]:
        """What the labeling page would show."""
        of_control = [{**region, "from_name": control} for region in sent]
        reply = self.client.interactive(self.backend_id, task_id or self.task_id, of_control)
        assert "errors" not in reply, reply
        return list(reply["data"]["result"])

    def pre_label(self) -> list[Region]:
        """What the Data Manager's button brings."""
        for old in self.client.predictions(self.task_id):  # Label Studio asks for none where there is one
            self.client.call("DELETE", f"/api/predictions/{old['id']}/")
        self.client.retrieve_predictions(self.id, [self.task_id])
        (prediction,) = self.client.predictions(self.task_id)
        return list(prediction["result"])


@pytest.fixture(scope="module", params=TAGS)
def project(request: pytest.FixtureRequest, ls_client: LsClient, seeing_backend: BackendProcess) -> Project:
    config = config_of(request.param)
    project_id = ls_client.create_project(f"as {request.param}", config)
    task_id = ls_client.upload(project_id, "picture.png", png(paint(list(THINGS.values()))), "image/png")
    backend_id = ls_client.connect(project_id, seeing_backend.url)["id"]
    other = ls_client.upload(project_id, "coin.png", png(paint([THINGS["coin"]])), "image/png")
    project = Project(ls_client, request.param, project_id, task_id, backend_id, config, 0)
    # Events without the secret are hints, for which projects are synced once in a minute.
    until(lambda: WEBHOOK_HEADER in ls_client.webhooks(project_id)[0]["headers"], 30, "the secret at the webhook")
    as_disc = project.ask("click", at("coin", "disc"), task_id=other)
    project.accepted = ls_client.annotate(other, as_disc)
    return project


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_task_and_a_tag(project: Project, seeing_backend: BackendProcess, case: Case) -> None:
    if case.control == "vgd":
        wait_until_kept(seeing_backend, project)
    result = project.answer(case)
    kind = TAGS[project.tag][0].lower()
    drawn = [region for region in result if region["type"] != "textarea"]
    assert {(region["from_name"], region["type"]) for region in drawn} == {("out", kind)}
    if case.control == "vgd" and project.tag == "points":  # a point has no area, so it is no example
        case = next(other for other in CASES if other.control == "instance")
    expected = [(label, MASKS[name]) for label, name in case.found]
    assert_found(result, expected, turned="turned" in project.tag)
    assert {asked_of(seeing_backend, region["id"]) for region in drawn} >= {case.asked}
    said = [(one["from_name"], one["value"]["text"]) for one in result if one["type"] == "textarea"]
    assert said == ([("answer", ["I see the disc and the block."])] if case.asked == "gcgseg" else [])


def asked_of(backend: BackendProcess, region_id: str) -> str:
    """The task, and form, by which a region was found, as the prediction log has it."""
    engine = open_database(database_url("store", backend.data_dir), "store")
    try:
        prompt: Any = PredictionLog(engine).find([region_id])[region_id].prompt
    finally:
        engine.dispose()
    return f"{prompt['task']} {prompt.get('form', '')}".strip()


def wait_until_kept(backend: BackendProcess, project: Project) -> None:
    """What was accepted, and its picture, have reached the backend: webhooks are read in its own time."""
    engine = open_database(database_url("store", backend.data_dir), "store")

    def is_kept() -> bool:
        annotations = Annotations(engine)
        keys = [key for key in annotations.count() if ProjectKey.parse(key).project_id == project.id]
        kept = [one for key in keys for one in annotations.of_tasks(key)]
        return any(one.annotation_id == project.accepted for one in kept) and Tasks(engine).count_lacking() == 0

    try:
        until(is_kept, 60, "the accepted object at the backend")
    finally:
        engine.dispose()


def test_words_are_answered_in_words(project: Project) -> None:
    project.have(config_of(project.tag))
    result = project.ask("talk", phrase("what is it?"))
    assert [(one["from_name"], one["value"]["text"]) for one in result] == [("answer", ["A disc and a block."])]


def test_the_page_has_these_tasks() -> None:
    """docs/label-configs.md says what is tried here, in a table of its own."""
    section = PAGE.read_text("utf-8").partition("## Every task with every tag")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| ([^|]+) \| ([^|]+) \|", section, re.MULTILINE)
    cases = [(case.task, case.gesture) for case in CASES]
    assert rows == [("what comes", "gesture"), ("---", "---"), *cases, ("an answer", "question")]
    assert all(tag in section for tag in TAGS)
