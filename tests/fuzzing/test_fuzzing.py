"""Each target of the fuzzing for a moment, everything that once broke one (``kept.json``), and the corpus.

For longer: ``python tests/fuzzing/fuzz.py --minutes 5``.
"""

from __future__ import annotations

import base64
import json
import time
from pathlib import Path
from typing import Any

import corpus
import pytest
from every_target import TARGETS
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from targets import Target

KEPT = json.loads((Path(__file__).parent / "kept.json").read_text("utf-8"))

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.mark.parametrize("name", TARGETS)
def test_a_moment_of_fuzzing(name: str) -> None:
    target = TARGETS[name]

    @settings(max_examples=60, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
    @given(target.inputs)
    def once(value: Any) -> None:
        target.try_one(value)

    once()


@pytest.mark.parametrize("name", TARGETS)
def test_the_corpus(name: str) -> None:
    for value in corpus.load()[name]:
        TARGETS[name].try_one(value)


def test_the_corpus_holds_what_leads_to_different_places() -> None:
    target = TARGETS["schedules"]
    inputs = [b"* * * * *", b"0 3 * * *", b"* * * * *" + b" " * 30, b"x", b"y", b"z" * 9000]
    kept = corpus.telling(target, inputs)
    assert 2 <= len(kept) < 5
    assert b"z" * 9000 not in kept
    assert corpus.unpacked(corpus.packed([*kept, {"a": [1, None]}, b"\xff\x00"])) == [
        *kept,
        {"a": [1, None]},
        b"\xff\x00",
    ]


@pytest.mark.parametrize("row", KEPT, ids=[row["was"][:60] for row in KEPT])
def test_what_once_broke_something(row: dict[str, Any]) -> None:
    (value,) = corpus.unpacked(row["packed"]) if "packed" in row else (_value(row),)
    TARGETS[row["target"]].try_one(value)


def _value(row: dict[str, Any]) -> Any:
    return base64.b64decode(row["base64"]) if "base64" in row else row["json"]


def test_a_bug_would_be_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither another error nor a long time passes."""
    with pytest.raises(ZeroDivisionError):
        Target(st.none(), lambda _: 1 / 0).try_one(None)
    monkeypatch.setattr("targets.LATE_S", 0.01)
    with pytest.raises(AssertionError, match="took"):
        Target(st.none(), lambda _: time.sleep(0.02)).try_one(None)
    monkeypatch.setattr("targets.LATE_S", 60)
    monkeypatch.setattr("targets.SLOW_S", 0.01)
    with pytest.raises(AssertionError, match="of the processor"):
        Target(st.none(), lambda _: sum(range(3_000_000))).try_one(None)
    monkeypatch.setattr("targets.SLOW_S", 60)
    with pytest.raises(AssertionError, match="MB"):
        Target(st.none(), lambda _: bytearray(2**30)).try_one(None)
