"""A person at Label Studio's labeling page: all that is like one thing, a panoptic pre-label, words in vain.

Real Label Studio, real backend process, real browser; the pictures are painted, and the backend sees what is painted.
Screenshots are kept in the folder that ``SCREENSHOTS`` names, else in pytest's.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from backend_process import BackendProcess
from found_regions import assert_found
from ls_client import LsClient
from ls_server import PASSWORD, USERNAME, LabelStudio
from painted import SIZE_HW, Thing, paint, png

pytest.importorskip("playwright", reason="playwright is not installed: pip install -r requirements-dev.txt")

from playwright.sync_api import Page

from benchmarks.labeling_page import CHROMIUM_VARIABLE, LabelingPage, find_chromium, signed_in

pytestmark = pytest.mark.e2e

CONFIGS = Path(__file__).parents[2] / "label_configs"
FIRST, SECOND = Thing("apple", (20, 20, 90, 90), shape="disc"), Thing("apple", (30, 140, 110, 220), shape="disc")
LEAF = Thing("leaf", (200, 30, 300, 110))
ROAD, PATH = Thing("road", (180, 140, 290, 220)), Thing("road", (30, 140, 110, 210))
PERSON, CAR = Thing("person", (20, 20, 90, 90)), Thing("car", (200, 30, 300, 110))


@pytest.fixture(scope="module")
def page(label_studio: LabelStudio) -> Iterator[Page]:
    chromium = find_chromium()
    if chromium is None:
        pytest.skip(f"no Chromium here: install one (Debian: apt install chromium), or set {CHROMIUM_VARIABLE}")
    with signed_in(chromium, label_studio.url, USERNAME, PASSWORD) as signed_in_page:
        yield signed_in_page


@pytest.fixture
def shot(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    folder = Path(os.environ.get("SCREENSHOTS") or tmp_path)
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{request.node.name}.png"


class Opened:
    """A project with a config of the gallery and one painted picture, open at the labeling page."""

    def __init__(
        self,
        client: LsClient,
        server: LabelStudio,
        backend: BackendProcess,
        page: Page,
        config: str,
        *things: Thing,
        pre_labelled: bool = False,
    ) -> None:
        self._client = client
        xml = (CONFIGS / f"{config}.xml").read_text("utf-8")
        # Else a click on a pre-label would choose it and ask nothing.
        project_id = client.create_project(f"at the page: {config}", xml, show_collab_predictions=pre_labelled)
        self.task_id = client.upload(project_id, "painted.png", png(paint(things)), "image/png")
        client.connect(project_id, backend.url)
        if pre_labelled:
            client.retrieve_predictions(project_id)
        self.page = LabelingPage(page, f"{server.url}/projects/{project_id}/data?task={self.task_id}")

    def kept(self) -> list[dict[str, object]]:
        """Submit, and read back through the API what Label Studio has."""
        self.page.submit()
        (annotation,) = self._client.annotations(self.task_id)
        return list(annotation["result"])


def share(value_px: float, axis: int) -> float:
    """Per cent of the picture's width (1) or height (0)."""
    return 100 * value_px / SIZE_HW[axis]


def test_all_alike_by_a_click_on_one(
    ls_client: LsClient, label_studio: LabelStudio, seeing_backend: BackendProcess, page: Page, shot: Path
) -> None:
    opened = Opened(ls_client, label_studio, seeing_backend, page, "all-alike", FIRST, SECOND, LEAF)
    bare = opened.page.canvas().astype(int)
    with opened.page.answered():
        opened.page.click("Apple", share(55, 1), share(55, 0), control="like_this")
    opened.page.screenshot(shot)
    apples = [("Apple", FIRST.mask()), ("Apple", SECOND.mask())]
    assert_found(opened.page.suggestions(), apples)
    assert (np.abs(opened.page.canvas().astype(int) - bare) > 20).any(2).mean() > 0.003, "outlines are drawn"
    opened.page.accept()
    assert_found(opened.kept(), apples)


def test_all_alike_by_a_box_around_one(
    ls_client: LsClient, label_studio: LabelStudio, seeing_backend: BackendProcess, page: Page, shot: Path
) -> None:
    opened = Opened(ls_client, label_studio, seeing_backend, page, "all-alike", FIRST, SECOND, LEAF)
    with opened.page.answered():
        opened.page.box("Apple", share(27, 1), share(137, 0), share(113, 1), share(223, 0), control="like_these")
    opened.page.screenshot(shot)
    opened.page.accept()
    assert_found(opened.kept(), [("Apple", FIRST.mask()), ("Apple", SECOND.mask())])


def test_a_panoptic_pre_label_is_shown(
    ls_client: LsClient, label_studio: LabelStudio, seeing_backend: BackendProcess, page: Page, shot: Path
) -> None:
    """Each thing and each surface is on the canvas before anybody does anything, and is kept as it is shown."""
    things = (PERSON, CAR, ROAD, PATH)
    opened = Opened(ls_client, label_studio, seeing_backend, page, "panoptic", *things, pre_labelled=True)
    page.wait_for_function("() => Htx.annotationStore.selected.regionStore.regions.length === 3")
    page.wait_for_function("() => Htx.annotationStore.selected.regionStore.regions.every((one) => !one.hidden)")
    page.wait_for_timeout(500)  # bitmasks are painted from pictures that the page loads in its own time
    opened.page.screenshot(shot)
    segments = [
        ("Person", PERSON.mask()),
        ("Car", CAR.mask()),
        ("Road", ROAD.mask() | PATH.mask()),
    ]
    assert_found(opened.page.regions(), segments)
    canvas = opened.page.canvas().astype(int)
    opened.page.clear()
    page.wait_for_timeout(500)
    painted = (np.abs(canvas - opened.page.canvas()) > 20).any(2).mean()
    covered = np.mean(sum(mask for _, mask in segments))
    assert painted > covered / 2, "what is listed is also seen"


def test_words_that_find_nothing_say_so(
    ls_client: LsClient, label_studio: LabelStudio, seeing_backend: BackendProcess, page: Page, shot: Path
) -> None:
    opened = Opened(ls_client, label_studio, seeing_backend, page, "reasoning", CAR)
    with opened.page.answered():
        opened.page.phrase("what could hurt a child")
    note = page.get_by_text("nothing here is sure enough").first
    note.wait_for()
    page.set_viewport_size({"width": 1280, "height": 1060})  # it is below the picture
    opened.page.screenshot(shot)
    assert opened.page.count_suggestions() == 0, "a note is no suggestion: it is there"
    said = {str(one["from_name"]): one["value"] for one in opened.kept()}
    assert said["why_not"] == {"text": ["nothing here is sure enough"]}
    assert set(said) <= {"why_not", "question"}, "no region"
