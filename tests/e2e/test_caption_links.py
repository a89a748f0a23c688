"""A caption with masks, through a real Label Studio and back: each region says what the caption calls it, annotators
see that at the labeling page, and what they accept is a grounded caption again.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from backend_process import BackendProcess
from ls_client import LsClient
from ls_server import PASSWORD, USERNAME, LabelStudio
from test_label_studio import picture

from xsam_backend.evaluation.datasets.label_studio import open_project
from xsam_backend.ground_truth import Caption
from xsam_backend.labelstudio.client import LabelStudioClient
from xsam_backend.labelstudio.egress import FetchPolicy
from xsam_backend.labelstudio.images import ImageSource

pytestmark = pytest.mark.e2e

LABELS = '<Label value="disc" background="#2dc653"/><Label value="block" background="#ffd60a"/>'
CONFIG = f"""<View><Image name="image" value="$image"/>
<PolygonLabels name="outline" toName="image" smart="false" model_task="gcg">{LABELS}</PolygonLabels>
<TextArea name="caption" toName="image" smart="false" editable="true"/>
<TextArea name="called" toName="image" perRegion="true" editable="true" displayMode="region-list"/></View>"""
SAID = "I see the disc on the left."


@pytest.fixture
def backend(label_studio: LabelStudio, tmp_path: Path) -> Iterator[BackendProcess]:
    settings = {"label_studio_url": label_studio.url, "label_studio_token": label_studio.token}
    with BackendProcess(tmp_path / "data", model=None, settings=settings) as running:
        yield running


@pytest.fixture
def labelled(ls_client: LsClient, backend: BackendProcess) -> tuple[int, int]:
    """A project, and its task, pre-labelled."""
    project_id = ls_client.create_project("captions", CONFIG, show_collab_predictions=True)
    task_id = ls_client.upload(project_id, "picture.jpg", picture(), "image/jpeg")
    ls_client.connect(project_id, backend.url)
    ls_client.retrieve_predictions(project_id)
    return project_id, task_id


def by_control(result: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {region["from_name"]: region for region in result}


def test_a_pre_labels_words_are_linked_and_come_back(
    ls_client: LsClient, labelled: tuple[int, int], label_studio: LabelStudio
) -> None:
    project_id, task_id = labelled
    (prediction,) = ls_client.predictions(task_id)
    found = by_control(prediction["result"])
    assert found["outline"]["value"]["polygonlabels"] == ["disc"]
    assert found["called"]["id"] == found["outline"]["id"]
    assert found["called"]["value"]["text"] == ["the disc"]
    assert found["caption"]["value"]["text"] == [SAID]
    edited = {**found["caption"], "value": {"text": ["Clearly, the disc is red."]}}
    ls_client.annotate(task_id, [found["outline"], found["called"], edited])
    assert caption_of(label_studio, project_id) == Caption("Clearly, the disc is red.", ((9, 17, (0,)),))


def test_the_labeling_page_shows_them_and_keeps_them(
    labelled: tuple[int, int], label_studio: LabelStudio, tmp_path: Path
) -> None:
    pytest.importorskip("playwright", reason="playwright is not installed: pip install -r requirements-dev.txt")
    from benchmarks.labeling_page import CHROMIUM_VARIABLE, LabelingPage, find_chromium, signed_in

    chromium = find_chromium()
    if chromium is None:
        pytest.skip(f"no Chromium here: install one (Debian: apt install chromium), or set {CHROMIUM_VARIABLE}")
    project_id, task_id = labelled
    folder = Path(os.environ.get("SCREENSHOTS") or tmp_path)
    folder.mkdir(parents=True, exist_ok=True)
    with signed_in(chromium, label_studio.url, USERNAME, PASSWORD) as page:
        labeling = LabelingPage(page, f"{label_studio.url}/projects/{project_id}/data?task={task_id}")
        page.get_by_text(SAID).first.wait_for()
        page.evaluate("() => Htx.annotationStore.selected.selectArea(Htx.annotationStore.selected.regions[0])")
        page.get_by_text("the disc", exact=True).first.wait_for()
        labeling.screenshot(folder / "caption.png")
        labeling.submit()
    assert caption_of(label_studio, project_id) == Caption(SAID, ((6, 14, (0,)),))


def caption_of(label_studio: LabelStudio, project_id: int) -> Caption:
    """What the project's only picture teaches, from what Label Studio has kept."""
    policy = FetchPolicy(label_studio_url=label_studio.url, token=label_studio.token)
    client = LabelStudioClient(label_studio.url, label_studio.token)
    dataset = open_project(client, ImageSource(policy, client), project_id)
    (caption,) = dataset.records[0].load().captions
    return caption
