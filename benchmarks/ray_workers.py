"""How much faster two workers on Ray pre-label a folder than one process does: the same pictures, by turns.

python -m benchmarks.ray_workers [--pictures 400] [--rounds 3] [--json FILE]

Needs ``pip install '.[ray]'`` and a core for each worker that has nothing else to do; each has one thread.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import click
from PIL import Image

from benchmarks.measured_prelabel import BLOCK
from benchmarks.report import Table, as_json
from xsam_backend.scenes.scene import draw_scene

WORKERS = (1, 2)
SIZE_HW = (480, 640)


@dataclass(frozen=True)
class Turn:
    """One run.

    Attributes:
        start_s: until all workers had their model, Python's start included.
        work_s: from then until the last file was written.
        pictures: of each worker.
    """

    start_s: float
    work_s: float
    pictures: tuple[int, ...]

    @property
    def rate(self) -> float:
        """Pictures a second, the start apart."""
        return sum(self.pictures) / self.work_s


def turn(pictures: Path, workers: int) -> Turn:
    """Pre-label the folder once."""
    with tempfile.TemporaryDirectory() as place:
        output, notes = Path(place) / "output", Path(place) / "notes"
        notes.mkdir()
        command = [sys.executable, "-m", "benchmarks.measured_prelabel", str(pictures), str(output), str(notes)]
        begun = time.time()
        subprocess.run([*command, str(workers)], check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
        noted = [[line.split() for line in path.read_text().splitlines()] for path in notes.iterdir()]
    ready = max(float(of_worker[0][0]) for of_worker in noted)
    done = max(float(of_worker[-1][0]) for of_worker in noted)
    return Turn(ready - begun, done - ready, tuple(sum(int(count) for _, count in of_worker) for of_worker in noted))


def tables(turns: dict[int, list[Turn]], pictures: int) -> list[Table]:
    """All turns, and what they come to."""
    columns = ("workers", "start, s", "work, s", "pictures a second", "pictures of each worker")
    every = tuple(
        (workers, one.start_s, one.work_s, one.rate, " + ".join(map(str, one.pictures)))
        for of_round in zip(*turns.values(), strict=True)
        for workers, one in zip(turns, of_round, strict=True)
    )
    middle = {workers: median(one.rate for one in found) for workers, found in turns.items()}
    alone = median(one.rate for one in turns[WORKERS[0]])
    in_short = tuple(
        (
            workers,
            median(one.start_s for one in found),
            middle[workers],
            min(one.rate for one in found),
            max(one.rate for one in found),
            middle[workers] / alone,
        )
        for workers, found in turns.items()
    )
    names = ("workers", "start, s", "pictures a second", "least", "most", "times one worker's")
    note = (
        f"{pictures} pictures of {SIZE_HW[1]} x {SIZE_HW[0]}, {BLOCK} a block, tiny, 5 labels, one thread each; "
        f"medians of {len(every) // len(WORKERS)} runs by turns. One worker is a process without Ray."
    )
    return [Table("Every run", columns, every), Table("Workers on Ray against one process", names, in_short, note)]


@click.command(help=__doc__)
@click.option("--pictures", type=click.IntRange(min=2 * BLOCK), default=400, show_default=True)
@click.option("--rounds", type=click.IntRange(min=1), default=3, show_default=True)
@click.option("--json", "json_path", type=click.Path(dir_okay=False, path_type=Path), help="Write them there, too.")
def main(pictures: int, rounds: int, json_path: Path | None) -> None:
    """See the module's words."""
    turns: dict[int, list[Turn]] = {workers: [] for workers in WORKERS}
    with tempfile.TemporaryDirectory() as place:
        for number in range(pictures):
            Image.fromarray(draw_scene(number, SIZE_HW).image).save(Path(place) / f"{number:05}.png")
        for number in range(rounds):
            for workers in WORKERS:
                turns[workers].append(turn(Path(place), workers))
                click.echo(f"round {number + 1} of {rounds}: {workers}: {turns[workers][-1]}", err=True)
    found = tables(turns, pictures)
    click.echo("\n\n".join(table.as_markdown() for table in found))
    if json_path is not None:
        json_path.write_text(as_json(found), encoding="utf-8")


if __name__ == "__main__":
    main()
