"""Inputs that lead to different places of the code, few and small: ``corpus.json``, which the tests replay.

``kept.json`` beside it holds what once broke something; here is what might. By target: its inputs, as a JSON list
(bytes as Latin-1 text), packed by zlib and in base64, because they are damaged copies of each other.
"""

from __future__ import annotations

import base64
import json
import sys
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from targets import Target

CORPUS = Path(__file__).parent / "corpus.json"
PACKAGE = str(Path(__file__).parents[2] / "xsam_backend")

MOST_CHARACTERS = 20_000
"""Of an input that is kept."""

MOST_INPUTS = 40
"""Of one target."""

Place = tuple[str, int, int]
"""File, line before, line: a step in the code."""


def load() -> dict[str, list[Any]]:
    """All that is kept, by target."""
    return {name: unpacked(packed) for name, packed in json.loads(CORPUS.read_text("utf-8")).items()}


def save(inputs: dict[str, list[Any]]) -> None:
    """Replace what is kept of these targets."""
    kept = json.loads(CORPUS.read_text("utf-8")) if CORPUS.exists() else {}
    kept |= {name: packed(own) for name, own in inputs.items()}
    CORPUS.write_text(json.dumps(kept, indent=0, sort_keys=True) + "\n", encoding="utf-8")


def packed(inputs: Sequence[Any]) -> str:
    """Inputs as text; see the module's words."""
    rows = [{"bytes": one.decode("latin-1")} if isinstance(one, bytes) else {"json": one} for one in inputs]
    return base64.b64encode(zlib.compress(json.dumps(rows).encode(), 9)).decode()


def unpacked(text: str) -> list[Any]:
    """The inputs in a text of ``packed``."""
    rows = json.loads(zlib.decompress(base64.b64decode(text)))
    return [row["bytes"].encode("latin-1") if "bytes" in row else row["json"] for row in rows]


def telling(target: Target, inputs: Sequence[Any]) -> list[Any]:
    """The smallest inputs that together lead wherever all small ones lead, at most ``MOST_INPUTS``."""
    by_size = sorted((one for one in inputs if _size(one) <= MOST_CHARACTERS), key=_size)
    seen: set[Place] = set()
    reached: list[tuple[Any, set[Place]]] = []
    for one in by_size:
        with _steps() as places:
            target.try_one(one)
        if not places <= seen:
            reached.append((one, set(places)))
            seen |= places
    kept: list[Any] = []
    while seen and len(kept) < MOST_INPUTS:  # greedily: whoever leads to most of what is left
        best, places = max(reached, key=lambda row: len(row[1] & seen))
        kept.append(best)
        seen -= places
    return kept


def _size(value: Any) -> int:
    return len(value) if isinstance(value, bytes) else len(json.dumps(value))


@contextmanager
def _steps() -> Iterator[set[Place]]:
    """The steps inside the package that this thread takes meanwhile."""
    places: set[Place] = set()

    def trace(frame: FrameType, _event: str, _given: Any) -> Any:
        name = frame.f_code.co_filename
        if not name.startswith(PACKAGE):
            return None
        before = frame.f_lineno

        def line(frame: FrameType, event: str, _given: Any) -> Any:
            nonlocal before
            if event == "line":
                places.add((name, before, frame.f_lineno))
                before = frame.f_lineno
            return line

        return line

    set_before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield places
    finally:
        sys.settrace(set_before)
