"""What the click refiner adds to the kernel's step: clicks needed, masks that were good already, milliseconds.

python -m benchmarks.further_clicks RUN

RUN is the folder of an `xsam-backend train-clicks`: asked are the pictures that it set aside to measure on. Each
object is corrected twice, by kernels alone and with the shipped refiner: from the model's own first answer, and
from a mask whose rim is off a little here and there, as a better model's is.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import click
import numpy as np

from xsam_backend.evaluation.correction import MOST_CLICKS, TARGET_IOUS, clicks_needed
from xsam_backend.model.click_refiner import ClickRefiner, shipped_refiner
from xsam_backend.training.clicks.first_answers import FirstAnswer, load_answers
from xsam_backend.training.clicks.simulated import begun, nearly_right
from xsam_backend.training.clicks.training import traces
from xsam_backend.training.tiny import TUNING_EVERY

SEED = 0
GOOD = 0.8
"""IoU on cells of a mask that counts as good at the beginning."""

WORSE = 0.01
TIMED = 40


def set_aside(run: Path) -> list[FirstAnswer]:
    """First answers to a click in the middle, of every tenth picture of each folder.

    Raises:
        click.ClickException: there are none.
    """
    folders = sorted(folder for folder in run.glob("answers-*/*") if folder.is_dir())
    paths = [path for folder in folders for path in sorted(folder.glob("*.safetensors"))[::TUNING_EVERY]]
    found = [answer for path in paths for answer in load_answers(path)[::2]]
    if not found:
        raise click.ClickException(f"{run} has no first answers: run xsam-backend train-clicks with --run {run}")
    return found


def with_good_masks(answers: Sequence[FirstAnswer]) -> list[FirstAnswer]:
    """The same objects, beginning nearly right; those that do."""
    rng = np.random.default_rng(SEED)
    nearly = [
        replace(one, log_odds=nearly_right(one.truth, one.log_odds.shape, rng).astype(np.float16)) for one in answers
    ]
    return [one for one in nearly if begun(one).iou > GOOD]


def milliseconds(refiner: ClickRefiner | None, answers: Sequence[FirstAnswer]) -> float:
    """Median of one further click's correction, the view and the network included."""
    took = []
    for answer in answers[:TIMED]:
        simulated = begun(answer)
        begin = time.perf_counter()
        if simulated.click() and refiner is not None:
            simulated.correction.refine(refiner)
        took.append((time.perf_counter() - begin) * 1000)
    return float(np.median(took))


@click.command(help=__doc__)
@click.argument("run", type=click.Path(exists=True, file_okay=False, path_type=Path))
def main(run: Path) -> None:
    """See the module's words."""
    answers = set_aside(run)
    good = with_good_masks(answers)
    refiner = shipped_refiner()
    for name, one in (("kernels alone", ClickRefiner().eval()), ("refined", refiner)):
        needed = traces(one, answers, MOST_CLICKS, TARGET_IOUS[-1])
        means = {iou: np.mean([clicks_needed(trace, iou) or MOST_CLICKS for trace in needed]) for iou in TARGET_IOUS}
        begins, after = np.array([(*trace, trace[0])[:2] for trace in traces(one, good, 2, 1.0)]).T
        click.echo(
            f"{name}: {len(answers)} objects, "
            + ", ".join(f"{mean:.2f} clicks to {iou:.0%}" for iou, mean in means.items())
            + f"; {len(good)} good masks {begins.mean():.3f} -> {after.mean():.3f} after one click, "
            f"worse {np.mean(after < begins - WORSE):.1%}"
        )
    for name, timed in (("kernels alone", None), ("refined", refiner)):
        click.echo(f"{name}: {milliseconds(timed, answers):.1f} ms a click")


if __name__ == "__main__":
    main()
