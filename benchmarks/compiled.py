"""The "compiled" suite: encoding with the setting ``compile`` and without, and what compiling takes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from benchmarks.interactive import picture
from benchmarks.report import Table, medians, seconds_of
from benchmarks.sizes import predictor_of_size
from xsam_backend.model.compiling import PARTS, compile_parts, is_compiled

ROUNDS = {"tiny": 15, "mid": 3}


def row(size: str, device: str) -> tuple[str | float, ...]:
    """Of one size; compilers keep what they made in the system's temporary folder, where a second run finds it."""
    image = picture()
    plain, compiled = predictor_of_size(size, device), predictor_of_size(size, device)
    outputs = plain.look(image)
    try_out = partial(compiled.state, image, outputs)
    took_s = seconds_of(lambda: compile_parts(compiled.model, lambda: (compiled.look(image), try_out())))
    if not all(is_compiled(compiled.model.get_submodule(name)) for name in PARTS):
        return (size, "not compiled", *["-"] * 5)
    works: dict[str, Callable[[], Any]] = {
        "look": partial(plain.look, image),
        "look, compiled": partial(compiled.look, image),
        "state": partial(plain.state, image, outputs),
        "state, compiled": try_out,
    }
    ms = {name: 1000 * seconds for name, seconds in medians(ROUNDS[size], works).items()}
    with_it = ms["look, compiled"] + ms["state, compiled"]
    return size, took_s, *ms.values(), (ms["look"] + ms["state"]) / with_it


def suite(sizes: Sequence[str], device: str) -> list[Table]:
    """Its table."""
    rounds_said = ", ".join(f"{ROUNDS[size]} ({size})" for size in sizes)
    columns = ("size", "compiling, s", "look, ms", "compiled", "state, ms", "compiled", "both, ratio")
    return [
        Table(
            "Encoding with torch.compile",
            columns,
            tuple(row(size, device) for size in sizes),
            f"Medians of {rounds_said} rounds, by turns; 640 x 480.",
        )
    ]
