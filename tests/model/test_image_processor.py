"""Frames of pictures of any shape, and masks carried into them."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from xsam_backend.errors import ImageError, PromptError
from xsam_backend.model.config import XSamConfig
from xsam_backend.model.image_processor import (
    ImageProcessorConfig,
    frame_masks,
    frame_regions,
    process_image,
    scaled_size,
)

SMALL = ImageProcessorConfig(vision_size=8, seg_size=16)
SIZES = st.tuples(st.integers(1, 40), st.integers(1, 40))


@pytest.mark.parametrize(
    ("size_hw", "side", "scaled"),
    [
        ((150, 110), 128, (128, 94)),  # recorded
        ((480, 640), 1024, (768, 1024)),
        ((3, 2), 3, (3, 2)),
        ((4, 1), 2, (2, 1)),  # half rounds up
        ((1000, 1), 16, (16, 1)),  # no side vanishes
        ((5, 5), 16, (16, 16)),  # small pictures grow
    ],
)
def test_scaled_size(size_hw: tuple[int, int], side: int, scaled: tuple[int, int]) -> None:
    assert scaled_size(size_hw, side) == scaled


@given(SIZES)
def test_any_picture_fills_its_frame_and_nothing_else(size_hw: tuple[int, int]) -> None:
    processed = process_image(np.full((*size_hw, 3), 200, np.uint8), SMALL)
    assert processed.vision_pixels.shape == (3, 8, 8)
    assert processed.vision_pixels.abs().max() <= 1
    height, width = processed.scaled_hw
    assert max(height, width) == 16
    inside = torch.zeros(16, 16, dtype=torch.bool)
    inside[:height, :width] = True
    assert torch.equal(processed.seg_pixels[0] != 0, inside)


def test_grey_padding_is_centred_and_stretching_has_none() -> None:
    white = np.full((4, 16, 3), 255, np.uint8)
    padded = process_image(white, SMALL).vision_pixels[0]
    assert padded[0].max() < 0 < padded[4].min()
    assert torch.equal(padded, padded.flip(0))
    stretched = ImageProcessorConfig(vision_size=8, seg_size=16, vision_pad_to_square=False)
    assert (process_image(white, stretched).vision_pixels == 1).all()


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((4, 4), np.uint8),  # grey
        np.zeros((4, 4, 4), np.uint8),  # with transparency
        np.zeros((4, 4, 3), np.float32),
        np.zeros((0, 4, 3), np.uint8),
    ],
)
def test_anything_but_rgb_is_refused(image: np.ndarray) -> None:
    with pytest.raises(ImageError, match=r"uint8 \(H, W, 3\)"):
        process_image(image, SMALL)


@given(SIZES, st.data())
def test_masks_stay_in_the_picture_and_regions_never_vanish(size_hw: tuple[int, int], data: st.DataObject) -> None:
    row = data.draw(st.integers(0, size_hw[0] - 1))
    column = data.draw(st.integers(0, size_hw[1] - 1))
    mask = np.zeros((1, *size_hw), np.bool_)
    mask[0, row, column] = True
    height, width = scaled_size(size_hw, 16)
    framed = frame_regions(mask, 16)
    assert framed.any()
    assert not framed[:, height:].any()
    assert not framed[:, :, width:].any()
    assert torch.equal(
        framed[:, :height, :width] | frame_masks(mask, 16)[:, :height, :width], framed[:, :height, :width]
    )
    full = frame_masks(np.ones((1, *size_hw), np.bool_), 16)
    assert full.sum() == height * width


def test_no_masks_give_no_masks() -> None:
    assert frame_masks(np.zeros((0, 5, 7), np.bool_), 16).shape == (0, 16, 16)
    assert frame_regions(np.zeros((0, 5, 7), np.bool_), 16).shape == (0, 16, 16)


def test_an_empty_region_is_refused() -> None:
    masks = np.zeros((2, 5, 7), np.bool_)
    masks[0, 2, 2] = True
    with pytest.raises(PromptError, match="region 1: expected pixels"):
        frame_regions(masks, 16)


def test_the_released_model_expects_the_defaults() -> None:
    released = XSamConfig.variant("phi3")
    assert ImageProcessorConfig.of_model(released) == ImageProcessorConfig()
    assert not ImageProcessorConfig.of_model(released, pad_to_square=False).vision_pad_to_square
