"""Of all that encoding a picture runs, answering a question about it runs nothing again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from small_models import noise_picture, small_predictor

from xsam_backend.model import dialogue, kept_cells, picture_cells
from xsam_backend.model.predictor import Predictor
from xsam_backend.prompts import Box, Category, Point, Prompt, Task

PICTURE = noise_picture()
CLICK = Point(30, 20)
QUESTIONS = {
    "a click": Prompt(Task.INTERACTIVE, (CLICK,)),
    "a further click": Prompt(Task.INTERACTIVE, (CLICK, Point(10, 40, positive=False), Point(50, 8))),
    "a box": Prompt(Task.INTERACTIVE, (Box(5, 5, 30, 20),)),
    "a box and a negative click": Prompt(Task.INTERACTIVE, (Box(5, 5, 30, 20), Point(10, 10, positive=False))),
    "a phrase": Prompt(Task.REFERRING, phrase="the ball on the left"),
    "labels": Prompt(Task.GENERIC, categories=(Category("red ball", "Ball"), Category("dog", "Dog"))),
    "an example": Prompt(Task.VGD, (Box(5, 5, 20, 20),), score_threshold=0.0),
    "a wish for a caption": Prompt(Task.GCG),
}
IMAGE_ONLY = (
    "segmentor_encoder",
    "vision_encoder",
    "visual_projector",
    "seg_projector",
    "connector",
    "segmentor.pixel_decoder",
    "segmentor.decoder.position_embedder",
)
"""Modules among those that must run for a picture: else what is looked for could be nothing."""

Seen = dict[str, int]


@contextmanager
def watched(predictor: Predictor, monkeypatch: pytest.MonkeyPatch) -> Iterator[Seen]:
    """Calls in the block: of modules by name, and of the functions that work on a picture."""
    seen: Seen = {}

    def note(name: str) -> None:
        seen[name] = seen.get(name, 0) + 1

    handles = [
        module.register_forward_hook(lambda _module, _inputs, _output, name=name: note(name))
        for name, module in predictor.model.named_modules()
        if name
    ]
    with monkeypatch.context() as patched:
        for owner, attribute in (
            (predictor.model.segmentor, "features"),
            (predictor.model.language, "prefix"),
            (dialogue, "process_image"),
            (kept_cells, "comparable"),
            (picture_cells.PictureCells, "__init__"),
        ):
            work = getattr(owner, attribute)

            def noted(*args: Any, work: Any = work, name: str = f"{attribute}()", **kwargs: Any) -> Any:
                note(name)
                return work(*args, **kwargs)

            patched.setattr(owner, attribute, noted)
        yield seen
    for handle in handles:
        handle.remove()


@pytest.mark.parametrize("encoders", ["shared", "released"])
@pytest.mark.parametrize(
    "looks", [{}, {"close_up_share": 0.9}, {"closest_tiles": 3}], ids=lambda looks: str([*looks])
)
def test_a_warm_answer_runs_nothing_of_the_pictures_half(
    encoders: str, looks: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    predictor = small_predictor(encoders=encoders, refines_clicks=True, **looks)
    with watched(predictor, monkeypatch) as of_picture:
        state = predictor.encode(PICTURE, keeps_looks=True)
    assert set(IMAGE_ONLY) <= set(of_picture)
    assert {"features()", "prefix()", "process_image()"} <= set(of_picture)
    for prompt in QUESTIONS.values():  # closer looks are taken, cells for further clicks are made
        predictor.answer(state, prompt)
    assert state.cells.nbytes
    for question, prompt in QUESTIONS.items():
        with watched(predictor, monkeypatch) as of_answer:
            predictor.answer(state, prompt)
        again = {name for name in of_answer if name in of_picture and not name.startswith("language.")}
        assert not again, question
        assert not {"comparable()", "__init__()"} & set(of_answer), question
        assert of_answer["language.model.model.norm"] >= 1, "the question was read"


def test_the_language_model_reads_no_token_of_the_picture_again() -> None:
    predictor = small_predictor()
    state = predictor.encode(PICTURE)
    nearest: list[float] = []

    def compare(_layer: Any, inputs: tuple[torch.Tensor, ...]) -> None:
        nearest.append(float(torch.cdist(inputs[0], state.encoded.features.tokens).min()))

    layer = predictor.model.language.model.base_model.layers[0]
    handle = layer.register_forward_pre_hook(compare)
    predictor.prefix(state)
    assert nearest.pop() < 1e-4, "here it reads them"
    for question, prompt in QUESTIONS.items():
        predictor.answer(state, prompt)
        assert min(nearest) > 1e-2, question
    handle.remove()
    assert len(nearest) >= len(QUESTIONS)
