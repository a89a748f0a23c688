"""The "devices" suite: what number formats and memory layouts cost on this device.

What a processor without bfloat16 would do is seen by taking the instructions from one that has them, by a variable:
ONEDNN_MAX_CPU_ISA=AVX512_CORE, or AVX2.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch.nn import functional as F

from benchmarks.interactive import CLICK, picture
from benchmarks.report import Table, medians
from benchmarks.sizes import predictor_of_size
from xsam_backend.errors import SettingsError
from xsam_backend.model.four_bits import put_in_four_bits
from xsam_backend.model.precision import multiplies_bfloat16

PRODUCT_ROUNDS = 25
ROUNDS = {"tiny": 15, "mid": 3}
WIDE = 2048
ROWS = (1, 64, 512)
FORMATS = (torch.float32, torch.bfloat16)


@torch.inference_mode()
def number_formats(device: str) -> Table:
    """Products as the parts of a large model have them, in float32 and bfloat16."""
    rows: list[tuple[str | float, ...]] = []
    for name, work in _products(device).items():
        took = medians(
            PRODUCT_ROUNDS, {str(dtype): partial(work, dtype) for dtype in (torch.float32, torch.bfloat16)}
        )
        exact, half = (1000 * seconds for seconds in took.values())
        rows.append((name, exact, half, half / exact))
    instructions = os.environ.get("ONEDNN_MAX_CPU_ISA", "all that there are")
    has = "has" if multiplies_bfloat16() else "hasn't"
    return Table(
        "Products by number format, ms",
        ("product", "float32", "bfloat16", "ratio"),
        tuple(rows),
        f"Medians of {PRODUCT_ROUNDS} rounds. The processor {has} instructions for bfloat16; used: {instructions}.",
    )


def _products(device: str) -> dict[str, Callable[[torch.dtype], Any]]:
    generator = torch.Generator().manual_seed(0)

    def drawn(*shape: int) -> dict[torch.dtype, torch.Tensor]:
        exact = torch.randn(shape, generator=generator)
        return {dtype: exact.to(device, dtype) for dtype in FORMATS}

    matrix, kernel, pixels = drawn(WIDE, WIDE), drawn(128, 128, 3, 3), drawn(1, 128, 64, 64)
    found: dict[str, Callable[[torch.dtype], Any]] = {}
    for count in ROWS:
        given = drawn(count, WIDE)
        found[f"{count} rows, {WIDE} x {WIDE}"] = lambda dtype, given=given: F.linear(given[dtype], matrix[dtype])
    found["convolution 3 x 3, 128 channels, 64 x 64"] = lambda dtype: F.conv2d(
        pixels[dtype], kernel[dtype], padding=1
    )
    return found


@torch.inference_mode()
def memory_layouts(size: str, device: str) -> tuple[str | float, ...]:
    """A row: connector and pixel decoder, where most convolutions are, with weights and maps in either layout."""
    predictor = predictor_of_size(size, device)
    pyramid = predictor.dialogue.look([picture()]).maps.pyramid

    def laid_out(layout: torch.memory_format) -> Callable[[], Any]:
        connector = copy.deepcopy(predictor.model.connector).to(memory_format=layout)
        decoder = copy.deepcopy(predictor.model.segmentor.pixel_decoder).to(memory_format=layout)
        maps = [one.contiguous(memory_format=layout) for one in pyramid]
        return lambda: decoder(
            [one.contiguous(memory_format=layout) for one in connector(maps)],
            return_dict=True,
            output_attentions=False,
            output_hidden_states=False,
        )

    layouts = {str(layout): laid_out(layout) for layout in (torch.contiguous_format, torch.channels_last)}
    first, last = (1000 * seconds for seconds in medians(ROUNDS[size], layouts).values())
    return size, first, last, last / first


def four_bits(size: str, device: str) -> Table:
    """A warm click with the language model in float32, bfloat16 and four bits."""
    works: dict[str, Callable[[], Any]] = {}
    note = "A click on a warm picture. All else is in bfloat16 where the language model is in four bits."
    for name, dtype in (("float32", torch.float32), ("bfloat16", torch.bfloat16), ("four bits", torch.bfloat16)):
        predictor = predictor_of_size(size, device)
        predictor.model.to(dtype)
        if name == "four bits":
            try:
                put_in_four_bits(predictor.model, torch.device(device))
            except SettingsError as error:
                note = f"Not in four bits: {error}."
                continue
        works[name] = partial(predictor.answer, predictor.encode(picture()), CLICK)
    took = {name: 1000 * seconds for name, seconds in medians(ROUNDS[size], works).items()}
    rows = tuple((name, ms, ms / took["float32"]) for name, ms in took.items())
    return Table(f"Number format of the language model, {size}, ms", ("", "click", "of float32"), rows, note)


def suite(sizes: Sequence[str], device: str) -> list[Table]:
    """Its tables."""
    layouts = Table(
        "Connector and pixel decoder by memory layout, ms",
        ("size", "channels first", "channels last", "ratio"),
        tuple(memory_layouts(size, device) for size in sizes),
    )
    return [number_formats(device), layouts, *(four_bits(size, device) for size in sizes)]
