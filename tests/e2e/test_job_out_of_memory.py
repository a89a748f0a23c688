"""A fine-tuning that takes more memory than it may: its job fails in words, and the service answers as before."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import requests
from backend_process import BackendProcess
from event_parts import ROOT_SECRET, Sender, until
from small_base import save_small_base
from test_serving import click_on
from test_spoilt_samples import annotated

pytestmark = pytest.mark.e2e

HTML = {"Accept": "text/html"}


def test_a_job_over_its_memory_fails_and_serving_goes_on(tmp_path: Path) -> None:
    """The real worker with a real model, allowed less than torch alone takes."""
    settings = {
        "webhook_secret": ROOT_SECRET,
        "device": "cpu",
        "train_worker": "true",
        "train_nice": "0",
        "train_memory_mb": "100",
    }
    sender = Sender()
    with BackendProcess(
        tmp_path / "data", model=str(save_small_base(tmp_path / "base")), settings=settings
    ) as backend:
        before = requests.get(f"{backend.url}/health", timeout=5).json()
        for task in range(104, 112):  # enough to learn from: nothing else ends the job
            assert sender.send(backend.url, annotated(sender, task)).status_code == 201
        until(lambda: "8 accepted" in requests.get(backend.url, timeout=10, headers=HTML).text, 60, "keeping them")
        press = {"action": "START_TRAINING", "project": sender.project()}
        number = sender.send(backend.url, press).json()["job"]

        def over() -> dict[str, Any] | None:
            job: dict[str, Any] = requests.get(f"{backend.url}/jobs/{number}", timeout=10).json()
            return None if job["state"] in ("queued", "running") else job

        job = until(over, 200, "the end of the job")
        assert (job["state"], job["tries"]) == ("failed", 1)
        assert "more than train_memory_mb (100)" in job["error"]
        assert click_on(backend).status_code == 200
        assert requests.get(f"{backend.url}/health", timeout=5).json() == before
