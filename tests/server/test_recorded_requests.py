"""Every request that a real Label Studio sent, replayed: each must get a reply that Label Studio stores and shows."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from app_parts import MemoryImages, services_of
from flask.testing import FlaskClient

RECORDED = Path(__file__).parents[1] / "recorded" / "label_studio"
NAMES = sorted(path.stem for path in RECORDED.glob("*.json"))

ROTATED = {"/data/upload/33/efd105c6-rot.jpg": (240, 320)}
"""The one picture that the browser shows upright: 320 x 240 stored, EXIF orientation 6."""

NUMBERS = {
    "polygonlabels": ["points"],
    "rectanglelabels": ["x", "y", "width", "height"],
    "brushlabels": ["rle"],
    "bitmasklabels": [],
    "ellipselabels": ["x", "y", "radiusX", "radiusY"],
    "keypointlabels": ["x", "y", "width"],
}


def recorded(name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((RECORDED / f"{name}.json").read_text(encoding="utf-8"))
    return content


def send(client: FlaskClient, name: str) -> Any:
    request = recorded(name)["request"]
    headers = {key: value for key, value in request["headers"].items() if key not in ("Host", "Connection")}
    body = request.get("body")
    raw = None if body is None else json.dumps(body).encode()
    return client.open(request["path"], method=request["method"], headers=headers, data=raw)


def flat(value: Any) -> list[float]:
    return [leaf for inner in value for leaf in flat(inner)] if isinstance(value, list) else [value]


def check_region(region: dict[str, Any], config: str, size_wh: tuple[int, int]) -> None:
    """What ``results/variants`` of the recordings found to be required: less of it breaks the editor."""
    controls = {tag.get("name"): tag for tag in ElementTree.fromstring(config).iter() if tag.get("toName")}
    control = controls[region["from_name"]]
    assert region["to_name"] == control.get("toName")
    assert region["type"] == control.tag.lower()
    assert isinstance(region["id"], str)
    assert region["id"]
    assert (region["original_width"], region["original_height"]) == size_wh
    assert region["image_rotation"] == 0
    assert 0 <= region["score"] <= 1
    offered = {label.get("value") for label in control}
    assert set(region["value"][region["type"]]) <= offered
    for key in NUMBERS[region["type"]]:
        numbers = flat(region["value"][key])
        assert numbers
        assert all(math.isfinite(number) for number in numbers)
        assert region["type"] == "brushlabels" or all(-0.01 <= number <= 100.01 for number in numbers)


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith(("predict_", "interactive_"))])
def test_predict(make_app: Any, name: str) -> None:
    client = make_app(images=MemoryImages(ROTATED)).test_client()
    answer = send(client, name)
    assert answer.status_code == 200, answer.text
    body = recorded(name)["request"]["body"]
    results = answer.get_json()["results"]
    assert len(results) == len(body["tasks"])
    context = body["params"]["context"]
    if context == {"result": []}:
        assert results == [{"result": []}]
        return
    ids: list[str] = []
    for entry in results:
        assert entry["model_version"] == "fake-1"
        assert 0 <= entry["score"] <= 1
        assert entry["result"], "the fake predictor finds something in every picture"
        for region in entry["result"]:
            rotated = (context or {"result": []})["result"][-1:]
            shown = rotated[0] if rotated and "original_width" in rotated[0] else {}
            size_wh = (shown.get("original_width", 320), shown.get("original_height", 240))
            check_region(region, body["label_config"], size_wh)
            ids.append(region["id"])
            if context and "item_index" in context["result"][-1]:
                assert region["item_index"] == context["result"][-1]["item_index"]
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith("interactive_keypoint")])
def test_a_chosen_label_rides_along(make_app: Any, name: str) -> None:
    results = send(make_app(images=MemoryImages()).test_client(), name).get_json()["results"]
    chosen = recorded(name)["request"]["body"]["params"]["context"]["result"][-1]["value"]["labels"]
    assert {label for region in results[0]["result"] for label in region["value"][region["type"]]} == set(chosen)


@pytest.mark.parametrize("name", ["labels_beside_keypoints", "labels_beside_rectangle"])
def test_a_label_beside_a_plain_tag_rides_along(make_app: Any, name: str) -> None:
    """Label Studio writes such a region as two results of one id, and reads it so."""
    answer = send(make_app(images=MemoryImages()).test_client(), name)
    assert answer.status_code == 200, answer.text
    shape, label = answer.get_json()["results"][0]["result"]
    assert (shape["type"], shape["from_name"]) == ("brush", "mask")
    assert (label["type"], label["from_name"], label["id"]) == ("labels", "what", shape["id"])
    assert label["value"]["labels"] == ["disc"]


@pytest.mark.parametrize("name", [name for name in NAMES if "setup" in name])
def test_setup(make_app: Any, name: str) -> None:
    app = make_app()
    answer = send(app.test_client(), name)
    assert answer.status_code == 200
    assert answer.get_json() == {"model_version": "fake-1"}
    (project,) = services_of(app).projects.all()
    assert project.key == "local/21.1795347497"


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith("webhook_")])
def test_webhook(make_app: Any, name: str) -> None:
    app = make_app()
    answer = send(app.test_client(), name)
    assert 200 <= answer.status_code < 300
    (event,) = services_of(app).inbox.after()
    assert event.action == recorded(name)["request"]["body"]["action"]
    assert event.project_key == "local/21.1795347497", "the project that setup named"
    assert not event.verified


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith("webhook_")])
def test_webhook_with_the_projects_secret_is_kept_whole(make_app: Any, name: str) -> None:
    from xsam_backend.server.auth import WEBHOOK_HEADER, WebhookSecrets
    from xsam_backend.store.projects import ProjectKey

    app = make_app(webhook_secret="root" * 8)
    body = recorded(name)["request"]["body"]
    secret = WebhookSecrets("root" * 8).of(ProjectKey.from_uid("local", "21.1795347497"))
    app.test_client().post("/webhook", json=body, headers={WEBHOOK_HEADER: secret})
    (event,) = services_of(app).inbox.after()
    assert event.verified
    kept = json.dumps(event.body)
    assert body["project"]["token"] not in kept
    assert '"token"' not in kept
    assert '"task_data_password"' not in kept
    for key in ("annotation", "task", "tasks"):
        assert event.body.get(key) == body.get(key)


@pytest.mark.parametrize(("name", "key"), [("connect_1_health", "status"), ("versions", "versions")])
def test_reading_calls(make_app: Any, name: str, key: str) -> None:
    answer = send(make_app().test_client(), name)
    assert answer.status_code == 200
    assert key in answer.get_json()
