"""A run's state on disk: one file that is whole or not there, and that tells when it is damaged.

It is written beside its place, forced onto the disk and then moved, so that neither a kill nor a full disk nor a
power cut can take the one before. A checksum of all it holds tells copies that were cut off and bits that flipped.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from xsam_backend.errors import CheckpointError
from xsam_backend.whole_files import PARTIAL, move_into_place

STATE = "state.safetensors"


@dataclass(frozen=True)
class State:
    """What a run needs to go on: ``tensors`` by name, on the CPU, and ``facts``, what JSON can hold."""

    tensors: Mapping[str, Tensor]
    facts: Mapping[str, Any]


def write_state(folder: Path, state: State) -> None:
    """Replace the folder's state by this one.

    Raises:
        CheckpointError: it can't be written; the state before it is as it was.
    """
    path = folder / STATE
    partial = folder / (STATE + PARTIAL)
    tensors = _apart(state.tensors)
    try:
        facts = json.dumps(dict(state.facts))
        save_file(tensors, partial, metadata={"facts": facts, "checksum": _checksum(tensors, facts)})
        move_into_place(partial, path)
    except (OSError, SafetensorError) as error:
        partial.unlink(missing_ok=True)
        before = "the state before it is intact" if path.exists() else "there is none before it"
        raise CheckpointError(
            f"{path}: can't be saved ({error}); {before}. Free some space ({_size(tensors)} a state, there are two "
            "while it saves) and give the same command again"
        ) from error


def read_state(folder: Path) -> State | None:
    """The folder's state; None if it has none yet.

    Raises:
        CheckpointError: it is damaged, or no state of a training.
    """
    path = folder / STATE
    if not path.is_file():
        return None
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            names = file.keys()
            tensors = {name: file.get_tensor(name) for name in names}
        facts = json.loads(metadata["facts"]) if "facts" in metadata else _older(metadata)
    except (OSError, SafetensorError, ValueError, KeyError) as error:
        raise CheckpointError(f"{path}: expected a training's state, got {error!r}; {_ADVICE}") from error
    if "checksum" in metadata and metadata["checksum"] != _checksum(tensors, metadata.get("facts", "")):
        raise CheckpointError(f"{path}: damaged: its content and its checksum differ; {_ADVICE}")
    return State(tensors, facts)


_ADVICE = "put a copy of it back, or delete it to begin anew"


def _older(metadata: Mapping[str, str]) -> dict[str, Any]:
    """States written before stages had names know their step only. Raises KeyError for files that aren't states."""
    return {"step": int(metadata["step"])}


def _apart(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """On the CPU, each with memory of its own: safetensors refuses tied ones."""
    apart: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, tensor in tensors.items():
        own = tensor.detach().cpu().contiguous()
        if own.untyped_storage().data_ptr() in seen:
            own = own.clone()
        seen.add(own.untyped_storage().data_ptr())
        apart[name] = own
    return apart


def _checksum(tensors: Mapping[str, Tensor], facts: str) -> str:
    """CRC-32 of the facts and of all names and bytes."""
    value = zlib.crc32(facts.encode())
    for name in sorted(tensors):
        value = zlib.crc32(name.encode(), value)
        value = zlib.crc32(tensors[name].contiguous().flatten().view(torch.uint8).numpy().data, value)
    return f"{value:08x}"


def _size(tensors: Mapping[str, Tensor]) -> str:
    nbytes = sum(tensor.nbytes for tensor in tensors.values())
    return f"{nbytes / 1e9:.1f} GB" if nbytes >= 1e9 else f"{nbytes / 1e6:.1f} MB"
