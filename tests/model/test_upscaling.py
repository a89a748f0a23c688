"""What is computed only where it can be is what is computed everywhere, and it isn't computed elsewhere."""

from __future__ import annotations

import pytest
import torch

from xsam_backend.model import upscaling
from xsam_backend.model.picture_frame import PictureFrame, upscale
from xsam_backend.model.upscaling import masks_with_certainty, positive_masks

FRAMES = {
    "a photo larger than the frame": PictureFrame((64, 64), (48, 64), (150, 200)),
    "smaller: pixels of the frame are passed over": PictureFrame((64, 64), (64, 40), (23, 14)),
    "upright": PictureFrame((64, 64), (64, 36), (160, 90)),
    "one pixel": PictureFrame((64, 64), (64, 64), (1, 1)),
    "a line": PictureFrame((64, 64), (1, 64), (1, 500)),
}


@pytest.mark.parametrize("name", FRAMES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_parts_are_those_of_the_whole(name: str, dtype: torch.dtype) -> None:
    frame = FRAMES[name]
    torch.manual_seed(0)
    maps = torch.randn(12, 16, 16)
    maps[0] = -1  # nowhere
    maps[1] = 1  # everywhere
    maps[2:7] = torch.where(torch.rand(5, 16, 16) > 0.95, 1.0, -1.0)
    maps[7] = -1
    maps[7, 15, 15] = 1  # in the padding, or at the picture's end
    maps = maps.to(dtype)
    whole = upscale(maps, frame)
    is_clear = whole.abs() > 1e-5  # elsewhere rounding decides
    masks, certainty = masks_with_certainty(maps, frame)
    for mask, other, logits, clear, sure in zip(
        masks, positive_masks(maps, frame), whole, is_clear, certainty, strict=True
    ):
        shown = torch.from_numpy(mask.whole())
        assert torch.equal(shown, torch.from_numpy(other.whole()))
        assert torch.equal(shown[clear], (logits > 0)[clear])
        expected = logits.sigmoid()[shown].mean() if shown.any() else torch.tensor(0.0)
        assert float(sure) == pytest.approx(float(expected), abs=1e-5)


def test_infinite_values_spoil_no_others() -> None:
    maps = torch.randn(1, 16, 16, generator=torch.Generator().manual_seed(0))
    (expected,) = positive_masks(maps.clone().index_fill_(2, torch.tensor([3]), upscaling.LARGEST), FRAMES["upright"])
    (found,) = positive_masks(maps.index_fill_(2, torch.tensor([3]), torch.inf), FRAMES["upright"])
    assert found.area_px > 0
    assert (found.whole() == expected.whole()).all()


def test_no_maps() -> None:
    masks, certainty = masks_with_certainty(torch.zeros(0, 8, 8), FRAMES["upright"])
    assert masks == ()
    assert certainty.shape == (0,)


def test_a_small_object_of_a_large_photo_costs_its_own_pixels() -> None:
    frame = PictureFrame((64, 64), (48, 64), (3000, 4000))
    maps = torch.full((1, 16, 16), -1.0)
    maps[0, 4, 5] = 1.0
    ((_, _, part),) = upscaling._positive_parts(maps, frame)
    assert part.numel() < 0.05 * 3000 * 4000
    (mask,) = positive_masks(maps, frame)
    assert 0 < mask.area_px <= part.numel()
