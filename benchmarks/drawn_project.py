"""A project of drawn scenes with labels that the model doesn't know, fine-tuned as often as it got more of them: what
the service's own page looks like, without pictures of others.

python -m benchmarks.drawn_project DATA_DIR
python -m benchmarks.home_screenshot DATA_DIR --output docs/home.png
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import click
import numpy as np

from benchmarks.learning import KEY, Drawn, accept, label_config, places_below
from xsam_backend.ground_truth import GroundTruth
from xsam_backend.scenes.scene import draw_scene

NAME_OF = {
    **dict.fromkeys(("car", "boat", "rocket"), "vehicle"),
    **dict.fromkeys(("tree", "flower", "mushroom", "leaf"), "plant"),
    **dict.fromkeys(("cup", "bottle", "umbrella", "hat", "lamp", "key"), "household"),
}
"""What the project calls things; it has nothing to do with others."""

FIRST_SEED = 1_700_000
"""Held out, and apart from the rehearsal's scenes."""


def drawn(folder: Path, seed: int) -> Drawn:
    """One scene of the project; the file is written."""
    whole = draw_scene(seed)
    mine = [index for index, name in enumerate(whole.names) if name in NAME_OF]
    names = tuple(NAME_OF[whole.names[index]] for index in mine)
    crowd = np.zeros(len(mine), np.bool_)
    truth = GroundTruth(whole.image, whole.masks[mine], names, ~crowd, crowd, source=f"scene {seed}")
    return Drawn.written(folder / f"{seed}.png", truth)


@click.command(help=__doc__)
@click.argument("data_dir", type=click.Path(file_okay=False, path_type=Path))
@click.option("--accept", "counts", default="12+12", show_default=True, help="So many more before each fine-tuning.")
def main(data_dir: Path, counts: str) -> None:
    """See the module's words."""
    pictures = data_dir / "scenes"
    pictures.mkdir(parents=True)
    places = places_below(data_dir)
    config = label_config(sorted(set(NAME_OF.values())))
    done = 0
    for count in (int(one) for one in counts.split("+")):
        accept(places, [drawn(pictures, FIRST_SEED + done + number) for number in range(count)], config, done + 1)
        done += count
        for command in (["start", str(KEY)], ["work", "--once"]):
            subprocess.run(
                [sys.executable, "-m", "xsam_backend", "jobs", *command, "--data-dir", str(data_dir)], check=True
            )


if __name__ == "__main__":
    main()
