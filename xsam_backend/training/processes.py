"""Several processes that train one model: each takes its own pictures of a step, gradients are averaged.

``torchrun --nproc-per-node N -m -- xsam_backend train CONFIG`` starts them. On GPUs each has its own and they speak
NCCL; on a CPU they speak gloo. One process alone needs none of it, and all functions here know that.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor, nn

from xsam_backend.errors import SettingsError

PATIENCE = timedelta(hours=2)
"""So long the others wait while the first one saves a large state."""

BUCKET = 1 << 26
"""Gradients travel in messages of so many numbers: each is a copy beside them."""


@contextmanager
def joined(device: str) -> Iterator[torch.device]:
    """Join the others that torchrun started, for as long as the block runs; where this process's model belongs.

    Args:
        device: "auto" (a GPU if there is one), "cpu", "cuda" or "cuda:1".

    Raises:
        SettingsError: no such device here, or fewer GPUs than processes.
    """
    together = dist.is_torchelastic_launched()
    own = _own_device(device, dist.get_node_local_rank() if together else None)
    if own.type == "cuda":
        torch.cuda.set_device(own)
    if together:
        dist.init_process_group("nccl" if own.type == "cuda" else "gloo", timeout=PATIENCE)
    try:
        yield own
    finally:
        if together:
            dist.destroy_process_group()


def count() -> int:
    """How many processes train together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def number() -> int:
    """Which of them this is, from 0. The first one logs and saves."""
    return dist.get_rank() if dist.is_initialized() else 0


def share_weights(module: nn.Module) -> None:
    """Make all weights and buffers those of the first process, in place."""
    if count() > 1:
        for tensor in module.state_dict().values():
            dist.broadcast(tensor, 0)


def refuse_unlike(what: str, numbers: Sequence[int], device: torch.device) -> None:
    """Compare some numbers with the first process's.

    Raises:
        SettingsError: they differ; ``what`` they are is named. The first process never sees it: its launcher ends it.
    """
    if count() > 1:
        own = torch.tensor(list(numbers), device=device)
        first = own.clone()
        dist.broadcast(first, 0)
        if not torch.equal(own, first):
            raise SettingsError(
                f"process {number()}: {what} isn't the first process's: on several machines, the run's folder must "
                "be one that all of them see"
            )


def average_gradients(parameters: Sequence[Tensor]) -> None:
    """Mean over all processes, in place, in a few messages.

    A parameter that no question of a process touched counts as 0 there; one that none touched keeps no gradient, so
    that the optimizer leaves it alone, as with one process.
    """
    if count() == 1 or not parameters:
        return
    touched = torch.tensor([parameter.grad is not None for parameter in parameters], device=parameters[0].device)
    wanted = touched.float()
    dist.all_reduce(wanted)
    bucket: list[Tensor] = []
    for parameter, processes in zip(parameters, wanted.tolist(), strict=True):
        if processes == 0:
            continue
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
        if sum(gradient.numel() for gradient in bucket) + parameter.numel() > BUCKET:
            _average(bucket)
            bucket = []
        bucket.append(parameter.grad)
    _average(bucket)


def wait() -> None:
    """Until all processes are here: whoever reads what the first one writes must not come too early."""
    if count() > 1:
        dist.barrier()


def mean(value: float, device: torch.device) -> float:
    """Of all processes: the same for each of them."""
    if count() == 1:
        return value
    own = torch.tensor(value, device=device)
    dist.all_reduce(own)
    return float(own) / count()


def _average(gradients: Sequence[Tensor]) -> None:
    if not gradients:
        return
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    dist.all_reduce(flat)
    flat /= count()
    for gradient, mean in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(mean.view_as(gradient))


def _own_device(device: str, local: int | None) -> torch.device:
    """``local`` is the process's number on its machine; None if it is alone."""
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        own = torch.device(device)
    except RuntimeError as error:
        raise SettingsError(f"device: expected auto, cpu, cuda or cuda:1, got {device!r}") from error
    if own.type == "cpu":
        return own
    there = torch.cuda.device_count()
    if own.type != "cuda" or there == 0:
        raise SettingsError(f"device: no {device} on this machine: set it to cpu, or to auto")
    index = local if local is not None else own.index or 0
    if index >= there:
        raise SettingsError(
            f"device: expected cuda:{index}, this machine has {there} GPUs: set another device, or give torchrun "
            f"--nproc-per-node {there}, one process for each"
        )
    return torch.device("cuda", index)
