from __future__ import annotations

from typing import Any

import click
import pytest

from xsam_backend.cli.asking import Numbers, prompts_from
from xsam_backend.errors import PromptError
from xsam_backend.prompts import Box, Category, Point, Prompt, Task


def ask(**given: Any) -> list[Prompt]:
    nothing: dict[str, Any] = {"labels": (), "clicks": (), "not_clicks": (), "boxes": (), "text": None}
    return prompts_from(**{**nothing, "threshold": None, **given})


@pytest.mark.parametrize(
    ("given", "prompts"),
    [
        (
            {"labels": ("cat", "dog", "cat")},
            [Prompt(Task.GENERIC, categories=(Category("cat", "cat"), Category("dog", "dog")))],
        ),
        ({"text": "the red ball"}, [Prompt(Task.REFERRING, phrase="the red ball")]),
        (
            {"clicks": ((1.0, 2.0), (3.0, 4.0)), "not_clicks": ((5.0, 6.0),)},
            [Prompt(Task.INTERACTIVE, (Point(1, 2), Point(3, 4), Point(5, 6, positive=False)))],
        ),
        (
            {"boxes": ((10.0, 20.0, 5.0, 8.0),), "clicks": ((7.0, 9.0),), "labels": ("cat",)},
            [Prompt(Task.INTERACTIVE, (Box(5, 8, 5, 12), Point(7, 9)), label="cat")],
        ),
        (
            {"boxes": ((0.0, 0.0, 1.0, 1.0), (2.0, 2.0, 3.0, 3.0))},
            [Prompt(Task.INTERACTIVE, (Box(0, 0, 1, 1),)), Prompt(Task.INTERACTIVE, (Box(2, 2, 1, 1),))],
        ),
        ({"text": "ball", "threshold": 0.3}, [Prompt(Task.REFERRING, phrase="ball", score_threshold=0.3)]),
    ],
    ids=[
        "names, each once",
        "a phrase",
        "clicks are one object",
        "a box, any two corners, and a click inside",
        "two boxes are two objects",
        "a threshold",
    ],
)
def test_what_is_asked(given: dict[str, Any], prompts: list[Prompt]) -> None:
    assert ask(**given) == prompts


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, r"nothing asked: give --click"),
        ({"clicks": ((1.0, 1.0),), "text": "ball"}, r"got both"),
        ({"text": "ball", "labels": ("a", "b")}, r"expected one --label"),
        ({"boxes": ((0.0, 0.0, 1.0, 1.0),) * 2, "clicks": ((1.0, 1.0),)}, r"which one the clicks are about"),
        ({"not_clicks": ((1.0, 1.0),)}, r"needs a positive click"),
        ({"text": "  "}, r"needs a phrase"),
    ],
    ids=[
        "nothing",
        "click and phrase",
        "two names for one thing",
        "boxes and clicks",
        "only negative",
        "blank phrase",
    ],
)
def test_what_cannot_be_asked(given: dict[str, Any], said: str) -> None:
    with pytest.raises(PromptError, match=said):
        ask(**given)


@pytest.mark.parametrize("text", ["", "5", "1,2,3", "a,b", "nan,1", "inf,1", "1;2"])
def test_what_is_no_pair_of_numbers_is_misuse_with_an_example(text: str) -> None:
    with pytest.raises(click.BadParameter, match=r"expected X,Y in pixels, such as 10,20"):
        Numbers("X,Y").convert(text, None, None)


def test_numbers_may_have_decimals_and_signs() -> None:
    assert Numbers("X,Y").convert("1.5, -2", None, None) == (1.5, -2.0)
