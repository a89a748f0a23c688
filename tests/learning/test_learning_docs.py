"""``docs/learning.md`` says the numbers that the code has, and names commands that exist."""

import re
from pathlib import Path

import click
import pytest

from xsam_backend.cli import cli
from xsam_backend.learning import folds, gate, pruning, recipe, rehearsal, snapshot
from xsam_backend.learning.rehearsed_photographs import photographs

PAGE = (Path(__file__).parents[2] / "docs" / "learning.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("sentence", "number"),
    [
        (r"\| pictures that neither model has learned from, at least \| ([\d.]+) \|", gate.MIN_PICTURES),
        (r"above 0, and by at least \| ([\d.]+) \|", gate.LEAST_GAIN),
        (r"unless its interval reaches up to no loss \| ([\d.]+) \|", gate.PROJECT_MARGIN),
        (r"for certain \(its whole interval\) \| ([\d.]+) \|", gate.REHEARSAL_MARGIN),
        (r"against the deployed version or the base \| ([\d.]+) \|", gate.LARGEST_LOSS),
        (r"With fewer than (\d+) such pictures", gate.MIN_PICTURES),
        (r"From (\d+) pictures on, every fifth", folds.PINNED_FROM),
        (r"first fold has at least (\d+) pictures", folds.FIRST_TESTED),
        (r"with ([\d.]+) of the steps", recipe.FULL_RATE_SHARE),
        (r"the newest (\d+) each that the gate", pruning.KEEP),
        (r"(\d+) drawn scenes that no training sees", rehearsal.SCENES),
        (r"(\d+) % are the project's", 100 * recipe.SHARES[recipe.PROJECT]),
        (r"(\d+) % are drawn scenes", 100 * recipe.SHARES[recipe.SCENES]),
        (r"(\d+) % are\sphotographs", 100 * recipe.SHARES[recipe.PHOTOGRAPHS]),
    ],
)
def test_numbers(sentence: str, number: float) -> None:
    (found,) = re.findall(sentence, PAGE)
    assert float(found) == number


def test_numbers_in_words() -> None:
    assert folds.PINNED_EVERY == 5
    assert "every fifth picture" in PAGE
    assert folds.FOLDS == 2
    assert "in two folds" in PAGE
    assert recipe.SHARE_OF_THE_WAY == 0.5
    assert "go back half of the way" in PAGE
    assert len(photographs()) == 8
    assert "The eight\nof them" in PAGE
    weights = [f"{snapshot.EMPHASIS[origin]:.0f}" for origin in ("corrected", "drawn", "accepted")]
    assert "weights {}, {} and {}".format(*weights) in PAGE


def test_commands_exist() -> None:
    commands = re.findall(r"^    xsam-backend (\w+) (\w+)", PAGE, re.MULTILINE)
    assert len(commands) > 4
    for name, sub in commands:
        command = cli.get_command(click.Context(cli), name)
        assert isinstance(command, click.Group)
        assert command.get_command(click.Context(command), sub)
