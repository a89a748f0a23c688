"""The yardstick of the "interactive" suite gives our own mask: else its ratio would compare two different answers."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
from small_models import noise_picture, small_predictor

from benchmarks import interactive, plain_path
from benchmarks.plain_path import compared, plain_click
from benchmarks.report import Table, as_json
from xsam_backend.geometry.masks import mask_iou
from xsam_backend.instances import Answer, Instances
from xsam_backend.prompts import Point, Prompt, Task

EVERYTHING = (np.ones((1, 40, 60), np.bool_), np.ones(1, np.float32), ("",))


@pytest.mark.parametrize("language", ["phi3", "qwen3"])
@pytest.mark.parametrize("encoders", ["shared", "released"])
def test_the_plain_path_gives_our_mask(language: str, encoders: str) -> None:
    predictor = small_predictor(language=language, encoders=encoders)
    picture = noise_picture(size_hw=(40, 60))
    for x, y in ((30.5, 20.5), (5.5, 30.5)):
        point = Point(x, y)
        ours = predictor.answer(predictor.encode(picture), Prompt(Task.INTERACTIVE, (point,))).instances.masks
        theirs = plain_click(predictor, picture, point).mask
        assert theirs.any()
        assert mask_iou(ours[0], theirs) > 0.99, "but for rounding"


def test_the_suite_measures_what_its_tables_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interactive, "predictor_of_size", lambda _size, _device: small_predictor())
    monkeypatch.setattr(interactive, "ROUNDS", {"small": 1})
    tables = interactive.suite(["small"], "cpu")
    assert all(len(row) == len(table.columns) for table in tables for row in table.rows)
    clicks, stages, _, phrases, modules, plain = tables
    (of_clicks,), (of_stages,), (of_phrases,), (of_plain,) = clicks.rows, stages.rows, phrases.rows, plain.rows
    assert of_clicks[1] == pytest.approx(sum(float(value) for value in of_stages[1:]))
    assert of_clicks[4] == pytest.approx(float(of_clicks[1]) / float(of_clicks[2]))
    assert of_phrases[3] == pytest.approx(float(of_phrases[2]) / float(of_phrases[1]))
    assert of_plain[1] == 5
    assert 0.99 < float(of_plain[5]) <= 1
    assert 0 < float(of_plain[6]) <= float(of_plain[7]) < 1
    assert float(of_plain[8]) < 0.01
    assert '"cores"' in as_json([clicks])
    for _, name, of_picture, cold_ms, warm_ms, calls, of_others in modules.rows[:-1]:
        if of_picture == "yes":
            assert (calls, of_others, warm_ms) == (0, 0, 0), name
            assert (float(cold_ms) > 0) == (name != "cells for further clicks")
        else:
            assert float(calls) > 0 or name == "further clicks"
            assert float(of_others) > 0, name


def test_masks_that_prove_nothing_are_refused() -> None:
    predictor, picture = small_predictor(), noise_picture(size_hw=(40, 60))
    places = [Point(30.5, 20.5)]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(predictor, "answer", lambda *_: Answer(Instances.of(*EVERYTHING)))
        with pytest.raises(ValueError, match=r"neither empty nor everything, got shares \[1.0\]"):
            compared("small", predictor, picture, predictor.encode(picture), places)
        patched.setattr(predictor, "answer", lambda *_: Answer(Instances.empty((40, 60))))
        with pytest.raises(ValueError, match=r"neither empty nor everything, got shares \[0.0\]"):
            compared("small", predictor, picture, predictor.encode(picture), places)


def test_unequal_answers_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    predictor, picture = small_predictor(), noise_picture(size_hw=(40, 60))
    state = predictor.encode(picture)
    plain = plain_click(predictor, picture, Point(5.5, 30.5))
    for other in (
        replace(plain, mask=~plain.mask),
        replace(plain, log_odds=plain.log_odds + 1),
    ):
        monkeypatch.setattr(plain_path, "plain_click", lambda *_, other=other: other)
        with pytest.raises(ValueError, match="expected equal answers"):
            compared("small", predictor, picture, state, [Point(5.5, 30.5)])
    monkeypatch.setattr(plain_path, "plain_click", lambda *_: plain)
    assert compared("small", predictor, picture, state, [Point(5.5, 30.5)])[1] == 1


def test_no_click_and_no_name_comes_twice() -> None:
    places = [prompt.regions for prompt in islice(interactive.elsewhere(), 100)]
    names = list(islice(interactive.other_names(), 200))
    assert len(set(places)) == 100
    assert len(set(names)) == 200
    assert interactive.CLICK.regions not in places
    assert not set(names) & {*interactive.NAMES, *(prompt.phrase for prompt in interactive.PHRASES)}


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
