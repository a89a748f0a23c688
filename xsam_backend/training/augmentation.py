"""Other views of one labelled picture: cut out, mirrored, in other light. Words stay true or are dropped."""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np
from numpy.typing import NDArray

from xsam_backend.ground_truth import GroundTruth

LEAST_CROP_SHARE = 0.35
"""The smallest cut-out, as share of each side."""


def augment(truth: GroundTruth, rng: np.random.Generator, side: int) -> GroundTruth:
    """A random view, at most ``side`` pixels on the longer side.

    Phrases, questions and captions speak of places and of all that is there, so a picture that has phrases is only
    recoloured; class names survive everything. Segments that leave the view are dropped.
    """
    if truth.referring:
        return dataclasses.replace(truth, image=_other_light(truth.image, rng))
    height, width = truth.size_hw
    share = rng.uniform(LEAST_CROP_SHARE, 1.0) if rng.random() < 0.7 else 1.0
    aspect = np.exp(rng.uniform(-0.2, 0.2))
    crop_h = int(np.clip(height * share * aspect, 32, height))
    crop_w = int(np.clip(width * share / aspect, 32, width))
    top, left = int(rng.integers(height - crop_h + 1)), int(rng.integers(width - crop_w + 1))
    rows, columns = slice(top, top + crop_h), slice(left, left + crop_w)
    scale = min(side / max(crop_h, crop_w), 2.0)
    size = (max(round(crop_w * scale), 1), max(round(crop_h * scale), 1))
    image = cv2.resize(
        truth.image[rows, columns], size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    )
    mirrored = rng.random() < 0.5
    if mirrored:
        image = image[:, ::-1]
    masks = []
    for mask in truth.masks:
        resized = cv2.resize(mask[rows, columns].view(np.uint8), size, interpolation=cv2.INTER_NEAREST)
        masks.append(resized[:, ::-1] if mirrored else resized)
    stacked = np.stack(masks).astype(bool) if masks else np.zeros((0, size[1], size[0]), bool)
    kept = np.flatnonzero(stacked.any((1, 2)))
    return GroundTruth(
        image=_other_light(np.ascontiguousarray(image), rng),
        masks=stacked[kept],
        names=tuple(truth.names[i] for i in kept),
        is_thing=truth.is_thing[kept],
        is_crowd=truth.is_crowd[kept],
        complete_for=truth.complete_for,
        source=truth.source,
    )


def _other_light(image: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Brightness, contrast and a slight tint; three in ten stay as they are."""
    if rng.random() < 0.3:
        return image
    gain = rng.uniform(0.75, 1.3) * rng.uniform(0.95, 1.05, 3)
    offset = rng.uniform(-25, 25)
    table = np.clip(np.arange(256)[:, None] * gain + offset, 0, 255).astype(np.uint8)
    relit: NDArray[np.uint8] = cv2.LUT(image, table[None])
    return relit
