"""When a stage ends early, and when it doesn't."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xsam_backend.training.patience import Patience

FLAT = [1.0] * 300


@pytest.mark.parametrize(
    ("steps", "losses", "ends"),
    [
        pytest.param(20, FLAT, 21, id="flat: the first sets the mark, then it waits"),
        pytest.param(0, FLAT, None, id="never"),
        pytest.param(20, [100 * 0.98**step for step in range(300)], None, id="falling"),
        pytest.param(60, [1.5, 0.5] * 150, 260, id="up and down: only the mean counts, which falls to 1 at first"),
        pytest.param(20, [1.0 + 0.001 * step for step in range(300)], 21, id="rising"),
        pytest.param(20, [math.nan] * 300, None, id="unknown"),
        pytest.param(20, [1.0, math.inf] * 150, 41, id="steps without a loss don't count"),
    ],
)
def test_when_a_stage_ends(steps: int, losses: Sequence[float], ends: int | None) -> None:
    patience = Patience(steps)
    assert next((number for number, loss in enumerate(losses, 1) if patience.is_over(loss)), None) == ends


@given(st.lists(st.floats(0.1, 100), min_size=2, max_size=120), st.integers(1, 20), st.integers(0, 120))
def test_what_goes_on_decides_as_if_nothing_had_been(losses: list[float], steps: int, at: int) -> None:
    whole, before, after = Patience(steps), Patience(steps), Patience(steps)
    at = min(at, len(losses))
    expected = [whole.is_over(loss) for loss in losses]
    first = [before.is_over(loss) for loss in losses[:at]]
    after.restore(json.loads(json.dumps(before.as_json(), allow_nan=False)))
    assert first + [after.is_over(loss) for loss in losses[at:]] == expected
