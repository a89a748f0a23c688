"""A person at Label Studio's labeling page: a click, an Alt-click, a box and a phrase end as regions on screen.

Real Label Studio, real backend process, real browser. The backend answers with the fake predictor, so that what must
appear is known; once more with the weights that ship, where something must appear.

Screenshots are kept in the folder that ``SCREENSHOTS`` names, else in pytest's.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from backend_process import BackendProcess
from ls_client import LsClient
from ls_server import PASSWORD, USERNAME, LabelStudio
from test_label_studio import HAS_TINY, HEIGHT, WIDTH, mask_of, picture

pytest.importorskip("playwright", reason="playwright is not installed: pip install -r requirements-dev.txt")

from playwright.sync_api import Page
from playwright.sync_api import TimeoutError as PageTimeout

from benchmarks.labeling_page import CHROMIUM_VARIABLE, LabelingPage, find_chromium, signed_in

pytestmark = pytest.mark.e2e

LABELS = '<Label value="disc" background="#2dc653"/><Label value="block" background="#ffd60a"/>'
CONFIG = f"""<View>
<KeyPointLabels name="click" toName="image" smart="true" smartOnly="true">{LABELS}</KeyPointLabels>
<RectangleLabels name="box" toName="image" smart="true" smartOnly="true">{LABELS}</RectangleLabels>
<TextArea name="phrase" toName="image" smart="true" maxSubmissions="1"/>
<Image name="image" value="$image"/>
<PolygonLabels name="outline" toName="image" smart="false">{LABELS}</PolygonLabels></View>"""
DISC, BLOCK = (80, 120), (245, 120)
"""Centres (x, y) of the two things on the picture, px."""


@pytest.fixture(scope="module", params=["fake", "tiny"])
def backend(
    request: pytest.FixtureRequest, label_studio: LabelStudio, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[BackendProcess]:
    if request.param == "tiny" and not HAS_TINY:
        pytest.skip("the weights of tiny are not in this checkout")
    settings = {"label_studio_url": label_studio.url, "label_studio_token": label_studio.token}
    model = None if request.param == "fake" else "tiny"
    with BackendProcess(tmp_path_factory.mktemp(request.param) / "data", model=model, settings=settings) as running:
        yield running


@pytest.fixture(scope="module")
def page(label_studio: LabelStudio) -> Iterator[Page]:
    chromium = find_chromium()
    if chromium is None:
        pytest.skip(f"no Chromium here: install one (Debian: apt install chromium), or set {CHROMIUM_VARIABLE}")
    with signed_in(chromium, label_studio.url, USERNAME, PASSWORD) as signed_in_page:
        yield signed_in_page


class Labeling:
    """A project with one picture, and the labeling page open on it."""

    def __init__(
        self, client: LsClient, server: LabelStudio, backend: BackendProcess, page: Page, shot: Path
    ) -> None:
        self._client = client
        # Without predictions: opened tasks would have some, and a click on an outline chooses it and asks nothing.
        project_id = client.create_project("at the page", CONFIG, show_collab_predictions=False)
        self.task_id = client.upload(project_id, "picture.jpg", picture(), "image/jpeg")
        client.connect(project_id, backend.url)
        self.is_fake = backend.is_fake
        self.page = LabelingPage(page, f"{server.url}/projects/{project_id}/data?task={self.task_id}")
        self._shot = shot
        self._bare = self.page.canvas()

    def answer(self) -> np.ndarray:
        """bool (H, W): the suggestions that are on the canvas now, looked at and checked."""
        self.page.screenshot(self._shot)
        assert self._shot.stat().st_size > 10_000
        suggested = self.page.suggestions()
        changed = (np.abs(self.page.canvas().astype(int) - self._bare) > 20).any(2)
        assert changed.mean() > 0.003, "outlines are drawn; the mark of a click alone is a tenth of this"
        assert {region["type"] for region in suggested} == {"polygonlabels"}
        assert {region["from_name"] for region in suggested} == {"outline"}
        return mask_of(suggested)

    def kept(self) -> list[dict[str, Any]]:
        """Take the suggestions, submit, and read back through the API what Label Studio has."""
        self.page.accept()
        self.page.submit()
        (annotation,) = self._client.annotations(self.task_id)
        return list(annotation["result"])


@pytest.fixture
def labeling(
    ls_client: LsClient,
    label_studio: LabelStudio,
    backend: BackendProcess,
    page: Page,
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> Labeling:
    folder = Path(os.environ.get("SCREENSHOTS") or tmp_path)
    folder.mkdir(parents=True, exist_ok=True)
    name = "".join(letter if letter.isalnum() else "-" for letter in request.node.name)
    shot = folder / f"{name.strip('-')}.png"
    try:
        return Labeling(ls_client, label_studio, backend, page, shot)
    except PageTimeout:
        page.screenshot(path=shot)  # what it looked like instead
        raise


def at(centre: tuple[int, int]) -> tuple[float, float]:
    """Per cent of the picture."""
    return 100 * centre[0] / WIDTH, 100 * centre[1] / HEIGHT


def test_a_click(labeling: Labeling) -> None:
    with labeling.page.answered():
        labeling.page.click("disc", *at(DISC))
    assert labeling.answer()[DISC[1], DISC[0]]
    kept = labeling.kept()
    assert {region["type"] for region in kept} == {"polygonlabels"}, "the click itself is not kept"
    assert {label for region in kept for label in region["value"]["polygonlabels"]} == {"disc"}
    assert mask_of(kept)[DISC[1], DISC[0]]


def test_an_alt_click_takes_away(labeling: Labeling) -> None:
    with labeling.page.answered():
        labeling.page.click("disc", *at(DISC))
    before = labeling.answer()
    beside = (DISC[0] + 20, DISC[1])
    with labeling.page.answered():
        labeling.page.click("disc", *at(beside), negative=True)
    after = labeling.answer()
    prompts = [region for region in labeling.page.regions() if region["type"] == "keypointlabels"]
    assert [region["is_positive"] for region in prompts] == [True, False]
    assert not after[beside[1], beside[0]]
    if labeling.is_fake:
        assert before[beside[1], beside[0]]
        assert after[DISC[1], DISC[0] - 10]
    assert not mask_of(labeling.kept())[beside[1], beside[0]]


def test_a_box(labeling: Labeling) -> None:
    with labeling.page.answered():
        labeling.page.box("block", 60, 25, 94, 75)
    covered = labeling.answer()
    assert covered[BLOCK[1], BLOCK[0]]
    assert not covered[:, :180].any()
    kept = labeling.kept()
    assert {region["type"] for region in kept} == {"polygonlabels"}, "the box itself is not kept"
    assert {label for region in kept for label in region["value"]["polygonlabels"]} == {"block"}
    assert (mask_of(kept) == covered).mean() > 0.99


def test_a_phrase(labeling: Labeling) -> None:
    """Small weights may find nothing for a phrase (benchmarks/ has how often they do); what they find is labelled."""
    with labeling.page.answered():
        labeling.page.phrase("disc")
    if labeling.is_fake:
        covered = labeling.answer()
        assert covered[: HEIGHT // 2, : WIDTH // 2].mean() > 0.95, "where the fake predictor finds the first label"
    elif not labeling.page.count_suggestions():
        return
    kept = [region for region in labeling.kept() if region["type"] == "polygonlabels"]
    assert {label for region in kept for label in region["value"]["polygonlabels"]} == {"disc"}
