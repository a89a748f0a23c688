"""What is kept of pictures over HTTP: across a restart, and of clicks that newer ones overtake."""

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from app_parts import MemoryImages, click, request_of, services_of
from fake_predictor import FakePredictor
from small_models import noise_picture, small_predictor

from xsam_backend.errors import CheckpointError
from xsam_backend.labelstudio.images import FetchedImage


class Noise:
    """Stands in for ``ImageSource``: one picture."""

    def fetch(self, url: str, task_id: int | None = None) -> FetchedImage:
        pixels = noise_picture()
        return FetchedImage(pixels, "5" * 64, (pixels.shape[0], pixels.shape[1]), "PNG")


def stages(app: Any) -> dict[str, float]:
    """How often each stage has run."""
    registry = services_of(app).monitor.registry
    name = "xsam_backend_stage_seconds_count"
    return {stage: registry.get_sample_value(name, {"stage": stage}) or 0.0 for stage in ("look", "state", "answer")}


@pytest.mark.parametrize("disk_mb", [0, 50], ids=["forgotten", "kept on disk"])
def test_after_a_restart(make_app: Any, disk_mb: int) -> None:
    results = []
    for start in range(2):
        app = make_app(small_predictor(), Noise(), disk_cache_mb=disk_mb)
        answer = app.test_client().post("/predict", json=request_of("a", context=[click(40, 40)]))
        results.append(answer.get_json()["results"][0]["result"])
        looks = 0.0 if start and disk_mb else 1.0
        assert stages(app) == {"look": looks, "state": 1.0, "answer": 1.0}
        services_of(app).housekeeping.drain()  # it writes behind
    first, again = ([{**region, "id": ""} for region in of_start] for of_start in results)
    assert first == again


def test_a_model_that_has_no_such_outputs_is_refused(make_app: Any) -> None:
    with pytest.raises(CheckpointError, match="disk_cache_mb"):
        make_app(FakePredictor(), disk_cache_mb=50)


def test_an_older_click_on_the_same_object_is_answered_with_nothing_at_once(make_app: Any) -> None:
    """The page throws its answer away; the thread and the model's time are free for the newer one."""
    began, go_on = threading.Event(), threading.Event()

    def before(stage: str) -> None:
        began.set()
        go_on.wait(20)

    app = make_app(FakePredictor(before=before), MemoryImages())
    one, two = click(50, 50), click(60, 60)

    def ask(*clicks: dict[str, Any]) -> list[dict[str, Any]]:
        answer = app.test_client().post("/predict", json=request_of("a", context=list(clicks)))
        assert answer.status_code == 200, answer.text
        found: list[dict[str, Any]] = answer.get_json()["results"][0]["result"]
        return found

    with ThreadPoolExecutor(3) as pool:
        batch = pool.submit(app.test_client().post, "/predict", json=request_of("other"))
        assert began.wait(20)
        older = pool.submit(ask, one)
        while not services_of(app).engine.waiting:
            threading.Event().wait(0.001)
        newer = pool.submit(ask, one, two)
        assert older.result(20) == [], "while the batch still has the model"
        go_on.set()
        assert len(newer.result(20)) == 1
        assert batch.result(20).status_code == 200


def test_the_same_click_twice_is_answered_twice(make_app: Any) -> None:
    app = make_app(FakePredictor(), MemoryImages())
    with ThreadPoolExecutor(8) as pool:
        answers = list(
            pool.map(
                lambda _: app.test_client().post("/predict", json=request_of("a", context=[click(50, 50)])), range(16)
            )
        )
    assert all(len(answer.get_json()["results"][0]["result"]) == 1 for answer in answers)
    assert stages(app)["look"] == 1.0
