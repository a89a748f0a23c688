"""``train`` as a process: killed with SIGKILL at random it goes on exactly; several processes; what it exports."""

from __future__ import annotations

import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from small_models import small_model

from xsam_backend.config import ENV_PREFIX
from xsam_backend.model.checkpoint import load_config, load_model, save_model
from xsam_backend.model.folders import SHIPPED
from xsam_backend.model.predictor import load_predictor
from xsam_backend.training import running
from xsam_backend.training.config_file import load_train_config

Run = Callable[..., tuple[int, str, str]]

CONFIG = """
run = "RUN"
start = "START"
log_every = 1
save_every = 3
least_px = 20

[[data]]
name = "scenes"
kind = "scenes"
share = 1.0
questions = { interactive = 1, referring = 1, conversation = 0.2 }

[[stages]]
name = "alignment"
kind = "alignment"
trains = ["seg_projector", "language"]
grounding = true
steps = 8
pictures = 2
learning_rate = 1e-3

[[stages]]
name = "mixed"
kind = "mixed"
steps = 12
pictures = 2
accumulate = 2
learning_rate = 1e-3
warmup_steps = 5
precision = "bf16"
"""
STEPS = 20


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model as a folder."""
    folder = tmp_path_factory.mktemp("start")
    save_model(small_model(), folder, torch.float32)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(SHIPPED / "tiny" / name, folder / name)
    return folder


def write_config(folder: Path, start: Path, content: str = CONFIG) -> Path:
    """A config whose run is beside it."""
    folder.mkdir(exist_ok=True)
    path = folder / "training.toml"
    path.write_text(content.replace("RUN", str(folder / "run")).replace("START", str(start)))
    return path


def begin(*command: object) -> subprocess.Popen[str]:
    environment = os.environ | {"OMP_NUM_THREADS": "1", ENV_PREFIX + "DEVICE": "cpu"}
    words = [str(word) for word in command]
    return subprocess.Popen(words, env=environment, stderr=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2])


def run_to_its_end(*command: object) -> str:
    """Its stderr."""
    with begin(*command) as process:
        _, said = process.communicate(timeout=600)
    assert process.returncode == 0, said
    return said


def lines(folder: Path) -> list[dict[str, Any]]:
    """The log, without what depends on the clock."""
    path = folder / "run" / "log.jsonl"
    read = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    return [{name: value for name, value in line.items() if name != "seconds_per_picture"} for line in read]


def kill_at_random(config: Path, folder: Path, chance: random.Random, least: int, most: int) -> int:
    """Start the training, kill it somewhere after a random step; the last one it had logged."""
    wanted = chance.randint(least, most)
    with begin(sys.executable, "-m", "xsam_backend", "train", config) as process:
        deadline = time.monotonic() + 300
        try:
            while count_of_lines(folder) < wanted:
                assert time.monotonic() < deadline
                assert process.poll() is None, process.communicate()[1]
                time.sleep(0.002)
            time.sleep(chance.uniform(0, 0.05))
        finally:
            process.send_signal(signal.SIGKILL)
        process.communicate()
    assert process.returncode == -signal.SIGKILL, "it had come to its end before the kill"
    return count_of_lines(folder)


def count_of_lines(folder: Path) -> int:
    path = folder / "run" / "log.jsonl"
    return path.read_text().count("\n") if path.exists() else 0


def test_killed_at_random_it_resumes_to_the_same_losses(tmp_path: Path, start: Path) -> None:
    """Twice, once in each stage; then every number of its log is that of a run that was left in peace."""
    weights = (start / "model.safetensors").read_bytes()
    peaceful, killed = (write_config(tmp_path / name, start) for name in ("peaceful", "killed"))
    seed = random.SystemRandom().randrange(10**6)
    chance = random.Random(seed)
    steps = [
        kill_at_random(killed, tmp_path / "killed", chance, 1, 6),
        kill_at_random(killed, tmp_path / "killed", chance, 9, 17),
    ]
    run_to_its_end(sys.executable, "-m", "xsam_backend", "train", killed)
    run_to_its_end(sys.executable, "-m", "xsam_backend", "train", peaceful)
    of_killed, of_peaceful = lines(tmp_path / "killed"), lines(tmp_path / "peaceful")
    assert [line["step"] for line in of_peaceful] == list(range(1, STEPS + 1))
    assert of_killed == of_peaceful, f"killed near the steps {steps}, seed {seed}"
    states = [load_file(tmp_path / name / "run" / "state.safetensors") for name in ("killed", "peaceful")]
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(tensor, states[1][name]) for name, tensor in states[0].items())
    assert (start / "model.safetensors").read_bytes() == weights, "what it started from is as it was"


def test_two_processes_train_one_model(tmp_path: Path, start: Path) -> None:
    short = CONFIG.replace("steps = 8", "steps = 1").replace("steps = 12", "steps = 1")
    config = write_config(tmp_path, start, short.replace("pictures = 2", "pictures = 4"))
    torchrun = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    said = run_to_its_end(*torchrun, "-m", "--", "xsam_backend", "train", config, "--export", tmp_path / "out")
    assert [line["step"] for line in lines(tmp_path)] == [1, 2], "logged once, by the first"
    assert said.count("alignment (alignment): 1 steps of 4 pictures, at a rate of") == 1
    assert load_predictor(str(tmp_path / "out")).model_version


SHORT = CONFIG.replace("steps = 8", "steps = 0").replace("steps = 12", "steps = 1")


def test_an_export_is_a_whole_model(tmp_path: Path, start: Path, run: Run) -> None:
    """Config, weights in the format that they came in, tokenizer: it can be served as it is."""
    config = write_config(tmp_path, start, SHORT)
    status, _, err = run("train", config, "--export", tmp_path / "out", "--device", "cpu")
    assert status == 0, err
    assert load_predictor(str(tmp_path / "out")).model_version
    ours, theirs = (load_file(folder / "model.safetensors") for folder in (tmp_path / "out", start))
    assert {name: (t.shape, t.dtype) for name, t in ours.items()} == {
        n: (t.shape, t.dtype) for n, t in theirs.items()
    }
    state = load_file(tmp_path / "run" / "state.safetensors")
    exported = dict(load_model(tmp_path / "out").named_parameters())
    assert any(name.startswith("average.") for name in state)
    for name, tensor in state.items():
        if name.startswith("average."):
            assert torch.equal(tensor, exported[name.removeprefix("average.")])


def test_what_is_never_trained_stays_as_it_was_stored(tmp_path: Path, run: Run) -> None:
    """Of a model in bfloat16, trained in half precision: half the memory, and the same bytes again."""
    stored = tmp_path / "stored"
    save_model(small_model(), stored, torch.bfloat16)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(SHIPPED / "tiny" / name, stored / name)
    only = SHORT.replace("accumulate = 2", 'trains = ["connector", "segmentor"]')
    config = write_config(tmp_path, stored, only)
    model = running._begin(load_train_config(config), torch.device("cpu"), tmp_path).model
    small = {name.split(".")[0] for name, p in model.named_parameters() if p.dtype is torch.bfloat16}
    assert small == {"segmentor_encoder", "visual_projector", "seg_projector", "language", "llm_projector"}
    status, _, err = run("train", config, "--export", tmp_path / "out", "--device", "cpu")
    assert status == 0, err
    before, after = (load_file(folder / "model.safetensors") for folder in (stored, tmp_path / "out"))
    assert {tensor.dtype for tensor in after.values()} == {torch.bfloat16}
    changed = {name.split(".")[0] for name, tensor in after.items() if not torch.equal(tensor, before[name])}
    assert changed == {"connector", "segmentor", "background"}


def test_a_plan_is_not_carried_out(tmp_path: Path, start: Path, run: Run) -> None:
    config = write_config(tmp_path, start)
    status, out, _ = run("train", config, "--plan", "--device", "cpu")
    assert status == 0
    first, alignment, mixed = out.splitlines()
    assert first.startswith("begins with small-")
    assert first.endswith("pictures: scenes 100%")
    assert "alignment (alignment): 8 steps of 2 pictures, at a rate of up to" in alignment
    assert ", trains 0.3 million numbers of seg_projector, language;" in alignment
    assert "mixed (mixed): 12 steps of 2 pictures, at a rate of" in mixed
    assert not (tmp_path / "run").exists()


def test_a_plan_reads_no_weights(tmp_path: Path, start: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether they fit into memory is what it tells: the same with and without them."""
    config = write_config(tmp_path, start)
    loaded = load_train_config(config)
    begun = running._begin(loaded, torch.device("cpu"), tmp_path)
    wanted = list(running._lines(loaded, begun.model, begun.version, running.open_data(loaded, 64)))
    monkeypatch.setattr(running, "load_model", lambda *_: pytest.fail("the weights were read"))
    _, out, _ = run("train", config, "--plan", "--device", "cpu")
    assert out.splitlines() == wanted


def test_a_release_can_be_planned_with_before_it_is_fetched(
    tmp_path: Path, start: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether the machine suffices is to be known before nine gigabytes are fetched."""
    monkeypatch.setattr(running.XSamConfig, "variant", lambda _: load_config(start))
    text = write_config(tmp_path, start).read_text().replace(str(start), "hao9610/X-SAM")
    (tmp_path / "released.toml").write_text(text)
    arguments = ("train", tmp_path / "released.toml", "--device", "cpu", "--data-dir", tmp_path / "data")
    status, out, err = run(*arguments, "--plan")
    assert status == 0, err
    assert out.startswith("begins with hao9610/X-SAM (not here yet: xsam-backend models pull hao9610/X-SAM), in ")
    status, _, err = run(*arguments)
    assert (status, "fetch it with: xsam-backend models pull hao9610/X-SAM" in err) == (1, True)


def test_a_rate_that_never_is_full_is_seen_in_the_plan(tmp_path: Path, start: Path, run: Run) -> None:
    """The decay is 1000 steps long, unless the config says otherwise: these 8 are its end."""
    _, out, _ = run("train", write_config(tmp_path, start), "--plan", "--device", "cpu")
    assert "8 steps of 2 pictures, at a rate of up to 2.4e-05, trains" in out


def test_what_a_run_starts_from_is_not_written_over(tmp_path: Path, start: Path, run: Run) -> None:
    before = (start / "model.safetensors").read_bytes()
    status, _, err = run("train", write_config(tmp_path, start, SHORT), "--export", start, "--device", "cpu")
    assert status == 1
    assert "is what the run starts from" in err
    assert (start / "model.safetensors").read_bytes() == before


def test_too_little_memory(tmp_path: Path, start: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity ...")

    monkeypatch.setattr(running, "train", full)
    status, _, err = run("train", write_config(tmp_path, start, SHORT), "--device", "cpu")
    assert status == 1
    assert "error: cpu has too little memory (CUDA out of memory); the run's last state is intact. See --plan" in err


def test_options_go_before_the_config(tmp_path: Path, start: Path, run: Run) -> None:
    config = write_config(tmp_path, start, SHORT)
    status, _, err = run("train", config, "--run", tmp_path / "elsewhere", "--device", "cpu")
    assert status == 0, err
    assert (tmp_path / "elsewhere" / "state.safetensors").is_file()
    assert not (tmp_path / "run").exists()


def test_a_shipped_config_can_be_begun_from(run: Run) -> None:
    status, out, _ = run("train", "released", "--show")
    assert status == 0
    assert 'start = "hao9610/X-SAM"' in out


@pytest.mark.parametrize(
    ("right", "wrong", "told"),
    [
        ("least_px", "leastpx", "leastpx: no such key; did you mean least_px?"),
        ("START", "nobody/nothing", "models pull nobody/nothing"),
        ('precision = "bf16"', 'precision = "fp16"', "stage 'mixed': fp16 is for GPUs, this is cpu"),
        ("pictures = 2\naccumulate = 2", "pictures = 3\naccumulate = 2", "3 pictures can't be shared evenly among 2"),
    ],
)
def test_mistakes_are_one_message(tmp_path: Path, start: Path, run: Run, right: str, wrong: str, told: str) -> None:
    config = write_config(tmp_path, start, CONFIG.replace(right, wrong))
    status, _, err = run("train", config, "--device", "cpu")
    assert status == 1
    assert told in err
    assert "Traceback" not in err


def test_a_full_disk_leaves_the_state_before(tmp_path: Path, start: Path, run: Run) -> None:
    config = write_config(tmp_path, start, SHORT)
    assert run("train", config, "--device", "cpu")[0] == 0
    state = (tmp_path / "run" / "state.safetensors").read_bytes()
    longer = write_config(tmp_path, start, SHORT.replace("steps = 1\n", "steps = 2\n"))
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(state) // 2, hard))  # writing fails in the middle
    try:
        status, _, err = run("train", longer, "--device", "cpu")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    assert status == 1
    assert "the state before it is intact. Free some space" in err
    assert (tmp_path / "run" / "state.safetensors").read_bytes() == state
    assert run("train", longer, "--device", "cpu")[0] == 0


def test_a_damaged_state_is_refused(tmp_path: Path, start: Path, run: Run) -> None:
    config = write_config(tmp_path, start, SHORT)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "state.safetensors").write_bytes(b"half a file")
    status, _, err = run("train", config, "--device", "cpu")
    assert status == 1
    assert "put a copy of it back, or delete it to begin anew" in err
