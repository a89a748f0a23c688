"""The whole way through a real Label Studio: connect, pre-label uploads, click, box, phrase, keep, correct.

Once with the fake predictor, whose geometry is known, and once with the weights that ship with the package.
"""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
from backend_process import BackendProcess
from ls_client import LsClient, box, click, phrase
from ls_server import LabelStudio
from PIL import Image

from xsam_backend.geometry.brush_rle import brush_rle_to_mask
from xsam_backend.labelstudio.regions import read_region
from xsam_backend.region_masks import region_mask
from xsam_backend.server.auth import WEBHOOK_HEADER
from xsam_backend.store.database import database_url, open_database
from xsam_backend.store.inbox import Event, Inbox

pytestmark = pytest.mark.e2e

WIDTH, HEIGHT = 320, 240
TINY = Path(__file__).parents[2] / "xsam_backend" / "model" / "tiny"
HAS_TINY = any(TINY.glob("*.safetensors"))

LABELS = '<Label value="disc"/><Label value="block"/>'
PROMPTS = f"""<Image name="image" value="$image"/>
<KeyPointLabels name="kp" toName="image" smart="true">{LABELS}</KeyPointLabels>
<TextArea name="prompt" toName="image" smart="true"/>"""
SMART_BOX = f'<RectangleLabels name="rect" toName="image" smart="true">{LABELS}</RectangleLabels>'
OUTPUTS = {
    "brush": f'{SMART_BOX}<BrushLabels name="out" toName="image" smart="false">{LABELS}</BrushLabels>',
    "polygon": f'{SMART_BOX}<PolygonLabels name="out" toName="image">{LABELS}</PolygonLabels>',
    "rectangle": SMART_BOX,
}
CONFIGS = {name: f"<View>{PROMPTS}{output}</View>" for name, output in OUTPUTS.items()}


def picture() -> bytes:
    """A red disc on the left, a blue block on the right, on grey."""
    ys, xs = np.mgrid[:HEIGHT, :WIDTH]
    pixels = np.full((HEIGHT, WIDTH, 3), 150, np.uint8)
    pixels[(xs - 80) ** 2 + (ys - 120) ** 2 < 50**2] = (200, 30, 30)
    pixels[70:170, 200:290] = (30, 30, 200)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


def mask_of(regions: list[dict[str, Any]]) -> np.ndarray:
    """bool (H, W): what all regions cover together, read back from what Label Studio holds."""
    covered = np.zeros((HEIGHT, WIDTH), bool)
    for region in regions:
        covered |= region_mask(read_region(region, (HEIGHT, WIDTH)), (HEIGHT, WIDTH))
    return covered


@pytest.fixture(scope="module", params=["fake", "tiny"])
def backend(
    request: pytest.FixtureRequest, label_studio: LabelStudio, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[BackendProcess]:
    if request.param == "tiny" and not HAS_TINY:
        pytest.skip("the weights of tiny are not in this checkout")
    settings = {
        "label_studio_url": label_studio.url,
        "label_studio_token": label_studio.token,
        "basic_auth_user": "u1",
        "basic_auth_password": "p1",
    }
    data_dir = tmp_path_factory.mktemp(request.param) / "data"
    model = None if request.param == "fake" else "tiny"
    with BackendProcess(data_dir, model=model, settings=settings) as running:
        yield running


class Project:
    """A project with one uploaded picture, connected to the backend."""

    def __init__(self, client: LsClient, backend: BackendProcess, output: str) -> None:
        config = CONFIGS[output]
        self.region_type = f"{output}labels"
        self.client = client
        self.id = client.create_project("discs and blocks", config)
        self.task_id = client.upload(self.id, "a b é.jpg", picture(), "image/jpeg")
        login = {"auth_method": "BASIC_AUTH", "basic_auth_user": "u1", "basic_auth_pass": "p1"}
        self.ml = client.connect(self.id, backend.url, **login)

    def ask(self, *regions: dict[str, Any]) -> list[dict[str, Any]]:
        """The regions that the labeling page would show for these prompts."""
        reply = self.client.interactive(self.ml["id"], self.task_id, regions)
        assert "errors" not in reply, reply
        result: list[dict[str, Any]] = reply["data"]["result"]
        return result


@pytest.fixture(params=sorted(CONFIGS))
def project(request: pytest.FixtureRequest, ls_client: LsClient, backend: BackendProcess) -> Project:
    return Project(ls_client, backend, request.param)


def check(regions: list[dict[str, Any]], region_type: str) -> None:
    for region in regions:
        assert region["type"] == region_type
        assert region["from_name"] == ("rect" if region_type == "rectanglelabels" else "out")
        assert (region["original_width"], region["original_height"]) == (WIDTH, HEIGHT)
        assert 0 <= region["score"] <= 1


def test_connect(project: Project) -> None:
    assert project.ml["state"] == "CO"
    assert project.ml["is_interactive"]
    assert project.client.versions(project.ml["id"]) == [project.ml["model_version"]]


def test_a_wrong_login_is_told_by_label_studio(ls_client: LsClient, backend: BackendProcess) -> None:
    project_id = ls_client.create_project("wrong login", CONFIGS["polygon"])
    with pytest.raises(RuntimeError, match="authentication parameters"):
        ls_client.connect(
            project_id, backend.url, auth_method="BASIC_AUTH", basic_auth_user="u1", basic_auth_pass="x"
        )


def test_batch(project: Project, backend: BackendProcess) -> None:
    """Uploaded pictures are pre-labelled with the project's labels, stored once, with scores and version."""
    project.client.retrieve_predictions(project.id)
    project.client.retrieve_predictions(project.id)
    (prediction,) = project.client.predictions(project.task_id)
    assert prediction["model_version"] == project.ml["model_version"]
    assert 0 <= prediction["score"] <= 1
    check(prediction["result"], project.region_type)
    if backend.is_fake:
        labels = [region["value"][project.region_type] for region in prediction["result"]]
        assert labels == [["disc"], ["block"]]
        assert mask_of(prediction["result"][:1])[: HEIGHT // 2, : WIDTH // 2].mean() > 0.95


def test_one_lost_picture_does_not_cost_the_others(project: Project, backend: BackendProcess) -> None:
    lost = project.client.import_task(project.id, {"image": "/data/upload/1/nowhere.jpg"})
    project.client.retrieve_predictions(project.id)
    assert len(project.client.predictions(project.task_id)) == 1
    assert project.client.predictions(lost) == []


def test_click(project: Project, backend: BackendProcess) -> None:
    regions = project.ask(click(25, 50, "disc"))
    check(regions, project.region_type)
    assert regions
    assert {label for region in regions for label in region["value"][project.region_type]} == {"disc"}
    assert mask_of(regions)[120, 80]


def test_two_clicks_are_one_object(project: Project, backend: BackendProcess) -> None:
    regions = project.ask(click(25, 40, "disc"), click(25, 60, "disc", region_id="k2"))
    check(regions, project.region_type)
    roots = [region for region in regions if "parentID" not in region]
    assert len(roots) == 1
    if backend.is_fake:
        covered = mask_of(regions)
        assert covered[96, 80]
        assert covered[144, 80]


def test_a_negative_click_takes_away_what_it_hits(project: Project, backend: BackendProcess) -> None:
    regions = project.ask(click(25, 50, "disc"), click(27, 50, "disc", positive=False, region_id="k2"))
    check(regions, project.region_type)
    if project.region_type != "rectanglelabels":  # a rectangle around the rest covers the hole again
        assert not mask_of(regions)[120, 86]


def test_box(project: Project, backend: BackendProcess) -> None:
    regions = project.ask(box(60, 25, 33, 50, "block"))
    check(regions, project.region_type)
    assert regions
    covered = mask_of(regions)
    drawn = np.zeros((HEIGHT, WIDTH), bool)
    drawn[60:180, 192:298] = True
    assert not covered[:50].any()
    assert not covered[:, :180].any()
    # How well small weights fill boxes is measured in benchmarks/, not here.
    assert (covered & drawn).sum() / (covered | drawn).sum() > (0.95 if backend.is_fake else 0.7)


def test_text(project: Project, backend: BackendProcess) -> None:
    regions = project.ask(phrase("disc"))
    check(regions, project.region_type)
    assert all(region["value"][project.region_type] == ["disc"] for region in regions)
    if backend.is_fake:
        assert regions


def test_prompts_that_vanish(project: Project) -> None:
    assert project.ask() == []


def test_an_error_does_not_reach_the_annotator_but_the_status_page(project: Project, backend: BackendProcess) -> None:
    reply = project.client.interactive(project.ml["id"], project.task_id, [click(25, 50, "unicorn")])
    assert reply["errors"]
    status = requests.get(f"{backend.url}/status", auth=("u1", "p1"), timeout=10).json()
    assert any("label 'unicorn' cannot be written" in problem["message"] for problem in status["problems"])


def test_an_accepted_region_is_kept_and_known_as_ours(project: Project, backend: BackendProcess) -> None:
    """Click, accept, submit: the annotation carries the region's id, by which the prediction log knows it."""
    from xsam_backend.store.predictions import PredictionLog

    regions = project.ask(click(25, 50, "disc"))
    project.client.annotate(project.task_id, [{**region, "origin": "manual"} for region in regions])
    (annotation,) = project.client.annotations(project.task_id)
    ids = [region["id"] for region in annotation["result"]]
    engine = open_database(database_url("store", backend.data_dir), "store")
    try:
        logged = PredictionLog(engine).find(ids)
    finally:
        engine.dispose()
    assert set(logged) == set(ids)
    assert {record.model_version for record in logged.values()} == {project.ml["model_version"]}
    assert (mask_of(annotation["result"]) == mask_of(regions)).all()


def test_webhooks_get_the_secret_and_events_are_believed(ls_client: LsClient, backend: BackendProcess) -> None:
    project = Project(ls_client, backend, "polygon")
    for _ in range(100):
        (row,) = ls_client.webhooks(project.id)
        if WEBHOOK_HEADER in row["headers"]:
            break
        time.sleep(0.2)
    assert WEBHOOK_HEADER in row["headers"]
    annotation_id = ls_client.annotate(project.task_id, [click(25, 50, "disc")])
    ls_client.start_training(project.ml["id"])
    events = [event for event in events_of(backend) if event.project_key == events_of(backend)[-1].project_key]
    created = [event for event in events if event.action == "ANNOTATION_CREATED"]
    assert [event.body["annotation"]["id"] for event in created] == [annotation_id]
    assert created[0].verified
    assert "token" not in created[0].body["project"]
    assert events[-1].action == "START_TRAINING"
    assert events[-1].verified
    assert ls_client.backend(project.ml["id"])["state"] == "CO"


def events_of(backend: BackendProcess) -> list[Event]:
    engine = open_database(database_url("inbox", backend.data_dir), "inbox")
    try:
        return Inbox(engine).after()
    finally:
        engine.dispose()


def test_a_brush_decodes_to_the_mask_that_was_meant(ls_client: LsClient, backend: BackendProcess) -> None:
    """What the editor would paint: the RLE's own decoder, not the one that prompts are read with."""
    project = Project(ls_client, backend, "brush")
    (region,) = project.ask(box(60, 25, 33, 50, "block"))
    mask = brush_rle_to_mask(region["value"]["rle"], (HEIGHT, WIDTH))
    assert mask[60:180, 192:298].any()
    assert not mask[:50].any()
    assert not mask[:, :180].any()
    if backend.is_fake:
        assert mask[120, 245]
