"""What encoders made of a picture, as bytes for a file. Half precision: a fine-tuning's steps and a service that
restarts read it again and again, and it is large.

Whoever keeps such bytes should go on with what they say from the first time on, so that answers don't depend on
whether a file was there.
"""

from __future__ import annotations

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from xsam_backend.model.vision import EncoderOutputs

SHORTENED = torch.float16
"""What float32 numbers are kept as, where they are in its range. Shorter ones stay as they are."""


def pack(outputs: EncoderOutputs) -> bytes:
    """Bytes in the format of safetensors. Numbers that were float32 lose their last digits."""
    # Copies: the format doesn't take tensors that share memory, as a pyramid's level may with the tokens.
    shortened = [_shortened(tensor).detach().cpu().contiguous().clone() for tensor in outputs.tensors]
    packed: bytes = save({str(number): tensor for number, tensor in enumerate(shortened)})
    return packed


def unpack(data: bytes, dtype: torch.dtype) -> EncoderOutputs:
    """What was packed, on the CPU, in the number format that the model runs in.

    Raises:
        ValueError: damaged or something else.
    """
    try:
        tensors = load(data)
        return EncoderOutputs.of([tensors[str(number)].to(dtype) for number in range(len(tensors))])
    except (SafetensorError, KeyError, ValueError) as error:
        raise ValueError(f"expected an encoder's packed outputs, got something else ({error!r})") from error


def _shortened(tensor: Tensor) -> Tensor:
    if tensor.dtype != torch.float32:
        return tensor
    short = tensor.to(SHORTENED)
    return short if torch.isfinite(short).all() else tensor
