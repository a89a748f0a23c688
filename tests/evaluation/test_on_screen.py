from __future__ import annotations

import dataclasses
import io

from results_made import evaluation
from rich.console import Console

from xsam_backend.evaluation.report.on_screen import LEAST_WIDTH, Screen


def printed(**made: object) -> str:
    written = io.StringIO()
    screen = Screen(Console(file=written))
    screen.show(evaluation(**made))  # type: ignore[arg-type]
    screen.end(evaluation(**made))  # type: ignore[arg-type]
    return written.getvalue()


def test_numbers_stand_with_their_intervals_and_conditions() -> None:
    text = printed()
    first, *lines = text.splitlines()
    assert first == ("tiny-1234: 40 queries, seed 3; intervals hold 95% of 1000 bootstrap draws of pictures")
    assert "photos, split val: 49 pictures, 1 could not be read" in text
    assert "queries of the model: 40; score threshold: 0.30; rule: at random; nothing seen: –" in text
    (row,) = [line.split() for line in lines if line.strip().startswith("cat ") and "12" in line]
    assert row == ["cat", "12", "0.712", "4.30"]
    assert any(line.split() == ["0.65–0.77", "3.0–6.2"] for line in lines)
    assert "cat as dog: 2" in text
    assert "Class by class" not in text, "too long for a screen"
    assert max(map(len, text.splitlines())) <= LEAST_WIDTH


def test_names_are_no_markup() -> None:
    text = printed(name="[bold]cat[/bold]", dataset="[red]photos")
    assert "[bold]cat[/bold]" in text
    assert "[red]photos" in text


def test_a_stopped_run_says_so_at_the_end() -> None:
    assert printed(is_partial=True).rstrip().endswith("PARTIAL: stopped before all pictures were measured")
    assert "PARTIAL" not in printed()


def test_data_sets_are_shown_once_as_they_come() -> None:
    written = io.StringIO()
    screen = Screen(Console(file=written))
    first = evaluation(dataset="photos")
    both = dataclasses.replace(first, datasets=(*first.datasets, *evaluation(dataset="nuclei").datasets))
    screen.show(first)
    assert "nuclei" not in written.getvalue()
    screen.show(both)
    text = written.getvalue()
    assert text.count("tiny-1234: 40 queries") == 1
    assert text.count("photos, split val") == text.count("nuclei, split val") == 1
