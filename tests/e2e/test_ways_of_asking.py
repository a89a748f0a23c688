"""What isn't one task with one tag, through a real Label Studio: plain tags with Labels beside them, what isn't
there, and what is annotated already. On painted pictures, for a backend that sees what is painted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import requests
from backend_process import BackendProcess
from found_regions import assert_found
from ls_client import LsClient, Region, phrase
from painted import Thing, data_url, paint, png
from painted_gestures import box_around, click_on

pytestmark = pytest.mark.e2e

DISC, OTHER = Thing("disc", (20, 20, 90, 90), shape="disc"), Thing("disc", (30, 140, 110, 220), shape="disc")
BLOCK = Thing("block", (200, 30, 300, 110))
LABELS = '<Label value="disc"/><Label value="block"/>'


@dataclass
class Project:
    """One with a painted picture."""

    client: LsClient
    backend: BackendProcess
    config: str

    def __post_init__(self) -> None:
        self.id = self.client.create_project("ways of asking", self.config)
        self.task_id = self.client.upload(self.id, "p.png", png(paint([DISC, OTHER, BLOCK])), "image/png")
        self.backend_id = self.client.connect(self.id, self.backend.url)["id"]

    def ask(self, *sent: Region) -> list[Region]:
        """What the labeling page would show."""
        reply = self.client.interactive(self.backend_id, self.task_id, sent)
        assert "errors" not in reply, reply
        return list(reply["data"]["result"])

    def notes(self) -> list[str]:
        """What the status page says of this task."""
        problems = requests.get(f"{self.backend.url}/status", timeout=10).json()["problems"]
        return [one["message"] for one in problems if f"task {self.task_id}:" in one["message"]]


@pytest.mark.parametrize("tag", ["Polygon", "Brush", "Bitmask", "Rectangle", "Ellipse", "KeyPoint"])
def test_plain_tags_with_labels_beside_them(tag: str, ls_client: LsClient, seeing_backend: BackendProcess) -> None:
    """Each region comes twice under one id, its shape and its label, and goes into an annotation so."""
    config = f"""<View><Image name="image" value="$image"/>
    <Labels name="what" toName="image">{LABELS}</Labels>
    <KeyPoint name="click" toName="image" smart="true" smartOnly="true"/>
    <Rectangle name="box" toName="image" smart="true" smartOnly="true"/>
    <{tag} name="out" toName="image" smart="false"/></View>"""
    project = Project(ls_client, seeing_backend, config)
    clicked = project.ask(*both(click_on(DISC.mask(), "disc"), "click", "keypoint"))
    boxed = project.ask(*both(box_around(BLOCK.mask(), "block"), "box", "rectangle"))
    ls_client.retrieve_predictions(project.id)
    (prediction,) = ls_client.predictions(project.task_id)
    kept = ls_client.annotate(project.task_id, clicked + boxed)
    annotation: Any = ls_client.call("GET", f"/api/annotations/{kept}/")
    one, all_of_it = [("disc", DISC.mask())], [("disc", OTHER.mask()), ("block", BLOCK.mask())]
    assert_found(clicked, one)
    assert_found(boxed, all_of_it[1:])
    assert_found(annotation["result"], one + all_of_it[1:])
    assert_found(prediction["result"], one + all_of_it)
    for result in (clicked, boxed, prediction["result"]):
        kinds = [(region["type"], region["from_name"]) for region in result]
        assert sorted(set(kinds)) == sorted({("labels", "what"), (tag.lower(), "out")})


def both(region: Region, control: str, kind: str) -> list[Region]:
    """As Label Studio sends a plain tag's region beside Labels: twice under one id."""
    value = region["value"]
    labels = value.pop(region["type"])
    value["labels"] = labels
    return [{**region, "type": kind, "from_name": control}, {**region, "type": "labels", "from_name": "what"}]


AREAS = {"a text area says why": True, "no text area": False}


@pytest.mark.parametrize("says_why", AREAS.values(), ids=AREAS)
def test_what_is_not_there(says_why: bool, ls_client: LsClient, seeing_backend: BackendProcess) -> None:
    """No region, and why: at the status page, and at the labeling page where the config has room for it."""
    why = '<TextArea name="why" toName="image" smart="false" model_says_why="true"/>' if says_why else ""
    config = f"""<View><Image name="image" value="$image"/>
    <TextArea name="words" toName="image" smart="true"/>
    <TextArea name="described" toName="image" smart="true" model_task="refseg"/>
    <TextArea name="asked" toName="image" smart="true" model_task="reaseg"/>
    <KeyPointLabels name="click" toName="image" smart="true">{LABELS}</KeyPointLabels>
    <KeyPointLabels name="like" toName="image" smart="true" model_task="vgd">{LABELS}</KeyPointLabels>
    <PolygonLabels name="out" toName="image" smart="false">{LABELS}</PolygonLabels>{why}</View>"""
    project = Project(ls_client, seeing_backend, config)
    nowhere = Thing("nothing", (150, 150, 160, 160)).mask()
    reason = "nothing here is sure enough"
    for sent, control in (
        (phrase("elephant"), "words"),
        (phrase("elephant, giraffe; whale"), "words"),
        (phrase("where is the elephant?"), "words"),
        (phrase("the elephant on the left"), "described"),
        (phrase("what has a trunk"), "asked"),
        (click_on(nowhere, "disc"), "click"),
        (click_on(nowhere, "disc"), "like"),
    ):
        result = project.ask({**sent, "from_name": control})
        told = [("why", [reason])] if says_why else []
        assert [(one["from_name"], one["value"]["text"]) for one in result] == told, control
    assert project.notes() == [f"task {project.task_id}: {reason}"]
    assert_found(project.ask({**phrase("elephant, block"), "from_name": "words"}), [("block", BLOCK.mask())])


def test_what_is_annotated_is_not_brought_again(ls_client: LsClient, seeing_backend: BackendProcess) -> None:
    """All like it, without what is there; where everything is, that is said."""
    config = f"""<View><Image name="image" value="$image"/>
    <KeyPointLabels name="like" toName="image" smart="true" model_task="vgd">{LABELS}</KeyPointLabels>
    <PolygonLabels name="out" toName="image" smart="false">{LABELS}</PolygonLabels>
    <TextArea name="why" toName="image" smart="false" model_says_why="true"/></View>"""
    project = Project(ls_client, seeing_backend, config)
    sent = {**click_on(DISC.mask(), "disc"), "from_name": "like"}
    both_discs = project.ask(sent)
    assert_found(both_discs, [("disc", DISC.mask()), ("disc", OTHER.mask())])
    first = ls_client.annotate(project.task_id, both_discs[:1])
    assert_found(project.ask(sent), [("disc", OTHER.mask())])
    ls_client.delete_annotation(first)
    ls_client.annotate(project.task_id, both_discs)
    (told,) = project.ask(sent)
    assert told["value"]["text"] == ["all 2 that are like it are annotated already"]


def test_two_pictures_in_two_fields(ls_client: LsClient, seeing_backend: BackendProcess) -> None:
    """Each has its own tools and output: what is asked on one is answered there."""
    config = "".join(
        f"""<Image name="{side}" value="${side}"/>
        <KeyPointLabels name="click_{side}" toName="{side}" smart="true">{LABELS}</KeyPointLabels>
        <{tag} name="out_{side}" toName="{side}" smart="false">{LABELS}</{tag}>"""
        for side, tag in (("front", "PolygonLabels"), ("back", "BitmaskLabels"))
    )
    project_id = ls_client.create_project("two fields", f"<View>{config}</View>")
    painted = {"front": [DISC, BLOCK], "back": [OTHER]}
    urls = {side: data_url(png(paint(things))) for side, things in painted.items()}
    task_id = ls_client.import_task(project_id, urls)
    backend_id = ls_client.connect(project_id, seeing_backend.url)["id"]
    ls_client.retrieve_predictions(project_id)
    (prediction,) = ls_client.predictions(task_id)
    for side, things in painted.items():
        mine = [region for region in prediction["result"] if region["to_name"] == side]
        assert {region["from_name"] for region in mine} == {f"out_{side}"}
        assert_found(mine, [(thing.name, thing.mask()) for thing in things])
    sent = {**click_on(OTHER.mask(), "disc"), "from_name": "click_back", "to_name": "back"}
    reply = ls_client.interactive(backend_id, task_id, [sent])
    assert {(one["from_name"], one["to_name"]) for one in reply["data"]["result"]} == {("out_back", "back")}
    assert_found(reply["data"]["result"], [("disc", OTHER.mask())])
