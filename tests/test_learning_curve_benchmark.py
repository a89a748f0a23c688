"""The picture of how quality grows: drawn from what was measured, whatever is missing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.learning_curve import AXES, draw, measure


def of_count(value: float, *keys: str) -> dict[str, Any]:
    return {"measures": {f"domain nuclei val: {key}": [value, value - 0.1, value + 0.1, 20] for key in keys}}


def test_a_measure_is_found_by_its_name_without_the_data_sets() -> None:
    table = of_count(0.5, "vgd, visual, box, ap50", "vgd, visual, box, ap")
    assert measure(table, "vgd, visual, box, ap50") == (0.5, 0.4, 0.6)
    assert measure(table, "box, ap50") is None


def test_curves_are_drawn_also_where_a_count_lacks_a_measure(tmp_path: Path) -> None:
    keys = [key for _, key in AXES]
    tables = {
        "nuclei": {"0": of_count(0.1, *keys), "5": of_count(0.3, *keys), "20": of_count(0.5, *keys[:2])},
        "facade": {"0": of_count(0.2, *keys)},
    }
    draw(tables, tmp_path / "curve.png")
    pixels = np.asarray(Image.open(tmp_path / "curve.png").convert("RGB"))
    assert pixels.shape[1] > 3 * pixels.shape[0] > 0
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 10, "more than an empty sheet"
