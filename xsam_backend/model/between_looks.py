"""Where the one who runs a question is asked, between its looks at a picture, whether others may have the model.

Apart from the looks themselves, for the queue in front of the model must not import torch with it: the process that
loads the model is forked from the one that sets up the queue.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar

between_looks: ContextVar[Callable[[], None]] = ContextVar("between_looks", default=lambda: None)
"""Called between batches of windows: many take seconds, in which others want the model, too."""
