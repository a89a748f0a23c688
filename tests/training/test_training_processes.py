"""Processes that train together: where each one's model belongs, and whose gradients count."""

from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from safetensors.torch import load_file, save_file
from torch import nn

from xsam_backend.errors import SettingsError
from xsam_backend.training import processes
from xsam_backend.training.processes import average_gradients, joined, share_weights


def test_alone_nothing_is_joined() -> None:
    with joined("cpu") as device:
        assert device == torch.device("cpu")
        assert (processes.count(), processes.number()) == (1, 0)
        assert not dist.is_initialized()


@pytest.mark.parametrize(
    ("gpus", "local", "setting", "device"),
    [
        pytest.param(0, None, "auto", "cpu", id="no GPU"),
        pytest.param(2, None, "auto", "cuda:0", id="alone, the first"),
        pytest.param(2, None, "cuda:1", "cuda:1", id="alone, the one that was said"),
        pytest.param(2, 0, "auto", "cuda:0", id="first of two"),
        pytest.param(2, 1, "auto", "cuda:1", id="second of two"),
        pytest.param(2, 1, "cuda", "cuda:1", id="each its own"),
        pytest.param(2, 1, "cuda:0", "cuda:1", id="two processes never share one"),
        pytest.param(2, 1, "cpu", "cpu", id="on the processor, as said"),
    ],
)
def test_each_process_has_its_device(
    monkeypatch: pytest.MonkeyPatch, gpus: int, local: int | None, setting: str, device: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    assert processes._own_device(setting, local) == torch.device(device)


@pytest.mark.parametrize(
    ("gpus", "local", "setting", "words"),
    [
        (0, None, "cuda", "device: no cuda on this machine: set it to cpu, or to auto"),
        (0, None, "mps", "device: no mps on this machine"),
        (1, None, "gpu", "device: expected auto, cpu, cuda or cuda:1, got 'gpu'"),
        (1, None, "cuda:3", "expected cuda:3, this machine has 1 GPUs: set another device"),
        (1, 1, "auto", "expected cuda:1, this machine has 1 GPUs: .* --nproc-per-node 1, one process for each"),
    ],
)
def test_devices_that_are_not_there(
    monkeypatch: pytest.MonkeyPatch, gpus: int, local: int | None, setting: str, words: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    with pytest.raises(SettingsError, match=words):
        processes._own_device(setting, local)


def _one_of_two(process: int, folder: Path, bucket: int) -> None:
    processes.BUCKET = bucket
    sizes, send = [], dist.all_reduce
    dist.all_reduce = lambda tensor: (sizes.append(tensor.numel()), send(tensor))
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder / 'meeting'}", rank=process, world_size=2)
    module = nn.Linear(2, 1)
    nn.init.constant_(module.weight, process + 1.0)
    share_weights(module)
    both, one, none = (nn.Parameter(torch.zeros(2)) for _ in range(3))
    both.grad = torch.full((2,), 2.0 + 4 * process)
    if process == 1:
        one.grad = torch.ones(2)
    average_gradients([both, one, none])
    assert sizes == ([3, 4] if bucket > 4 else [3, 2, 2]), "which are there, then their gradients"
    average_gradients([none])
    assert both.grad is not None
    assert one.grad is not None
    assert none.grad is None, "the optimizer must leave it alone, as one process would"
    save_file({"weight": module.weight.detach(), "both": both.grad, "one": one.grad}, folder / f"{process}")
    dist.destroy_process_group()


@pytest.mark.parametrize("bucket", [1 << 26, 3, 1], ids=["all at once", "one by one", "each too large"])
def test_gradients_are_means_over_processes(tmp_path: Path, bucket: int) -> None:
    torch.multiprocessing.spawn(_one_of_two, (tmp_path, bucket), nprocs=2)  # type: ignore[no-untyped-call]
    for process in range(2):
        tensors = load_file(tmp_path / f"{process}")
        assert tensors["weight"].tolist() == [[1.0, 1.0]], "the first one's"
        assert tensors["both"].tolist() == [4.0, 4.0]
        assert tensors["one"].tolist() == [0.5, 0.5], "where no question touched it, it counts as 0"


def _one_that_sees_another_folder(process: int, folder: Path) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder / 'meeting'}", rank=process, world_size=2)
    processes.refuse_unlike("the place", (1, 0), torch.device("cpu"))
    try:
        processes.refuse_unlike("the place", (1, 100 * process), torch.device("cpu"))
    except SettingsError as error:
        (folder / f"{process}").write_text(str(error))
    dist.destroy_process_group()


def test_processes_that_would_go_on_from_different_places(tmp_path: Path) -> None:
    """Each on a machine of its own, without a common disk: only the first one has a state."""
    torch.multiprocessing.spawn(_one_that_sees_another_folder, (tmp_path,), nprocs=2)  # type: ignore[no-untyped-call]
    assert not (tmp_path / "0").exists()
    assert (tmp_path / "1").read_text().startswith("process 1: the place isn't the first process's: on several mach")
