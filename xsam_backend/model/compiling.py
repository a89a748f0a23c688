"""Encoders, connector and pixel decoder compiled (``torch.compile``), where the setting ``compile`` asks for it.

Each part is compiled once, when the model is loaded, for one picture: a click that had to wait for the compiler would
wait for minutes. Several pictures at once (close-ups) run as without it, and so do a fine-tuned version's connector
and pixel decoder, whose numbers are its own: a copy of a module isn't compiled. Encoders that a version leaves alone
are the base's own modules there.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

logger = logging.getLogger(__name__)

ENCODERS = ("vision_encoder", "segmentor_encoder")
PARTS = (*ENCODERS, "connector", "segmentor.pixel_decoder")
"""What depends on a picture of a fixed size only."""


def compile_parts(model: nn.Module, try_out: Callable[[], object]) -> None:
    """Compile what is in ``PARTS``. Where the compiler fails all stays as it was, and a warning says why.

    Args:
        try_out: encodes one picture as requests will; then compiled code is made.
    """
    parts = [model.get_submodule(name) for name in PARTS]
    try:
        for part in parts:
            part.compile(dynamic=False)
        try_out()
    except Exception as error:  # the compiler's, torch's, those of the C++ compiler that it starts
        for part in parts:
            part._compiled_call_impl = None
        first = (str(error).strip() or type(error).__name__).splitlines()[0][:300]
        logger.warning(
            "compile: the model can't be compiled here and runs as it is (%s): is a C++ compiler there?", first
        )


def is_compiled(part: nn.Module) -> bool:
    """Whether a module runs compiled code."""
    return part._compiled_call_impl is not None


def run_part(part: nn.Module, pictures: Tensor, *given: Any, **named: Any) -> Any:
    """A part's answer about pictures (B, ...), compiled where it is and there is one.

    Args:
        pictures: tells how many there are.
        given, named: what the part is called with.
    """
    return part.forward(*given, **named) if is_compiled(part) and len(pictures) != 1 else part(*given, **named)


def share_compiled_encoders(base: nn.Module, version: nn.Module) -> None:
    """Give a version whose encoders have the base's numbers the base's compiled modules."""
    for name in ENCODERS:
        if is_compiled(base.get_submodule(name)):
            setattr(version, name, base.get_submodule(name))
