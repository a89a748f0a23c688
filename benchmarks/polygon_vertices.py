"""How many vertices polygons need at equal IoU: as we write them, and as OpenCV's approxPolyDP makes them.

python -m benchmarks.polygon_vertices DATA [--iou 0.98]

Masks of labelled objects (val), those in one part without holes, 60 of each kind of picture. approxPolyDP is given
the largest tolerance that still reaches the IoU: along the centres of the outermost pixels, as findContours traces
them, and along the pixels' edges, as we do.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import click
import cv2
import numpy as np

from xsam_backend.evaluation.datasets.opening import open_dataset
from xsam_backend.geometry.masks import Mask, mask_iou
from xsam_backend.geometry.outlines import Polygon, trace_outlines
from xsam_backend.geometry.polygons import mask_to_polygons
from xsam_backend.geometry.raster import polygon_to_mask

SEED, OBJECTS, LEAST_PX = 0, 60, 150
ROUNDS = 16
"""Of bisection for a tolerance."""

KINDS = {"photos": ("photos", None), "nuclei": ("domain", "nuclei"), "facades": ("domain", "facade")}


def along_centres(mask: Mask) -> Polygon:
    """The one outline of a mask as OpenCV traces it."""
    (contour,), _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return np.asarray(contour[:, 0], np.float64)


def along_edges(mask: Mask) -> Polygon:
    """The same, around its pixels."""
    return trace_outlines(mask)[0].outer


def fewest(mask: Mask, outline: Polygon, least_iou: float) -> int | None:
    """Vertices that approxPolyDP needs; None if even the whole outline doesn't reach the IoU."""
    best, lower, upper = None, 0.0, float(np.sqrt(mask.sum()))
    tolerance = 0.0
    for _ in range(ROUNDS):
        simple = cv2.approxPolyDP(outline.astype(np.float32), tolerance, True)[:, 0].astype(np.float64)
        if len(simple) > 2 and mask_iou(polygon_to_mask(simple, (mask.shape[0], mask.shape[1])), mask) >= least_iou:
            best, lower = len(simple), tolerance
        else:
            upper = tolerance
        if best is None:
            return None
        tolerance = (lower + upper) / 2
    return best


def objects(folder: Path, only: str | None) -> list[Mask]:
    """Some masks in one part without holes."""
    found = []
    for record in open_dataset(folder, split="val", only=only).records[:60]:
        for mask in record.load().masks:
            outlines = trace_outlines(mask) if mask.sum() >= LEAST_PX else []
            if len(outlines) == 1 and not outlines[0].holes:
                found.append(mask)
    order = np.random.default_rng(SEED).permutation(len(found))[:OBJECTS]
    return [found[index] for index in order]


@click.command(help=__doc__)
@click.argument("data", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--iou", default=0.98, show_default=True, help="With the mask.")
def main(data: Path, iou: float) -> None:
    """See the module's words."""
    ways: dict[str, Callable[[Mask], int | None]] = {
        "ours": lambda mask: len(mask_to_polygons(mask, iou)[0]),
        "approxPolyDP, edges": lambda mask: fewest(mask, along_edges(mask), iou),
        "approxPolyDP, centres": lambda mask: fewest(mask, along_centres(mask), iou),
    }
    click.echo(f"IoU {iou}: vertices, mean (median); masks for which it can't be had; ms each")
    for kind, (folder, only) in KINDS.items():
        masks = objects(data / folder, only)
        for way, vertices in ways.items():
            started = time.perf_counter()
            counts = [vertices(mask) for mask in masks]
            took_ms = (time.perf_counter() - started) * 1000 / len(masks)
            known = [count for count in counts if count is not None]
            said = f"{np.mean(known):.1f} ({np.median(known):.0f})" if known else "-"
            click.echo(f"{kind:<9}{way:<24}{said:<14}{len(masks) - len(known):>3} of {len(masks)}  {took_ms:.0f} ms")


if __name__ == "__main__":
    main()
