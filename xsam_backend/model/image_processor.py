"""From a picture to the two tensors that the encoders read, and from masks in the picture to the same frame.

The vision encoder (SigLIP) sees the picture as a small square: padded to a square with grey, or stretched.
The segmentation encoder (SAM) sees it in its own proportions, longest side at the full size, at the top left of a
square that is zero elsewhere. That square is the *padded frame*: masks, region prompts and mask logits live in it,
and ``scaled_size`` says how much of it is picture.

PIL resizes 8-bit pixels, as in the reference; torchvision, if installed, changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from xsam_backend.errors import ImageError, PromptError
from xsam_backend.model.config import XSamConfig

_RESAMPLING = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


@dataclass(frozen=True)
class ImageProcessorConfig:
    """Sizes in pixels; means and standard deviations of pixels in 0..1. The defaults are those released.

    Attributes:
        vision_size: side of the square that the vision encoder reads.
        vision_pad_to_square: pad to a centred square first (released evaluation), else stretch (released training).
        vision_pad_value: grey level of that padding, 0..255.
        seg_size: side of the padded frame.
        resample: how pixels are interpolated, for both.
    """

    vision_size: int = 384
    vision_mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    vision_std: tuple[float, float, float] = (0.5, 0.5, 0.5)
    vision_pad_to_square: bool = True
    vision_pad_value: int = 127
    seg_size: int = 1024
    seg_mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    seg_std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    resample: Literal["bilinear", "bicubic"] = "bilinear"

    @classmethod
    def of_model(cls, config: XSamConfig, *, pad_to_square: bool = True) -> ImageProcessorConfig:
        """What a model's encoders expect; training passes ``pad_to_square=False`` to do as the reference did."""
        return cls(
            vision_size=config.vision.image_size,
            vision_mean=config.vision.mean,
            vision_std=config.vision.std,
            vision_pad_to_square=pad_to_square,
            vision_pad_value=config.vision.square_pad_value,
            seg_size=config.segmentor_encoder.image_size,
            seg_mean=config.segmentor_encoder.mean,
            seg_std=config.segmentor_encoder.std,
        )


@dataclass(frozen=True, eq=False)
class ProcessedImage:
    """What both encoders read of one picture.

    Attributes:
        vision_pixels: float32 (3, V, V), V the vision size.
        seg_pixels: float32 (3, S, S), S the side of the padded frame.
        size_hw: (height, width) of the picture.
        scaled_hw: (height, width) of the picture inside the padded frame.
    """

    vision_pixels: Tensor
    seg_pixels: Tensor
    size_hw: tuple[int, int]
    scaled_hw: tuple[int, int]


def process_image(image: NDArray[np.uint8], config: ImageProcessorConfig) -> ProcessedImage:
    """Both encoders' views of a uint8 (H, W, 3) RGB picture.

    Raises:
        ImageError: not such an array, or without pixels.
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
        raise ImageError(
            f"expected an RGB picture, uint8 (H, W, 3), got {image.dtype} {image.shape}: convert it first"
        )
    size_hw = (int(image.shape[0]), int(image.shape[1]))
    return ProcessedImage(
        vision_pixels=vision_pixels(image, config),
        seg_pixels=seg_pixels(image, config),
        size_hw=size_hw,
        scaled_hw=scaled_size(size_hw, config.seg_size),
    )


def vision_pixels(image: NDArray[np.uint8], config: ImageProcessorConfig) -> Tensor:
    """The vision encoder's view: float32 (3, V, V)."""
    picture = Image.fromarray(image)
    if config.vision_pad_to_square:
        picture = _square(picture, config.vision_pad_value)
    side = config.vision_size
    resized = np.asarray(picture.resize((side, side), _RESAMPLING[config.resample]))
    return _normalised(resized, config.vision_mean, config.vision_std)


def seg_pixels(image: NDArray[np.uint8], config: ImageProcessorConfig) -> Tensor:
    """The segmentation encoder's view: float32 (3, S, S), exactly zero outside the scaled picture."""
    height, width = scaled_size((image.shape[0], image.shape[1]), config.seg_size)
    resized = np.asarray(Image.fromarray(image).resize((width, height), _RESAMPLING[config.resample]))
    framed = torch.zeros(3, config.seg_size, config.seg_size)
    framed[:, :height, :width] = _normalised(resized, config.seg_mean, config.seg_std)
    return framed


def scaled_size(size_hw: tuple[int, int], side: int) -> tuple[int, int]:
    """(height, width) with the longest side at ``side``; halves round up, and no side vanishes.

    Example: a picture of 150 x 110 at side 128 is 128 x 94 (93.87).
    """
    scale = side / max(size_hw)
    height, width = (max(int(length * scale + 0.5), 1) for length in size_hw)
    return height, width


def frame_masks(masks: NDArray[np.bool_], side: int) -> Tensor:
    """Masks of the picture in the padded frame: bool (N, H, W) to bool (N, side, side), False in the padding.

    Nearest neighbour, so a thin mask may vanish where the frame is smaller than the picture; see ``frame_regions``.
    """
    height, width = scaled_size((masks.shape[1], masks.shape[2]), side)
    framed = np.zeros((len(masks), side, side), np.bool_)
    for index, mask in enumerate(masks):
        resized = Image.fromarray(mask.view(np.uint8)).resize((width, height), Image.Resampling.NEAREST)
        framed[index, :height, :width] = np.asarray(resized).astype(np.bool_)
    return torch.from_numpy(framed)


def frame_regions(masks: NDArray[np.bool_], side: int) -> Tensor:
    """``frame_masks`` for region prompts, which must not vanish: a lost one becomes the pixel at its middle.

    Raises:
        PromptError: a region without pixels in the picture.
    """
    framed = frame_masks(masks, side)
    height, width = scaled_size((masks.shape[1], masks.shape[2]), side)
    for index, mask in enumerate(masks):
        if framed[index].any():
            continue
        rows, columns = np.nonzero(mask)
        if not len(rows):
            raise PromptError(f"region {index}: expected pixels inside the picture, got none: draw it on the picture")
        middle = len(rows) // 2
        row, column = int(rows[middle]) * height // mask.shape[0], int(columns[middle]) * width // mask.shape[1]
        framed[index, row, column] = True
    return framed


def _square(picture: Image.Image, value: int) -> Image.Image:
    """The picture in the middle of a grey square."""
    side = max(picture.size)
    square = Image.new("RGB", (side, side), (value, value, value))
    square.paste(picture, ((side - picture.width) // 2, (side - picture.height) // 2))
    return square


def _normalised(pixels: NDArray[np.uint8], mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """uint8 (H, W, 3) to float32 (3, H, W)."""
    scaled = pixels.astype(np.float32) / np.float32(255)
    normalised = (scaled - np.array(mean, np.float32)) / np.array(std, np.float32)
    return torch.from_numpy(np.ascontiguousarray(normalised.transpose(2, 0, 1)))
