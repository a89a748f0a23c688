"""The "convert" suite: masks of a 12-megapixel photo to what Label Studio keeps, and back, beside its SDK.

Masks are drawn from a seed: smooth blobs; blobs with noisy rims; and such blobs with one pixel in twenty flipped.
Ours and the SDK's take turns; of several times the shortest counts, in seconds of the processor's time, so that what
else runs on the machine counts for less.
"""

from __future__ import annotations

import json
import time
import tracemalloc
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version

import numpy as np
from label_studio_sdk.converter import brush as sdk

from benchmarks.report import Table
from xsam_backend.geometry.brush_rle import brush_rle_to_mask, mask_to_brush_rle
from xsam_backend.geometry.coco_rle import coco_rle_to_mask, mask_to_coco_rle
from xsam_backend.geometry.masks import Mask
from xsam_backend.geometry.polygons import mask_to_polygons
from xsam_backend.instances import Instances
from xsam_backend.labelstudio.results import write_regions
from xsam_backend.labelstudio.tags import ControlTag, Label

SIZE_HW = 3000, 4000
INSTANCES = 100
SEED = 0
REPETITIONS = 5


@dataclass(frozen=True)
class Row:
    """One conversion: the shortest of some times, ours and the SDK's, where it has the same."""

    name: str
    our_seconds: float
    their_seconds: float | None = None
    repetitions: int = 1
    peak_in_masks: float | None = None
    """The most memory taken beside the masks, in bytes of one of them."""

    @property
    def ratio(self) -> float | None:
        """How many times as long theirs takes."""
        return None if self.their_seconds is None else self.their_seconds / self.our_seconds


def blob(
    rng: np.random.Generator, size_hw: tuple[int, int], radius_px: float, rim: float
) -> tuple[slice, slice, Mask]:
    """Where in the picture, and its mask there: a disc whose radius varies smoothly and in bumps of ``rim`` px."""
    height, width = size_hw
    y, x = rng.uniform(0, height), rng.uniform(0, width)
    reach = 1.6 * radius_px
    top, left = max(int(y - reach), 0), max(int(x - reach), 0)
    rows, columns = np.mgrid[top : min(int(y + reach) + 1, height), left : min(int(x + reach) + 1, width)]
    angle = np.arctan2(rows + 0.5 - y, columns + 0.5 - x)
    radius = np.full(angle.shape, float(radius_px))
    for waves in (2, 3, 4, 5, 7):
        radius += rng.normal(0, 0.12 / waves) * radius_px * np.cos(waves * angle + rng.uniform(0, 2 * np.pi))
    for waves in (17, 29, 41):
        radius += rng.normal(0, rim) * np.cos(waves * angle + rng.uniform(0, 2 * np.pi))
    inside = np.hypot(rows + 0.5 - y, columns + 0.5 - x) <= radius
    return slice(top, top + angle.shape[0]), slice(left, left + angle.shape[1]), inside


def smooth_mask(rng: np.random.Generator) -> Mask:
    """Five large blobs."""
    mask = np.zeros(SIZE_HW, np.bool_)
    for radius_px in (700, 500, 400, 300, 200):
        rows, columns, inside = blob(rng, SIZE_HW, radius_px, 2.0)
        mask[rows, columns] |= inside
    return mask


def noisy_rims(rng: np.random.Generator, mask: Mask) -> Mask:
    """The mask with each pixel taken from a place up to three pixels away."""
    rows, columns = (np.arange(side)[:, None] for side in mask.shape)
    rows = np.clip(rows + rng.integers(-3, 4, mask.shape), 0, mask.shape[0] - 1)
    columns = np.clip(columns.T + rng.integers(-3, 4, mask.shape), 0, mask.shape[1] - 1)
    return mask[rows, columns]


def photo_instances(rng: np.random.Generator, count: int = INSTANCES) -> Instances:
    """Objects as a photo has them: many small ones, few large, their rims bumpy."""
    masks = np.full((count, *SIZE_HW), False)  # written, so that the memory is really there
    for mask, radius_px in zip(masks, np.geomspace(15, 600, count), strict=True):
        rows, columns, inside = blob(rng, SIZE_HW, radius_px, 0.01 * radius_px)
        mask[rows, columns] = inside
    return Instances.of(masks, np.linspace(1, 0.5, count, dtype=np.float32), ("thing",) * count)


def alternately(repetitions: int, *ways: Callable[[], object]) -> list[float]:
    """The shortest time of each, in seconds; they take turns."""
    shortest = [float("inf")] * len(ways)
    for _ in range(repetitions):
        for number, way in enumerate(ways):
            started = time.process_time()
            way()
            shortest[number] = min(shortest[number], time.process_time() - started)
    return shortest


def peak_bytes(way: Callable[[], object]) -> int:
    """The most memory that Python and NumPy hold at a time while it runs, beside what they held before."""
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    way()
    peak = tracemalloc.get_traced_memory()[1] - before
    tracemalloc.stop()
    return peak


def rle_rows(kind: str, mask: Mask, repetitions: int) -> list[Row]:
    """Both run-length codes of a mask, there and back. The SDK has only the one of brushes."""
    ours, coco = mask_to_brush_rle(mask), mask_to_coco_rle(mask)
    values = np.where(mask, 255, 0).astype(np.uint8)
    encoded = alternately(repetitions, lambda: mask_to_brush_rle(mask), lambda: sdk.mask2rle(values))
    decoded = alternately(
        repetitions,
        lambda: brush_rle_to_mask(ours, SIZE_HW),
        lambda: sdk.decode_rle(ours)[3::4].reshape(SIZE_HW) >= 128,
    )
    there, back = alternately(repetitions, lambda: mask_to_coco_rle(mask), lambda: coco_rle_to_mask(coco))
    return [
        Row(f"brush RLE, encode, {kind}", *encoded, repetitions),
        Row(f"brush RLE, decode, {kind}", *decoded, repetitions),
        Row(f"COCO RLE, encode, {kind}", there, None, repetitions),
        Row(f"COCO RLE, decode, {kind}", back, None, repetitions),
    ]


def instance_rows(instances: Instances, repetitions: int) -> list[Row]:
    """From the masks of a photo to JSON text."""
    rows = []
    for tag, geometry in (("PolygonLabels", "polygon"), ("BrushLabels", "brush")):
        control = ControlTag("label", tag, geometry, "image", (Label("thing", ("thing",)),))

        def to_json(control: ControlTag = control) -> str:
            return json.dumps(write_regions(instances, control))

        (seconds,) = alternately(repetitions, to_json)
        rows.append(
            Row(
                f"{len(instances)} instances to JSON, {tag}",
                seconds,
                None,
                repetitions,
                peak_bytes(to_json) / instances.masks[0].nbytes,
            )
        )
    return rows


def suite(_sizes: Sequence[str], _device: str) -> list[Table]:
    """All conversions, one after the other; no model takes part."""
    rng = np.random.default_rng(SEED)
    smooth = smooth_mask(rng)
    rims = noisy_rims(rng, smooth)
    flipped = rims ^ (rng.random(SIZE_HW) < 0.05)
    masks = {"smooth": smooth, "noisy rims": rims, "5 % flipped": flipped}
    rows = []
    for kind, mask in masks.items():
        times = 1 if kind == "5 % flipped" else REPETITIONS
        rows += rle_rows(kind, mask, times)
        polygons = alternately(times, partial(mask_to_polygons, mask))
        rows.append(Row(f"polygons, {kind}", *polygons, repetitions=times))
    rows += instance_rows(photo_instances(rng), REPETITIONS)
    columns = ("conversion", "ours, s", "SDK, s", "ratio", "times", "memory beside the masks, in masks")
    note = f"Processor time, the shortest of so many, by turns with label-studio-sdk {version('label-studio-sdk')}."
    cells = tuple(
        (
            row.name,
            row.our_seconds,
            *map(_known, (row.their_seconds, row.ratio)),
            row.repetitions,
            _known(row.peak_in_masks),
        )
        for row in rows
    )
    return [Table(f"Masks of {SIZE_HW[1]} x {SIZE_HW[0]} pixels", columns, cells, note)]


def _known(number: float | None) -> str | float:
    return "" if number is None else number
