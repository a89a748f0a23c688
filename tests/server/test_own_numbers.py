from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from xsam_backend.server.health import Health
from xsam_backend.server.own_numbers import OwnNumbers


class FakeCuda:
    """torch.cuda of a machine with four GPUs, of which one is ours. ``asked``: those that were opened."""

    def __init__(self) -> None:
        self.asked: set[Any] = set()

    def is_initialized(self) -> bool:
        return True

    def device_count(self) -> int:
        return 4

    def mem_get_info(self, device: Any) -> tuple[int, int]:
        self.asked.add(device)
        return 30, 100

    def memory_allocated(self, device: Any) -> int:
        self.asked.add(device)
        return 50

    def memory_reserved(self, device: Any) -> int:
        self.asked.add(device)
        return 60


@pytest.mark.parametrize(("device", "asked"), [("cuda:2", {"cuda:2"}), ("cpu", set()), ("", set())])
def test_no_gpu_is_opened_but_our_own(
    device: str, asked: set[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cuda = FakeCuda()
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))
    numbers = OwnNumbers("tiny", list, tmp_path, Health({}, {}), device)
    families = {family.name: family for family in numbers.collect()}
    assert cuda.asked == asked
    samples = families["xsam_backend_device_bytes"].samples if asked else []
    assert {(sample.labels["device"], sample.labels["use"], sample.value) for sample in samples} == {
        (name, use, value)
        for name in asked
        for use, value in (("held", 50), ("reserved", 60), ("free", 30), ("total", 100))
    }
