"""Fuzz the parsers of outside data for some minutes each, and say what was found.

OMP_NUM_THREADS=1 python tests/fuzzing/fuzz.py --minutes 5 [--target "pictures"]

Hypothesis keeps what it found in ``.hypothesis/fuzzing`` and begins with it the next time. What broke something goes
into ``kept.json`` beside this file, smallest form, with the mend. ``--keep`` tries some hundred inputs of each target
instead, and puts those that lead to different places of the code into ``corpus.json``.
"""

from __future__ import annotations

import copy
import logging
import time
import traceback
import warnings
from typing import Any

import click
import corpus
from every_target import TARGETS
from hypothesis import HealthCheck, given, settings
from hypothesis import seed as seeded
from hypothesis.database import DirectoryBasedExampleDatabase
from targets import Target

AT_ONCE = 300

DRAWN = 200
"""For the corpus: each is run line by line, which takes ten times as long."""


def fuzz(target: Target, until: float, seed: int) -> tuple[int, list[str]]:
    """Executions, and a traceback for each round that found a bug."""
    count, found = 0, []
    while time.monotonic() < until and len(found) < 3:
        seed += 1

        @seeded(seed)
        @settings(
            max_examples=AT_ONCE,
            deadline=None,
            database=DirectoryBasedExampleDatabase(".hypothesis/fuzzing"),
            suppress_health_check=list(HealthCheck),
            print_blob=False,
        )
        @given(target.inputs)
        def once(value: object) -> None:
            nonlocal count
            count += 1
            target.try_one(value)

        try:
            once()
        except Exception:
            found.append(traceback.format_exc())
    return count, found


def drawn(target: Target, seed: int) -> list[Any]:
    """``DRAWN`` inputs."""
    inputs: list[Any] = []

    @seeded(seed)
    @settings(max_examples=DRAWN, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(target.inputs)
    def once(value: object) -> None:
        inputs.append(copy.deepcopy(value))

    once()
    return inputs


@click.command(help=__doc__)
@click.option("--minutes", default=1.0, show_default=True, help="For each target.")
@click.option("--target", "names", type=click.Choice(list(TARGETS)), multiple=True, default=list(TARGETS))
@click.option("--seed", default=0, show_default=True, help="Other numbers try other inputs.")
@click.option("--keep", is_flag=True, help="Renew corpus.json.")
def main(minutes: float, names: tuple[str, ...], seed: int, keep: bool) -> None:
    """See the module's words."""
    warnings.simplefilter("ignore")
    logging.disable()
    if keep:
        for name in names:
            kept = corpus.telling(TARGETS[name], [*corpus.load().get(name, ()), *drawn(TARGETS[name], seed)])
            corpus.save({name: kept})
            click.echo(f"{name}: {len(kept)} inputs")
        return
    failed = False
    for name in names:
        begun, busy = time.monotonic(), time.process_time()
        count, found = fuzz(TARGETS[name], begun + 60 * minutes, 1_000_000 * seed)
        took_s, busy_s = time.monotonic() - begun, time.process_time() - busy
        click.echo(
            f"{name}: {count:,} executions in {took_s:.0f} s ({busy_s:.0f} s of the processor), {len(found)} rounds "
            "with a bug"
        )
        for words in found:
            click.echo(words, err=True)
        failed = failed or bool(found)
    raise SystemExit(failed)


if __name__ == "__main__":
    main()
