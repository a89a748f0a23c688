"""However many ask at once, for however many projects: a service holds the base model's weights once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from app_parts import CONFIG, data_uri, png, services_of

from xsam_backend.config import load_settings
from xsam_backend.model import predictor as module
from xsam_backend.server.app import create_app

PROJECTS, OF_ONE = 3, 2


def asked(project: int, task: int) -> dict[str, Any]:
    return {
        "tasks": [{"id": task, "data": {"image": data_uri(png(value=40 * project + task))}}],
        "project": f"{project}.7",
        "label_config": CONFIG,
        "params": {"context": None},
    }


def test_weights_are_loaded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = []
    load: Callable[..., Any] = module.load_predictor

    def counted(*given: Any, **named: Any) -> Any:
        loaded.append(given)
        return load(*given, **named)

    monkeypatch.setattr(module, "load_predictor", counted)
    app = create_app(load_settings(data_dir=tmp_path, train_worker=False, model="tiny", device="cpu"))
    together = threading.Barrier(PROJECTS * OF_ONE)

    def ask(project: int, task: int) -> tuple[int, str]:
        together.wait(60)
        answer = app.test_client().post("/predict", json=asked(project, task))
        return answer.status_code, answer.get_json()["results"][0].get("model_version")

    try:
        with ThreadPoolExecutor(PROJECTS * OF_ONE) as pool:
            pairs = [(project, task) for project in range(1, PROJECTS + 1) for task in range(OF_ONE)]
            answers = list(pool.map(lambda pair: ask(*pair), pairs))
        version = services_of(app).engine.model_version
    finally:
        services_of(app).close()
    assert answers == [(200, version)] * (PROJECTS * OF_ONE)
    assert len(loaded) == 1
