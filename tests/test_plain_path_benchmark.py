"""The yardstick of the "interactive" suite gives our own mask: else its ratio would compare two different answers."""

from __future__ import annotations

import pytest
from small_models import noise_picture, small_predictor

from benchmarks import interactive
from benchmarks.plain_path import plain_click
from benchmarks.report import Table, as_json
from xsam_backend.geometry.masks import mask_iou
from xsam_backend.prompts import Point, Prompt, Task


@pytest.mark.parametrize("language", ["phi3", "qwen3"])
@pytest.mark.parametrize("encoders", ["shared", "released"])
def test_the_plain_path_gives_our_mask(language: str, encoders: str) -> None:
    predictor = small_predictor(language=language, encoders=encoders)
    picture = noise_picture(size_hw=(40, 60))
    for x, y in ((30.5, 20.5), (5.5, 30.5)):
        point = Point(x, y)
        ours = predictor.answer(predictor.encode(picture), Prompt(Task.INTERACTIVE, (point,))).instances.masks
        theirs = plain_click(predictor, picture, point)
        assert theirs.any()
        assert mask_iou(ours[0], theirs) > 0.99, "but for rounding"


def test_the_suite_measures_what_its_tables_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interactive, "predictor_of_size", lambda _size, _device: small_predictor())
    monkeypatch.setattr(interactive, "ROUNDS", {"small": 1})
    clicks, stages, phrases, plain = interactive.suite(["small"], "cpu")
    (of_clicks,), (of_stages,), (of_phrases,), (of_plain,) = clicks.rows, stages.rows, phrases.rows, plain.rows
    assert of_clicks[1] == pytest.approx(sum(float(value) for value in of_stages[1:]))
    assert of_clicks[3] == pytest.approx(float(of_clicks[1]) / float(of_clicks[2]))
    assert of_phrases[3] == pytest.approx(float(of_phrases[2]) / float(of_phrases[1]))
    assert float(of_plain[4]) <= 1
    assert '"cores"' in as_json([clicks])


def test_tables_are_markdown() -> None:
    table = Table("Title", ("name", "ms"), (("a", 1.23456), ("b", 12)), "Note.")
    assert table.as_markdown().splitlines() == [
        "Title",
        "",
        "| name | ms |",
        "| --- | --- |",
        "| a | 1.23 |",
        "| b | 12 |",
        "",
        "Note.",
    ]
