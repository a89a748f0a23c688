"""The "convert" suite: masks of a 12-megapixel photo to what Label Studio keeps, and back, beside its SDK.

Masks are drawn from a seed: smooth blobs; blobs with noisy rims; and such blobs with one pixel in twenty flipped.
Ours and the SDK's take turns; of several times the shortest counts, in seconds of the processor's time, so that what
else runs on the machine counts for less; beside it, by the clock. Memory is how much the resident size of a process
that does nothing else grows at most. From masks to JSON, cutting the masks out is in it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from multiprocessing import get_context

import numpy as np
from label_studio_sdk.converter import brush as sdk
from numpy.typing import NDArray

from benchmarks.process_memory import peak_growth_bytes
from benchmarks.report import Table
from xsam_backend.geometry.brush_rle import brush_rle_to_mask, mask_to_brush_rle
from xsam_backend.geometry.coco_rle import coco_rle_to_mask, mask_to_coco_rle
from xsam_backend.geometry.masks import Mask
from xsam_backend.geometry.outlines import trace_rings
from xsam_backend.geometry.polygons import mask_to_polygons
from xsam_backend.instances import Instances
from xsam_backend.labelstudio.results import write_regions
from xsam_backend.labelstudio.tags import ControlTag, Label

SIZE_HW = 3000, 4000
INSTANCES = 100
SEED = 0
REPETITIONS = 5
FLIPPED = "5 % flipped"
KINDS = ("smooth", "noisy rims", FLIPPED)


OUTPUTS = {"PolygonLabels": "polygon", "BrushLabels": "brush"}


@dataclass(frozen=True)
class Shortest:
    """Of some times, in seconds."""

    processor_s: float = float("inf")
    clock_s: float = float("inf")

    def or_this(self, processor_s: float, clock_s: float) -> Shortest:
        """Each the shorter one."""
        return Shortest(min(self.processor_s, processor_s), min(self.clock_s, clock_s))


@dataclass(frozen=True)
class Row:
    """One conversion: ours and the SDK's, where it has the same."""

    name: str
    ours: Shortest
    theirs: Shortest | None = None
    repetitions: int = 1

    @property
    def cells(self) -> tuple[str | float, ...]:
        """Of the table; a ratio says how many times as long theirs takes."""
        ours_s = self.ours.processor_s
        beside = ("", "") if self.theirs is None else (self.theirs.processor_s, self.theirs.processor_s / ours_s)
        return (self.name, ours_s, self.ours.clock_s, *beside, self.repetitions)


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


def photo_masks(rng: np.random.Generator, count: int = INSTANCES) -> NDArray[np.bool_]:
    """bool (N, H, W): objects as a photo has them: many small ones, few large, their rims bumpy."""
    masks = np.full((count, *SIZE_HW), False)  # written, so that the memory is really there
    for mask, radius_px in zip(masks, np.geomspace(15, 600, count), strict=True):
        rows, columns, inside = blob(rng, SIZE_HW, radius_px, 0.01 * radius_px)
        mask[rows, columns] = inside
    return masks


def masks_to_json(masks: NDArray[np.bool_], tag: str) -> str:
    """What is sent of so many objects."""
    instances = Instances.of(masks, np.linspace(1, 0.5, len(masks), dtype=np.float32), ("thing",) * len(masks))
    return json.dumps(
        write_regions(instances, ControlTag("label", tag, OUTPUTS[tag], "image", (Label("thing", ("thing",)),)))
    )


def alternately(repetitions: int, *ways: Callable[[], object]) -> list[Shortest]:
    """The shortest time of each; they take turns."""
    shortest = [Shortest()] * len(ways)
    for _ in range(repetitions):
        for number, way in enumerate(ways):
            clock_s, processor_s = time.perf_counter(), time.process_time()
            way()
            shortest[number] = shortest[number].or_this(
                time.process_time() - processor_s, time.perf_counter() - clock_s
            )
    return shortest


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


def drawn_masks() -> dict[str, Mask]:
    """By kind."""
    rng = np.random.default_rng(SEED)
    smooth = smooth_mask(rng)
    rims = noisy_rims(rng, smooth)
    return {"smooth": smooth, "noisy rims": rims, FLIPPED: rims ^ (rng.random(SIZE_HW) < 0.05)}


def grown_bytes(kind: str, conversion: str) -> int:
    """By how much one conversion makes this process grow at most, beside the mask or masks."""
    if conversion in OUTPUTS:
        masks = photo_masks(np.random.default_rng(SEED))
        return peak_growth_bytes(lambda: masks_to_json(masks, conversion))
    mask = drawn_masks()[kind]
    if conversion == "brush RLE, encode":
        return peak_growth_bytes(lambda: mask_to_brush_rle(mask))
    if conversion == "brush RLE, decode":
        encoded = mask_to_brush_rle(mask)
        return peak_growth_bytes(lambda: brush_rle_to_mask(encoded, SIZE_HW))
    return peak_growth_bytes(lambda: mask_to_polygons(mask))


def memory_table() -> Table:
    """What conversions take beside their masks, each in a process of its own; a decoded mask is in it."""
    works = [(kind, work) for kind in KINDS for work in ("brush RLE, encode", "brush RLE, decode", "polygons")]
    works += [(f"{INSTANCES} instances to JSON", tag) for tag in OUTPUTS]
    rows = []
    for kind, work in works:
        with ProcessPoolExecutor(1, get_context("spawn")) as alone:
            grown = alone.submit(grown_bytes, kind, work).result()
        handled = INSTANCES if work in OUTPUTS else 1
        in_masks = grown / (SIZE_HW[0] * SIZE_HW[1])
        rows.append((f"{work}, {kind}", grown / 2**20, in_masks, in_masks / handled))
    columns = ("conversion", "growth of resident memory, MiB", "in masks", "in masks, for each mask")
    return Table("Memory beside the masks", columns, tuple(rows), "A mask is a byte for each pixel.")


def suite(_sizes: Sequence[str], _device: str) -> list[Table]:
    """All conversions, one after the other; no model takes part."""
    masks = drawn_masks()
    rows = []
    for kind, mask in masks.items():
        times = 1 if kind == FLIPPED else REPETITIONS
        rows += rle_rows(kind, mask, times)
        rows.append(Row(f"polygons, {kind}", *alternately(times, partial(mask_to_polygons, mask)), None, times))
    photo = photo_masks(np.random.default_rng(SEED))
    for tag in OUTPUTS:
        times = alternately(REPETITIONS, partial(masks_to_json, photo, tag))
        rows.append(Row(f"{len(photo)} masks to JSON, {tag}", *times, None, REPETITIONS))
    columns = ("conversion", "ours, s", "ours, by the clock, s", "SDK, s", "ratio", "times")
    rings = trace_rings(masks[FLIPPED])
    note = (
        "Processor time where no clock is named, the shortest of so many, by turns with label-studio-sdk "
        f"{version('label-studio-sdk')}. With {FLIPPED}, nearly every flipped pixel is a part or a hole: "
        f"{len(rings.sizes)} rings with {len(rings.points)} vertices, all of which are traced and compared with what "
        "is left of them."
    )
    title = f"Masks of {SIZE_HW[1]} x {SIZE_HW[0]} pixels"
    return [Table(title, columns, tuple(row.cells for row in rows), note), memory_table()]
