"""When the device has no memory left: how it shows, and how what is held but unused is given back."""

from __future__ import annotations

import gc
import sys

_OF_MAIN_MEMORY = ("can't allocate memory", "not enough memory")
"""What torch says on a CPU, in a RuntimeError."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory was what lacked, on a GPU or in the machine."""
    torch = sys.modules.get("torch")  # where it isn't imported, no error is its own
    if isinstance(error, MemoryError) or (torch is not None and isinstance(error, torch.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _OF_MAIN_MEMORY)


def give_back_unused() -> None:
    """Give back what torch keeps for later. Call it outside of the ``except`` block: its error holds tensors."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()
