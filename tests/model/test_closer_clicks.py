"""A click's closer looks: what is cut off at a close-up's rim is looked at again, with more around it."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from small_models import small_predictor

from xsam_backend.model.image_state import ImageState
from xsam_backend.model.pointing import CLOSE_UPS, Pointing
from xsam_backend.prompts import Point, Prompt, Task

SIDE = 200
CLICK = Point(100.5, 100.5)


def picture(half: int) -> NDArray[np.uint8]:
    """A white square around the click on black."""
    pixels = np.zeros((SIDE, SIDE, 3), np.uint8)
    pixels[100 - half : 100 + half, 100 - half : 100 + half] = 255
    return pixels


@pytest.mark.parametrize(
    ("half", "looks", "found", "reason"),
    [
        (5, 2, 10, "the close-up shows all of it"),
        (12, 3, 24, "cut off at the first close-up's rim, whole in the second"),
        (25, 4, 50, "whole in the third"),
        (70, 4, 6, "larger than close-ups are for: as the whole picture shows it, not cut off"),
    ],
)
def test_close_ups_grow_until_nothing_is_cut_off(
    half: int, looks: int, found: int, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, int]] = []

    really_seen = Pointing._seen_object

    def seen_object(self: Pointing, state: ImageState, *given: Any) -> Any:
        seen.append(state.size_hw)
        mask = state.pixels[..., 0] > 0
        if state.size_hw == (SIDE, SIDE):  # from afar, only the object's middle is found
            mask = np.zeros((SIDE, SIDE), np.bool_)
            mask[97:103, 97:103] = True
        return replace(really_seen(self, state, *given), mask=mask, score=0.9)

    predictor = small_predictor(close_up_share=0.5)
    monkeypatch.setattr(Pointing, "_seen_object", seen_object)
    state = predictor.encode(picture(half))
    answer = predictor.answer(state, Prompt(Task.INTERACTIVE, (CLICK,), score_threshold=0.0))
    (mask,) = answer.instances.masks
    assert (mask.any(0).sum(), mask.any(1).sum()) == (found, found), reason
    assert len(seen) == looks <= 1 + CLOSE_UPS
