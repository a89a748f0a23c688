"""How much of a picture's half is made again, by what is still there."""

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_predictor import FakeOutputs, FakePredictor

from xsam_backend.inference.cache import Standing
from xsam_backend.inference.disk_tier import DiskTier
from xsam_backend.inference.picture_memory import Budget, PictureMemory

PICTURE = np.full((8, 8, 3), 50, np.uint8)
ROOM = Budget(outputs=10_000, states=10_000, prefixes=100_000)


class Making:
    """Notes the stages that run."""

    def __init__(self, standing: Standing) -> None:
        self.standing = standing
        self.hurried = nullcontext
        self.made: list[str] = []

    def run(self, stage: str, work: Any, /, *given: Any) -> Any:
        self.made.append(stage)
        return work(*given)


def stages(
    memory: PictureMemory, predictor: FakePredictor, sha256: str = "a", *, standing: Standing = Standing.ASKED
) -> list[str]:
    """What had to be made."""
    making = Making(standing)
    assert memory.state(predictor, PICTURE, sha256, making).size_hw == (8, 8)
    return making.made


@pytest.mark.parametrize(
    ("budget", "again", "reason"),
    [
        (ROOM, [], "everything is there"),
        (Budget(10_000, 10_000, 0), ["prefix"], "by far the largest, and soon made"),
        (Budget(10_000, 0, 100_000), ["state"], "its prefix still fits"),
        (Budget(0, 10_000, 100_000), [], "a state needs no outputs any more"),
        (Budget(0, 0, 0), ["look", "state", "prefix"], "nothing is kept"),
    ],
)
def test_what_is_made_again(budget: Budget, again: list[str], reason: str) -> None:
    memory = PictureMemory(budget)
    assert stages(memory, FakePredictor()) == ["look", "state", "prefix"]
    assert stages(memory, FakePredictor()) == again, reason


def test_a_promotion_leaves_what_the_encoders_saw() -> None:
    memory = PictureMemory(ROOM)
    stages(memory, FakePredictor("v1"))
    assert stages(memory, FakePredictor("v2")) == ["state", "prefix"]
    assert stages(memory, FakePredictor("v3", encoder_version="others")) == ["look", "state", "prefix"]
    assert stages(memory, FakePredictor("v1")) == []


def test_after_a_restart_the_disk_still_has_it(tmp_path: Path) -> None:
    def started() -> PictureMemory:
        packed = DiskTier[FakeOutputs](
            tmp_path, 10_000, lambda outputs: str(outputs.mean).encode(), lambda data: FakeOutputs(float(data))
        )
        return PictureMemory(ROOM, packed)

    assert stages(started(), FakePredictor()) == ["look", "state", "prefix"]
    assert stages(started(), FakePredictor()) == ["state", "prefix"]
    memory = started()
    assert stages(memory, FakePredictor(), "another picture") == ["look", "state", "prefix"]
    assert stages(memory, FakePredictor()) == ["state", "prefix"]
    assert stages(memory, FakePredictor()) == []
    assert (memory.stats["disk"].hits, memory.stats["disk"].misses) == (1, 1)
    assert "disk" not in PictureMemory(ROOM).stats


def test_who_looks_through_a_project_leaves_the_pictures_of_people_alone() -> None:
    memory = PictureMemory(Budget(200, 2000, 20_000))
    stages(memory, FakePredictor(), "clicked")
    for number in range(10):
        stages(memory, FakePredictor(), f"bulk {number}", standing=Standing.GUEST)
    assert stages(memory, FakePredictor(), "clicked") == []
    assert stages(memory, FakePredictor(), "bulk 9") == ["look", "state", "prefix"]
