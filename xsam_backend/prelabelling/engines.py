"""Who does the blocks: this process alone, or workers of Ray Data, on this machine or a cluster."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from xsam_backend.config import keep_ray_on_loopback
from xsam_backend.errors import JobError, SettingsError
from xsam_backend.prelabelling.blocks import Block, Done, Work


def run(work: Work, blocks: Sequence[Block], workers: int, device: str) -> Iterator[Done]:
    """Do all blocks; what came of each, in the order in which they end.

    Args:
        workers: 1: this process, without Ray.
        device: as the setting has it; on Ray each worker gets a GPU of its own unless it is "cpu", or there is none.

    Raises:
        SettingsError: several workers, and Ray is not installed.
        JobError: the workers couldn't do their work; says what Ray says.
        XSamBackendError: the model can't be loaded.
    """
    if not blocks:
        return iter(())
    return _here(work, blocks) if workers == 1 else _on_ray(work, blocks, workers, device)


def _here(work: Work, blocks: Sequence[Block]) -> Iterator[Done]:
    do = work.opened()
    return (do(block) for block in blocks)


class _Worker:
    """A process of Ray's: the model is loaded once, then come blocks, as JSON in one column."""

    def __init__(self, work: Work) -> None:
        self._do = work.opened()

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[str]]:
        done = []
        for packed in batch["block"]:
            block = json.loads(str(packed))
            done.append(json.dumps(asdict(self._do(Block(block["number"], tuple(block["items"]))))))
        return {"done": done}


def joined_ray() -> Any:
    """Ray, joined to the cluster that RAY_ADDRESS names; without one, of this machine and for this run alone.

    Whoever reaches Ray's ports can run code as us. Of this machine alone, they are on loopback.

    Raises:
        SettingsError: Ray is not installed.
    """
    keep_ray_on_loopback()
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise SettingsError(
            "several workers run on Ray, which is not installed: pip install '.[ray]' in the project's folder, or "
            "leave --workers out"
        ) from error
    if not ray.is_initialized():
        ray.init(include_dashboard=False, log_to_driver=False)
    return ray


def _on_ray(work: Work, blocks: Sequence[Block], workers: int, device: str) -> Iterator[Done]:
    ray = joined_ray()
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    has_gpus = device != "cpu" and ray.cluster_resources().get("GPU", 0) > 0  # type: ignore[no-untyped-call,unused-ignore]
    rows = [{"block": json.dumps(asdict(block))} for block in blocks]
    done = ray.data.from_items(rows, override_num_blocks=len(rows)).map_batches(
        _Worker,
        fn_constructor_args=(work,),
        batch_size=1,
        compute=ray.data.ActorPoolStrategy(size=min(workers, len(rows))),
        num_gpus=1 if has_gpus else 0,
        num_cpus=1,
    )
    return _results(done.iter_rows(), ray.exceptions.RayError)


def _results(rows: Any, ray_error: type[Exception]) -> Iterator[Done]:
    try:
        for row in rows:
            found = json.loads(row["done"])
            yield Done(**{**found, "problems": tuple(found["problems"])})
    except ray_error as error:
        last = str(error).strip().splitlines()[-1]
        raise JobError(f"the workers on Ray ended: {last}; what is written stays, run the command again") from error
