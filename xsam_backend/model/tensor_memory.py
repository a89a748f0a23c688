"""How much memory tensors keep alive."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor


def bytes_alive(tensors: Iterable[Tensor]) -> int:
    """Bytes of all memory that these tensors hold, each piece once.

    A view keeps all of what it is a view of, and two views of one piece keep it once: neither shows in a tensor's own
    ``nbytes``.
    """
    pieces = {storage.data_ptr(): storage.nbytes() for storage in (tensor.untyped_storage() for tensor in tensors)}
    return sum(pieces.values())
