"""Where memory is short: how many questions and windows one pass of the model may take.

Apart from the passes themselves, as ``between_looks`` is: the queue in front of the model must not import torch.
"""

from __future__ import annotations

from contextvars import ContextVar

one_at_a_time: ContextVar[bool] = ContextVar("one_at_a_time", default=False)
"""Set while memory is short: a pass takes one question about one window. It takes longer, and answers the same."""


def together(most: int) -> int:
    """How many a pass may take of what takes so many where memory isn't short."""
    return 1 if one_at_a_time.get() else most
