"""Tables of suites as curves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.curves import draw
from benchmarks.report import Table

GROWTH = Table("Larger", ("megapixels", "ms", "growth"), ((0.3, 10.0, "-"), (3.0, 20.0, 0.3), (50.0, 90.0, 0.5)))
NAMED = Table("Sizes", ("size", "ms"), (("tiny", 1.0), ("mid", 2.0)))


def test_each_table_with_a_size_gets_a_panel(tmp_path: Path) -> None:
    draw([GROWTH], tmp_path / "one.png")
    draw([GROWTH, NAMED, GROWTH], tmp_path / "two.png")
    one, two = (np.asarray(Image.open(tmp_path / name).convert("RGB")) for name in ("one.png", "two.png"))
    assert two.shape[1] == pytest.approx(2 * one.shape[1], abs=2), "names have no curve"
    assert len(np.unique(one.reshape(-1, 3), axis=0)) > 10, "more than an empty sheet"


def test_tables_without_sizes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="first column are numbers"):
        draw([NAMED], tmp_path / "none.png")
