"""Every task, by every gesture that asks for it, into every tag that can take regions: through a real Label Studio.

The backend answers with the fake predictor, which follows the prompt, so that it is known where the answer must lie.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from backend_process import BackendProcess
from ls_client import LsClient, Region, box, click, phrase
from ls_server import LabelStudio
from numpy.typing import NDArray
from test_label_studio import HEIGHT, LABELS, WIDTH, mask_of, picture

from xsam_backend.geometry.masks import mask_to_box_xyxy

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

HALF, QUARTER = (0, 0, WIDTH // 2, HEIGHT), (0, 0, WIDTH // 2, HEIGHT // 2)
SECOND, THIRD = (WIDTH // 2, 0, WIDTH, HEIGHT // 2), (0, HEIGHT // 2, WIDTH // 2, HEIGHT)
BOX, DISC = (192, 60, 298, 180), (56, 96, 105, 145)
"""Where answers lie: boxes (x0, y0, x1, y1), px."""


@dataclass(frozen=True)
class Case:
    """What somebody does, and what must come of it.

    Attributes:
        task, gesture: as the page of the label configs names them.
        control: which tool; of pre-labels, what the output's ``model_task`` says.
        sent: what the labeling page sends; empty for what is there before anybody looks.
        at: where the first region lies.
        label: its label.
    """

    task: str
    gesture: str
    control: str
    sent: tuple[Region, ...] = ()
    at: tuple[int, int, int, int] = HALF
    label: str = "disc"


ON_DISC, ON_BLOCK = click(25, 50, "disc"), box(60, 25, 33, 50, "block")
CASES = (
    Case("one object", "click", "click", (ON_DISC,), DISC),
    Case("one object", "box", "box", (ON_BLOCK,), BOX, "block"),
    Case("all like it", "click", "like", (ON_DISC,), DISC),
    Case("all like it", "box", "all_like", (ON_BLOCK,), BOX, "block"),
    Case("all of a name", "words", "words", (phrase("block"),), QUARTER, "block"),
    Case("the one described", "words", "described", (phrase("disc"),)),
    Case("what is meant", "question", "asked", (phrase("disc"),)),
    Case("objects", "none", "instance", at=QUARTER),
    Case("open vocabulary", "none", "ovseg", at=QUARTER),
    Case("panoptic segments", "none", "panoptic", at=SECOND),
    Case("an area for each label", "none", "semantic", at=THIRD),
    Case("a caption with regions", "none", "gcgseg"),
)


def config_of(tag: str, task: str = "") -> str:
    """All tools, and that output."""
    name, more = TAGS[tag]
    says = f'model_task="{task}"' if task else ""
    return f'<View>{TOOLS}<{name} name="out" toName="image" smart="false" {more} {says}>{LABELS}</{name}></View>'


@pytest.fixture(scope="module")
def backend(label_studio: LabelStudio, tmp_path_factory: pytest.TempPathFactory) -> Iterator[BackendProcess]:
    settings = {"label_studio_url": label_studio.url, "label_studio_token": label_studio.token}
    with BackendProcess(tmp_path_factory.mktemp("cells") / "data", model=None, settings=settings) as running:
        yield running


@dataclass
class Project:
    """One for each tag. Its config is told again where another one is wanted than the last."""

    client: LsClient
    tag: str
    id: int
    task_id: int
    backend_id: int
    config: str

    def have(self, config: str) -> None:
        if config != self.config:
            self.client.update_project(self.id, label_config=config)
            self.config = config

    def answer(self, case: Case) -> list[Region]:
        """What comes, by Label Studio's way for it."""
        if case.sent:
            self.have(config_of(self.tag))
            sent = [{**region, "from_name": case.control} for region in case.sent]
            reply = self.client.interactive(self.backend_id, self.task_id, sent)
            assert "errors" not in reply, reply
            return list(reply["data"]["result"])
        self.have(config_of(self.tag, case.control))
        for old in self.client.predictions(self.task_id):  # Label Studio asks for none where there is one
            self.client.call("DELETE", f"/api/predictions/{old['id']}/")
        self.client.retrieve_predictions(self.id)
        (prediction,) = self.client.predictions(self.task_id)
        return list(prediction["result"])


@pytest.fixture(scope="module", params=TAGS)
def project(request: pytest.FixtureRequest, ls_client: LsClient, backend: BackendProcess) -> Project:
    config = config_of(request.param)
    project_id = ls_client.create_project(f"as {request.param}", config)
    task_id = ls_client.upload(project_id, "picture.jpg", picture(), "image/jpeg")
    backend_id = ls_client.connect(project_id, backend.url)["id"]
    return Project(ls_client, request.param, project_id, task_id, backend_id, config)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.task}, {case.gesture}")
def test_a_task_and_a_tag(project: Project, case: Case) -> None:
    result = project.answer(case)
    drawn = [region for region in result if region["from_name"] == "out"]
    kind = TAGS[project.tag][0].lower()
    assert drawn
    assert {region["type"] for region in drawn} == {kind}
    assert drawn[0]["value"][kind] == [case.label]
    if kind == "rectanglelabels" and "turned" not in project.tag:
        assert drawn[0]["value"]["rotation"] == 0
    assert_lies(mask_of(drawn[:1]), case.at, project.tag)
    if case.control == "gcgseg":
        assert [one["value"]["text"] for one in result if one["type"] == "textarea"] == [
            ["I see the disc on the left."]
        ]


def assert_lies(mask: NDArray[np.bool_], where: tuple[int, int, int, int], tag: str) -> None:
    """Whether a region is where it must be: a point inside, all others about as large.

    An ellipse around a rectangle has its area, and sticks out.
    """
    found = mask_to_box_xyxy(mask)
    assert found is not None
    if tag == "points":
        assert where[0] <= found[0] <= found[2] <= where[2]
        assert where[1] <= found[1] <= found[3] <= where[3]
        return
    slack = 0.1 * max(where[2] - where[0], where[3] - where[1]) if tag == "ellipses" else 2
    assert np.allclose(found, where, atol=slack)


def test_words_are_answered_in_words(project: Project) -> None:
    result = project.answer(Case("an answer", "question", "talk", (phrase("what is it?"),)))
    assert [(one["from_name"], one["value"]["text"]) for one in result] == [("answer", ["A disc and a block."])]


def test_the_page_has_these_tasks() -> None:
    """docs/label-configs.md says what is tried here, in a table of its own."""
    section = PAGE.read_text("utf-8").partition("## Every task with every tag")[2]
    rows = re.findall(r"^\| ([^|]+) \| (click|box|words|question|none) \|", section, re.MULTILINE)
    assert rows == [*((case.task, case.gesture) for case in CASES), ("an answer", "question")]
    assert all(tag in section for tag in TAGS)
