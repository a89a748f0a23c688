"""What is done for each mask, label or placeholder waits for the device as often for many of them as for few.

There is a device in no test, so one is played: its tensors count whenever somebody wants a value of theirs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
import torch
from small_models import small_model
from torch import Tensor

from xsam_backend.model import postprocess, upscaling
from xsam_backend.model.candidates import Candidates, Pass
from xsam_backend.model.conversation import NO_ID, REGION_INDEX
from xsam_backend.model.picture_frame import PictureFrame
from xsam_backend.model.postprocess import Detections
from xsam_backend.model.upscaling import masks_with_certainty, positive_masks

SIDE = 16
FRAME = PictureFrame((SIDE, SIDE), (SIDE, SIDE), (SIDE, SIDE))
WAITING = frozenset(
    ("item", "tolist", "numpy", "cpu", "nonzero", "unique", "bincount")
    + ("__bool__", "__int__", "__float__", "__index__", "__contains__")
)
FEW, MANY = 2, 7


class OnDevice(Tensor):
    """Whatever is computed with it is on the device, too; a copy by ``cpu`` is in main memory."""

    waits = 0

    @classmethod
    def __torch_function__(
        cls, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        name = func.__name__
        if name == "__getitem__" and isinstance(args[1], Tensor) and args[1].dtype == torch.bool:
            cls.waits += isinstance(args[0], cls)  # how many are chosen decides on the shape
        cls.waits += name in WAITING and isinstance(args[0], cls)
        result = super().__torch_function__(func, types, args, dict(kwargs or {}))
        return result.as_subclass(Tensor) if name == "cpu" else result


def on_device(values: Tensor) -> Tensor:
    return values.as_subclass(OnDevice)


def strips(count: int) -> Tensor:
    """(count, SIDE, SIDE): logits of as many areas, none of which overlap."""
    logits = torch.full((count, SIDE, SIDE), -20.0)
    for number in range(count):
        logits[number, 2 * number : 2 * number + 2] = 20.0
    return logits


def decoded(count: int) -> tuple[Tensor, Tensor]:
    """Each of as many queries is sure of a class of its own, and of a strip."""
    classes = torch.full((count, count + 1), -20.0)
    classes.fill_diagonal_(20.0)
    return on_device(classes), on_device(strips(count))


def masks(count: int) -> int:
    return len(positive_masks(on_device(strips(count)), FRAME))


def masks_and_certainty(count: int) -> int:
    found, _ = masks_with_certainty(on_device(strips(count)), FRAME)
    return len(found)


def instances(count: int) -> int:
    return len(postprocess.instances(*decoded(count), FRAME))


def segments(count: int) -> int:
    return len(postprocess.panoptic(*decoded(count), FRAME, stuff=(0,)).detections())


def without_duplicates(count: int) -> int:
    logits = on_device(strips(count))
    every = on_device(torch.arange(count))
    found = Detections(positive_masks(logits, FRAME), on_device(torch.ones(count)), every, every, FRAME.size_hw)
    return len(postprocess.without_duplicates(found, logits))


def semantic(count: int) -> int:
    one = Pass(*decoded(count), tuple(f"label {number}" for number in range(count)))
    return len(Candidates([one], FRAME).semantic(0.5))


def regions(count: int) -> int:
    model = small_model()
    ids = on_device(torch.tensor([5, *[REGION_INDEX, 7] * count]))
    nothing = torch.full_like(ids, NO_ID)
    shown = on_device(torch.ones(count, model.language.width))
    merged = model.merge(ids, ids, nothing, nothing, regions=shown)
    return len(merged.embeddings) - count - 1


@pytest.mark.parametrize(
    "work", [masks, masks_and_certainty, instances, segments, without_duplicates, semantic, regions]
)
def test_many_wait_no_more_often_than_few(work: Callable[[int], int]) -> None:
    waits = []
    for count in (FEW, MANY):
        OnDevice.waits = 0
        assert work(count) == count, "there is something to wait for"
        waits.append(OnDevice.waits)
    assert waits[0] == waits[1]
    assert waits[0] > 0, "else nothing was counted"


def test_copies_of_large_masks_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy of all at once would hold them all, uncropped."""
    logits = torch.randn(9, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    expected, sure = masks_with_certainty(logits, FRAME)
    OnDevice.waits = 0
    positive_masks(on_device(logits), FRAME)
    at_once = OnDevice.waits
    monkeypatch.setattr(upscaling, "COPIED_PIXELS", 2 * SIDE**2)
    OnDevice.waits = 0
    found, certainty = masks_with_certainty(on_device(logits), FRAME)
    assert OnDevice.waits == at_once + 4, "five copies"
    assert torch.equal(certainty.as_subclass(Tensor), sure)
    for ours, theirs in zip(found, expected, strict=True):
        assert (ours.whole() == theirs.whole()).all()
