"""A state file is whole or not there: full disks, kills while saving, copies that were cut off, bits that flipped."""

import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from xsam_backend import whole_files
from xsam_backend.errors import CheckpointError
from xsam_backend.training.state import STATE, State, read_state, write_state

TENSORS = {
    "weight": torch.arange(12, dtype=torch.float32).reshape(3, 4),
    "half": torch.tensor([1.5, -2.0], dtype=torch.bfloat16),
    "scalar": torch.tensor(3.0),
    "count": torch.tensor([7, 8]),
    "empty": torch.zeros(0, 4),
}
FACTS = {"step": 12, "totals": {"loss": 0.1 + 0.2}, "stage": "words"}


def assert_state(found: State | None, wanted: State) -> None:
    assert found is not None
    assert dict(found.facts) == dict(wanted.facts)
    assert set(found.tensors) == set(wanted.tensors)
    for name, tensor in wanted.tensors.items():
        assert found.tensors[name].dtype == tensor.dtype
        assert torch.equal(found.tensors[name], tensor), name


def test_what_is_written_is_read(tmp_path: Path) -> None:
    assert read_state(tmp_path) is None
    write_state(tmp_path, State(TENSORS, FACTS))
    assert_state(read_state(tmp_path), State(TENSORS, FACTS))
    assert [path.name for path in tmp_path.iterdir()] == [STATE], "nothing is left beside it"


def test_tied_and_transposed_tensors(tmp_path: Path) -> None:
    """Tied ones share memory, which the format refuses; a transposed view isn't contiguous."""
    weight = TENSORS["weight"]
    tied = {"embedding": weight, "head": weight, "row": weight[1], "transposed": weight.T}
    write_state(tmp_path, State(tied, {}))
    assert_state(read_state(tmp_path), State(tied, {}))


def test_a_full_disk_is_told_and_leaves_the_state_before(tmp_path: Path) -> None:
    write_state(tmp_path, State(TENSORS, FACTS))
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))  # as a full disk: writing fails in the middle
    try:
        with pytest.raises(CheckpointError, match=r"can't be saved .* before it is intact. Free some space \(4.0 MB"):
            write_state(tmp_path, State({"large": torch.zeros(1_000_000)}, {"step": 13}))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    assert [path.name for path in tmp_path.iterdir()] == [STATE]
    assert_state(read_state(tmp_path), State(TENSORS, FACTS))


def test_a_folder_that_is_gone(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"can't be saved .* there is none before it"):
        write_state(tmp_path / "gone", State(TENSORS, FACTS))


def test_a_kill_while_saving_leaves_a_whole_state(tmp_path: Path) -> None:
    """A process saves again and again, all numbers of a state the same; killed, it leaves one that was whole."""
    script = (
        "import sys, torch\n"
        "from pathlib import Path\n"
        "from xsam_backend.training.state import State, write_state\n"
        "for n in range(100_000):\n"
        "    write_state(Path(sys.argv[1]), State({'a': torch.full((500_000,), float(n))}, {'step': n}))\n"
    )
    with subprocess.Popen([sys.executable, "-c", script, str(tmp_path)]) as process:
        try:
            deadline = time.monotonic() + 120
            while not (tmp_path / STATE).exists():
                assert time.monotonic() < deadline
                assert process.poll() is None
                time.sleep(0.01)
            while not (tmp_path / (STATE + ".partial")).exists():  # in the middle of the next one
                assert time.monotonic() < deadline
                assert process.poll() is None
        finally:
            process.send_signal(signal.SIGKILL)
    found = read_state(tmp_path)
    assert found is not None
    assert torch.equal(found.tensors["a"], torch.full((500_000,), float(found.facts["step"])))
    write_state(tmp_path, State(TENSORS, FACTS))  # what the killed one left is in nobody's way
    assert_state(read_state(tmp_path), State(TENSORS, FACTS))


def test_it_is_on_the_disk_before_it_takes_the_old_ones_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a power cut, a name may be there and its bytes not."""
    order: list[str] = []
    replace = Path.replace

    def replaced(self: Path, target: Path) -> Path:
        order.append("move")
        return replace(self, target)

    monkeypatch.setattr(whole_files, "force", lambda path: order.append(path.name))
    monkeypatch.setattr(Path, "replace", replaced)
    write_state(tmp_path, State(TENSORS, FACTS))
    assert order == [STATE + ".partial", "move", tmp_path.name]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("whole")
    write_state(folder, State(TENSORS, FACTS))
    return (folder / STATE).read_bytes()


@pytest.fixture(scope="module")
def damaged_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("damaged")


@given(at=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
@settings(max_examples=60)
def test_a_flipped_bit_never_passes_for_another_state(
    whole: bytes, damaged_folder: Path, at: float, bit: int
) -> None:
    """Anywhere: it is refused, or it is where nothing depends on it (blanks of the header, the checksum's name)."""
    content = bytearray(whole)
    content[int(at * len(content))] ^= 1 << bit
    (damaged_folder / STATE).write_bytes(content)
    try:
        found = read_state(damaged_folder)
    except CheckpointError:
        return
    assert_state(found, State(TENSORS, FACTS))


@given(share=st.floats(0, 1, exclude_max=True))
@settings(max_examples=30)
def test_a_copy_that_was_cut_off_is_refused(whole: bytes, damaged_folder: Path, share: float) -> None:
    (damaged_folder / STATE).write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(CheckpointError, match="expected a training's state"):
        read_state(damaged_folder)


def test_files_of_another_kind_are_refused(tmp_path: Path) -> None:
    save_file({"weight": torch.zeros(2)}, tmp_path / STATE)  # a model, say
    with pytest.raises(CheckpointError, match="expected a training's state, got KeyError"):
        read_state(tmp_path)


def test_states_from_before_stages_had_names_are_read(tmp_path: Path) -> None:
    save_file({"model.weight": torch.ones(2)}, tmp_path / STATE, metadata={"step": "300", "settings": "{}"})
    found = read_state(tmp_path)
    assert found is not None
    assert found.facts == {"step": 300}
