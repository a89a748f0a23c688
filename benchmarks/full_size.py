"""What a full-size model needs: random weights under the released names, converted, loaded, asked about one picture,
and fine-tuned for one step with the language model in four bits.

    python -m benchmarks.full_size --folder ../runs/full_size

Each stage is a process of its own, so that its peak memory is its own. Besides the peak of all resident memory,
the table has that of memory that is no mapped file: pages of a mapped file can be given back at any time. The weights
mean nothing; their number, their format and the arithmetic are those of the released model.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from math import prod
from pathlib import Path

import click
import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from safetensors.torch import save_file
from tqdm import tqdm

from benchmarks.learning import KEY, Drawn, accept, label_config, places_below
from xsam_backend.evaluation.datasets.opening import open_dataset
from xsam_backend.learning.candidates import Base, trained
from xsam_backend.learning.plan import VERSION, fixed_plan
from xsam_backend.learning.recipe import recipe
from xsam_backend.learning.rehearsed_photographs import answered_photographs
from xsam_backend.model.config import XSamConfig
from xsam_backend.model.conversion import convert
from xsam_backend.model.folders import SHIPPED
from xsam_backend.model.predictor import load_predictor
from xsam_backend.model.released import released_layout
from xsam_backend.prompts import Category, Point, Prompt, Task

PICTURE_HW = (720, 1280)
LEARNED = 8
CONFIG, RELEASED, WORDS, CONVERTED = "sizes.json", "released", "tokenizer", "model"


@dataclass(frozen=True)
class Step:
    """One line of the report: seconds, and bytes at the most until its end."""

    name: str
    seconds: float
    resident: int
    anonymous: int


class Watch:
    """Times steps, and looks at this process's memory every few milliseconds."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self._most = (0, 0)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Look until the block ends."""
        done = threading.Event()

        def look() -> None:
            while not done.wait(0.01):
                self._look()

        thread = threading.Thread(target=look)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Time the block."""
        started = time.monotonic()
        yield
        self._look()
        self.steps.append(Step(name, time.monotonic() - started, *self._most))

    def _look(self) -> None:
        lines = Path("/proc/self/status").read_text().splitlines()
        now = {name: int(line.split()[1]) * 1024 for line in lines for name in ("VmRSS", "RssAnon") if name in line}
        self._most = max(self._most[0], now["VmRSS"]), max(self._most[1], now["RssAnon"])


def make_checkpoint(folder: Path, config: XSamConfig, shard_bytes: int) -> None:
    """Random bfloat16 tensors of all released names, in shards with an index; one shard is in memory at a time."""
    folder.mkdir()
    layout = released_layout(config)
    where: dict[str, str] = {}
    shard: dict[str, torch.Tensor] = {}
    number = 0
    generator = torch.Generator().manual_seed(0)
    for name, shape in tqdm(layout.items(), desc="random tensors"):
        shard[name] = torch.empty(shape, dtype=torch.bfloat16).normal_(0, 0.02, generator=generator)
        full = sum(tensor.nbytes for tensor in shard.values()) >= shard_bytes
        if full or len(where) + len(shard) == len(layout):
            number += 1
            file = f"model-{number:05}.safetensors"
            save_file(shard, folder / file)
            where |= dict.fromkeys(shard, file)
            shard = {}
    index = {"metadata": {}, "weight_map": where}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")


def make_tokenizer(folder: Path, entries: int) -> None:
    """The shipped tokenizer with entries that no text contains, up to the wanted number."""
    folder.mkdir()
    shutil.copy(SHIPPED / "tiny" / "tokenizer_config.json", folder)
    raw = json.loads((SHIPPED / "tiny" / "tokenizer.json").read_text(encoding="utf-8"))
    pieces, added = raw["model"]["vocab"], raw["added_tokens"]
    own = len(pieces)
    missing = entries - max(own, *(token["id"] + 1 for token in added))
    pieces += [[f"unused-{number}", -99.0] for number in range(missing)]
    for token in added:
        token["id"] += missing if token["id"] >= own else 0  # chat tokens and X-SAM's stay the last ones
    (folder / "tokenizer.json").write_text(json.dumps(raw), encoding="utf-8")


def stage_make(folder: Path, watch: Watch, shard_bytes: int = 2 * 10**9) -> None:
    """A released checkpoint on disk."""
    config = XSamConfig.from_json((folder / CONFIG).read_text(encoding="utf-8"))
    with watch.step("make random weights"):
        make_checkpoint(folder / RELEASED, config, shard_bytes)
        make_tokenizer(folder / WORDS, int(config.language["vocab_size"]))


def stage_convert(folder: Path, watch: Watch) -> None:
    """Our folder of it."""
    config = XSamConfig.from_json((folder / CONFIG).read_text(encoding="utf-8"))
    with watch.step("convert"):
        convert(folder / RELEASED, folder / CONVERTED, config, folder / WORDS)


def stage_answer(folder: Path, watch: Watch, device: str = "auto", dtype: str = "auto") -> None:
    """Loaded and asked."""
    picture = np.random.default_rng(0).integers(0, 256, (*PICTURE_HW, 3), dtype=np.uint8)
    middle, elsewhere = Point(PICTURE_HW[1] / 2, PICTURE_HW[0] / 2), Point(100.0, 100.0)
    names = tuple(Category(name, name) for name in ("cat", "dog", "car", "tree", "house"))
    questions = {
        "first click": Prompt(Task.INTERACTIVE, (middle,)),
        "the same click": Prompt(Task.INTERACTIVE, (middle,)),
        "a click elsewhere": Prompt(Task.INTERACTIVE, (elsewhere,)),
        "a phrase": Prompt(Task.OPEN_VOCABULARY, categories=names[:1]),
        "5 labels": Prompt(Task.GENERIC, categories=names),
    }
    with watch.step("load"):
        predictor = load_predictor(str(folder / CONVERTED), device, dtype)
    with watch.step(f"look at a picture ({predictor.model.device}, {predictor.model.dtype})"):
        outputs = predictor.look(picture)
    with watch.step("state"):
        bare = predictor.state(picture, outputs)
    with watch.step("prefix"):
        state = bare.with_prefix(predictor.prefix(bare))
    for name, prompt in questions.items():
        with watch.step(name):
            predictor.answer(state, prompt)
    whole, without = state.nbytes / 2**20, bare.nbytes / 2**20
    print(f"one picture's state: {whole:.0f} MiB, {whole - without:.0f} of it the prefix", file=sys.stderr)


def stage_learn(folder: Path, watch: Watch, device: str = "auto") -> None:
    """One step of a fine-tuning, as the service's worker takes it, on a few drawn scenes."""
    places = replace(places_below(folder / "project"), model=str(folder / CONVERTED), device=device, four_bits=True)
    truths = [record.load() for record in open_dataset("scenes", limit=LEARNED).records]
    drawn = [Drawn.written(folder / f"{number}.png", truth) for number, truth in enumerate(truths)]
    accept(places, drawn, label_config(sorted({name for truth in truths for name in truth.names})))
    with watch.step("load, the language model in four bits"):
        base = Base.load(places)
    snapshot = fixed_plan(str(KEY), places, base.version).learned(VERSION)
    config = recipe(
        folder / "run",
        snapshot,
        str(base.folder),
        # Tiny's answers teach the same as its own would, and are had at once, also without a GPU.
        photographs=answered_photographs(load_predictor("tiny", "cpu"), folder),
        steps=1,
        parameters=base.parameters,
        float32=base.is_float32,
        seed=0,
    )
    with watch.step("one step of fine-tuning (4 pictures)"):
        trained(base, config, snapshot)


STAGES: dict[str, Callable[..., None]] = {
    "make": stage_make,
    "convert": stage_convert,
    "answer": stage_answer,
    "learn": stage_learn,
}


def needed_bytes(config: XSamConfig) -> int:
    """Disk for the checkpoint and its conversion, in bfloat16."""
    return 2 * 2 * sum(map(prod, released_layout(config).values()))


def run_apart(stage: str, folder: Path, device: str, dtype: str) -> list[Step]:
    """A stage in a process of its own."""
    report = folder / f"{stage}.json"
    options = ["--folder", folder, "--stage", stage, "--report", report, "--device", device, "--dtype", dtype]
    subprocess.run([sys.executable, "-m", "benchmarks.full_size", *map(str, options)], check=True)
    return [Step(**step) for step in json.loads(report.read_text(encoding="utf-8"))]


@click.command()
@click.option("--folder", type=click.Path(path_type=Path), required=True, help="Where files are made, and removed.")
@click.option("--variant", default="phi3", show_default=True, help="Sizes: a name, or a config.json.")
@click.option("--device", default="auto", show_default=True)
@click.option("--dtype", default="auto", show_default=True)
@click.option("--keep", is_flag=True, help="Leave the files.")
@click.option("--without-learning", is_flag=True, help="End after the answers.")
@click.option("--stage", type=click.Choice(list(STAGES)), hidden=True)
@click.option("--report", type=click.Path(path_type=Path), hidden=True)
def main(
    folder: Path,
    variant: str,
    device: str,
    dtype: str,
    keep: bool,
    without_learning: bool,
    stage: str | None,
    report: Path | None,
) -> None:
    """Measure time and peak memory of each stage."""
    if stage is not None and report is not None:
        watch = Watch()
        with watch.watching():
            on = {"answer": {"device": device, "dtype": dtype}, "learn": {"device": device}}
            STAGES[stage](folder, watch, **on.get(stage, {}))
        report.write_text(json.dumps([asdict(step) for step in watch.steps]), encoding="utf-8")
        return
    path = Path(variant)
    config = XSamConfig.from_json(path.read_text("utf-8")) if path.is_file() else XSamConfig.variant(variant)
    if folder.exists():  # in the end it's removed
        raise click.ClickException(f"{folder} is there already: name a new one")
    folder.mkdir(parents=True)
    needed, free = needed_bytes(config), shutil.disk_usage(folder).free
    if needed * 1.05 > free:
        folder.rmdir()
        raise click.ClickException(f"{needed / 1e9:.1f} GB needed, {free / 1e9:.1f} GB free at {folder}: make room")
    (folder / CONFIG).write_text(config.to_json(), encoding="utf-8")
    table = Table("stage", "seconds", "peak resident GB", "of it no mapped file GB")
    try:
        for name in list(STAGES)[: -1 if without_learning else None]:
            for step in run_apart(name, folder, device, dtype):
                gigabytes = (f"{value / 1e9:.2f}" for value in (step.resident, step.anonymous))
                table.add_row(step.name, f"{step.seconds:.1f}", *gigabytes)
    finally:
        if not keep:
            shutil.rmtree(folder)
    Console().print(table)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    click.echo(f"{config.name}, {needed / 4e9:.2f} G numbers; {os.cpu_count()} cores, {memory:.0f} GB memory")


if __name__ == "__main__":
    main()
