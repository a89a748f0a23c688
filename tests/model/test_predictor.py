"""The door to the model, with random weights: what holds whatever the model has learned."""

import threading
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from small_models import noise_picture, small_model, small_predictor, tokenizer
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import PreTrainedTokenizerFast

from xsam_backend.errors import CheckpointError, ImageError, PromptError
from xsam_backend.geometry.masks import connected_parts
from xsam_backend.instances import Answer, Instances
from xsam_backend.model import dialogue, pointing, searching, wording
from xsam_backend.model import predictor as predictor_module
from xsam_backend.model.checkpoint import save_model
from xsam_backend.model.dialogue import Dialogue
from xsam_backend.model.folders import SHIPPED
from xsam_backend.model.generation import generate
from xsam_backend.model.image_state import ImageState
from xsam_backend.model.interactive_choice import Vote
from xsam_backend.model.phrase_choice import vote_on_phrases
from xsam_backend.model.pointing import CRUMB_SHARE
from xsam_backend.model.postprocess import phrase_masks
from xsam_backend.model.predictor import Predictor, load_predictor
from xsam_backend.model.turns import reasoning_turn, referring_turn, vgd_turn
from xsam_backend.model.unwanted_finds import without_unwanted
from xsam_backend.prompts import Box, Category, Form, MaskRegion, Point, Prompt, Region, Task
from xsam_backend.region_masks import region_mask

PICTURE = noise_picture()
SIZE = (48, 64)
CATEGORIES = (Category("red ball", "Ball"), Category("sky", "Sky", is_thing=False), Category("dog", "Dog"))
STROKE = MaskRegion(region_mask(Box(10, 10, 20, 4), SIZE))

PROMPTS = {
    "generic": Prompt(Task.GENERIC, categories=CATEGORIES, score_threshold=0.0),
    "open vocabulary": Prompt(Task.OPEN_VOCABULARY, categories=CATEGORIES[:1], score_threshold=0.0),
    "referring": Prompt(Task.REFERRING, phrase="the red ball", label="Ball", score_threshold=0.0),
    "reasoning": Prompt(Task.REASONING, phrase="What can roll away?", score_threshold=0.0),
    "vgd": Prompt(Task.VGD, (Box(5, 5, 20, 20), Point(40, 30)), (CATEGORIES[0], CATEGORIES[2]), score_threshold=0.0),
    "click": Prompt(Task.INTERACTIVE, (Point(30, 20),), label="Ball"),
    "two clicks": Prompt(Task.INTERACTIVE, (Point(30, 20), Point(33, 22))),
    "box and click": Prompt(Task.INTERACTIVE, (Box(4, 4, 40, 30), Point(20, 20)), label="Dog"),
    "stroke": Prompt(Task.INTERACTIVE, (STROKE,)),
    "negative click": Prompt(Task.INTERACTIVE, (Point(30, 20), Point(5, 40, positive=False))),
    "conversation": Prompt(Task.CONVERSATION, phrase="What is this?"),
    "caption": Prompt(Task.GCG),
}


@pytest.fixture(scope="module", params=["phi3", "qwen3"])
def predictor(request: pytest.FixtureRequest) -> Predictor:
    return small_predictor(language=request.param)


@pytest.fixture(scope="module")
def state(predictor: Predictor) -> ImageState:
    return predictor.encode(PICTURE)


@pytest.fixture(autouse=True)
def _few_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """Random weights seldom stop."""
    monkeypatch.setattr(wording, "MAX_NEW_TOKENS", 12)


def assert_same(ours: Answer, theirs: Answer) -> None:
    """Bit for bit."""
    assert np.array_equal(ours.instances.masks, theirs.instances.masks)
    assert np.array_equal(ours.instances.scores, theirs.instances.scores)
    assert ours.instances.labels == theirs.instances.labels
    assert (ours.text, ours.phrase_spans, ours.reason) == (theirs.text, theirs.phrase_spans, theirs.reason)


@pytest.mark.parametrize("name", PROMPTS)
def test_every_task_answers_in_the_pictures_size(predictor: Predictor, state: ImageState, name: str) -> None:
    prompt = PROMPTS[name]
    answer = predictor.answer(state, prompt)
    found = answer.instances
    assert found.masks.shape[1:] == SIZE
    assert found.masks.dtype == np.bool_
    assert len(found) or answer.reason or answer.text
    assert found.masks.any((1, 2)).all(), "no instance is empty"
    if prompt.task in (Task.GENERIC, Task.OPEN_VOCABULARY, Task.VGD):
        assert len(found) > 0
        assert set(found.labels) <= {category.label for category in prompt.categories}
        assert (np.diff(found.scores) <= 0).all(), "best first"
    elif prompt.task not in (Task.CONVERSATION, Task.GCG):
        assert len(found) <= 1
        assert set(found.labels) <= {prompt.label}


@pytest.mark.parametrize("name", PROMPTS)
def test_the_same_question_gets_the_same_answer(predictor: Predictor, state: ImageState, name: str) -> None:
    """To the bit, also from a state made anew and with other questions between."""
    first = predictor.answer(state, PROMPTS[name])
    predictor.answer(state, PROMPTS["vgd"])
    assert_same(predictor.answer(state, PROMPTS[name]), first)
    assert_same(predictor.answer(predictor.encode(PICTURE), PROMPTS[name]), first)


def test_prompts_asked_together_are_answered_like_each_alone(predictor: Predictor, state: ImageState) -> None:
    """More than fit into one pass, of different lengths, and every task between them."""
    clicks = [Prompt(Task.INTERACTIVE, (Point(6 * i + 3, 4 * i + 3),), label=f"{i}") for i in range(10)]
    phrases = [Prompt(Task.REFERRING, phrase=" ".join(["red"] * (i + 1)), score_threshold=0.0) for i in range(3)]
    prompts = [*clicks, *PROMPTS.values(), *phrases]
    together = predictor.answers(state, prompts)
    for ours, prompt in zip(together, prompts, strict=True):
        alone = predictor.answer(state, prompt)
        assert ours.instances.labels == alone.instances.labels
        assert (ours.text, ours.reason) == (alone.text, alone.reason)
        np.testing.assert_allclose(ours.instances.scores, alone.instances.scores, atol=1e-5)
        assert ours.instances.masks.shape == alone.instances.masks.shape
        assert (ours.instances.masks != alone.instances.masks).sum() <= 3, "but for pixels on the rim"
    assert predictor.answers(state, []) == []


def test_turns_asked_together_have_the_logits_of_each_alone(predictor: Predictor, state: ImageState) -> None:
    """Also those with fewer exemplars than their neighbours: the columns that fill up are left out."""
    shapes = torch.randn(6, predictor.model.language.width, generator=torch.Generator().manual_seed(0))
    asked = [(vgd_turn(count), shapes[:count]) for count in (1, 6, 3)]
    asked.append((referring_turn("the red ball behind the box"), None))
    together = predictor.dialogue.ask_together(state.encoded, asked)
    for (turn, regions), ours in zip(asked, together, strict=True):
        (alone,) = predictor.dialogue.ask(state.encoded, turn, regions)
        for logits, expected in zip(ours, alone, strict=True):
            torch.testing.assert_close(logits, expected, atol=1e-4, rtol=1e-4)


def test_answers_do_not_change_a_state(predictor: Predictor) -> None:
    state = predictor.encode(PICTURE)
    tensors = [*state.encoded.features.tensors, *state.encoded.prefix.tensors]
    before = [tensor.clone() for tensor in tensors]
    for prompt in PROMPTS.values():
        predictor.answer(state, prompt)
    assert all(torch.equal(was, now) for was, now in zip(before, tensors, strict=True))
    with pytest.raises(AttributeError):
        state.frame = None  # type: ignore[misc, assignment]
    with pytest.raises(ValueError, match="read-only"):
        state.pixels[0, 0] = 0


def test_a_state_keeps_its_picture_when_the_caller_reuses_the_array(predictor: Predictor) -> None:
    picture = noise_picture()
    state = predictor.encode(picture)
    picture[:] = 0
    assert np.array_equal(state.pixels, PICTURE)
    assert state.size_hw == SIZE
    assert state.nbytes > PICTURE.nbytes


def test_pictures_matter(predictor: Predictor, state: ImageState) -> None:
    """Else the tests of mixing would prove nothing."""
    other = predictor.encode(noise_picture(1))
    ours, theirs = (predictor.answer(s, PROMPTS["generic"]).instances for s in (state, other))
    assert not (ours.scores.shape == theirs.scores.shape and np.array_equal(ours.scores, theirs.scores))


def test_threads_with_their_own_pictures_never_mix(predictor: Predictor) -> None:
    names = ("generic", "click", "referring", "conversation")
    pictures = [noise_picture(seed, (40 + 8 * seed, 64)) for seed in range(3)]
    alone = [[predictor.answer(predictor.encode(picture), PROMPTS[n]) for n in names] for picture in pictures]
    together: list[list[Answer]] = [[] for _ in pictures]
    start = threading.Barrier(len(pictures))

    def work(index: int) -> None:
        start.wait()
        for _ in range(2):
            state = predictor.encode(pictures[index])
            together[index] += [predictor.answer(state, PROMPTS[name]) for name in names]

    threads = [threading.Thread(target=work, args=(index,)) for index in range(len(pictures))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for expected, answers in zip(alone, together, strict=True):
        assert len(answers) == 2 * len(names)
        for ours, theirs in zip(answers, expected * 2, strict=True):
            assert_same(ours, theirs)


def click_answer(predictor: Predictor, state: ImageState, regions: Sequence[Region]) -> NDArray[np.bool_]:
    instances = predictor.answer(state, Prompt(Task.INTERACTIVE, tuple(regions))).instances
    mask: NDArray[np.bool_] = instances.masks.any(0)
    return mask


@pytest.mark.parametrize("seed", range(4))
def test_a_click_answers_with_what_it_touches(seed: int) -> None:
    """Random weights see specks everywhere: none of them lies apart from the click."""
    predictor = small_predictor(seed)
    click = Point(30, 20)
    mask = click_answer(predictor, predictor.encode(noise_picture(seed)), [click])
    assert all((part & region_mask(click, SIZE)).any() for part in connected_parts(mask))


@pytest.mark.parametrize("seed", range(4))
def test_a_negative_click_removes_what_it_hits(seed: int) -> None:
    """Whatever the model thinks: the spot is not in the answer. One click after another, as annotators do."""
    predictor = small_predictor(seed)
    state = predictor.encode(noise_picture(seed))
    regions: list[Region] = [Point(30, 20)]
    mask = click_answer(predictor, state, regions)
    assert mask.any()
    for _ in range(3):
        rows, columns = np.nonzero(mask)
        if not len(rows):
            break
        middle = len(rows) // 2
        unwanted = Point(float(columns[middle]) + 0.5, float(rows[middle]) + 0.5, positive=False)
        regions.append(unwanted)
        mask = click_answer(predictor, state, regions)
        for point in regions[1:]:
            assert isinstance(point, Point)
            assert not mask[int(point.y_px), int(point.x_px)]


@pytest.mark.parametrize("task", [Task.GENERIC, Task.OPEN_VOCABULARY])
def test_a_list_of_names_is_cut_as_the_prompt_says(predictor: Predictor, state: ImageState, task: Task) -> None:
    """Small models are never sure: all that is proposed is asked for."""
    names = (Category("red ball", "Ball"), Category("sky", "Sky", is_thing=False), Category("orb", "Ball"))
    every = Prompt(task, categories=names, score_threshold=0.0)
    candidates = predictor.candidates(state, every)
    semantic = predictor.answer(state, replace(every, form=Form.SEMANTIC)).instances
    assert np.array_equal(semantic.masks, candidates.semantic().masks)
    assert (semantic.masks.sum(0) == 1).all()
    assert len(set(semantic.labels)) == len(semantic.labels) > 0
    panoptic = predictor.answer(state, replace(every, form=Form.PANOPTIC)).instances
    assert np.array_equal(panoptic.masks, candidates.segments().masks)
    assert (panoptic.masks.sum(0) <= 1).all()
    unsure = predictor.answer(state, replace(every, form=Form.SEMANTIC, score_threshold=1.0))
    assert unsure.reason == "nothing scored 1.00 or more"


BALLS = replace(CATEGORIES[0], typed="balls")
ORB = Category("orb", "Ball", typed="orb")
STRICT_DOG = replace(CATEGORIES[2], score_threshold=1.0, typed="Dog")


def test_each_typed_text_that_finds_nothing_is_named(
    predictor: Predictor, state: ImageState, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where others are found, and where two have one label."""

    def reason(categories: Sequence[Category], *found_by: str, form: Form = Form.OBJECTS) -> str:
        masks = np.ones((len(found_by), *SIZE), np.bool_)
        found = Instances.of(masks, np.ones(len(found_by), np.float32), ("Ball",) * len(found_by))
        monkeypatch.setattr(predictor_module, "_cut", lambda *_: replace(found, typed=found_by))
        return predictor.answer(state, Prompt(Task.OPEN_VOCABULARY, categories=tuple(categories), form=form)).reason

    assert reason([BALLS, ORB], "balls", "orb") == ""
    assert reason([BALLS, ORB], "orb") == "'balls': nothing else scored 0.30 or more"
    assert reason([BALLS, ORB]) == "'balls', 'orb': nothing scored 0.30 or more"
    both = "'balls': nothing else scored 0.30 or more; 'Dog': nothing else scored 1.00 or more"
    assert reason([BALLS, ORB, STRICT_DOG], "orb") == both
    assert reason([BALLS, replace(ORB, typed="balls")], "balls") == "", "one text may have several words"
    assert reason([BALLS, ORB], "", form=Form.SEMANTIC) == "", "areas of one label are one"
    assert reason([CATEGORIES[0], CATEGORIES[2]], "") == "", "nobody typed anything"


def test_what_is_found_says_which_text_asked_for_it(predictor: Predictor, state: ImageState) -> None:
    typed = tuple(replace(one, typed=f"the {one.phrase}") for one in CATEGORIES)
    prompt = Prompt(Task.OPEN_VOCABULARY, categories=typed, score_threshold=0.0)
    for form in (Form.OBJECTS, Form.PANOPTIC):
        found = predictor.answer(state, replace(prompt, form=form)).instances
        said = {one.label: one.typed for one in typed}
        assert found.typed == tuple(said[str(label)] for label in found.labels)
    assert set(predictor.answer(state, PROMPTS["generic"]).instances.typed) == {""}


def test_all_like_this_but_not_that_one(predictor: Predictor, state: ImageState) -> None:
    alike = replace(PROMPTS["vgd"], regions=(Point(40, 30),), categories=())
    every = predictor.answer(state, alike).instances
    row, column = np.unravel_index(every.masks.sum(0).argmax(), SIZE)
    regions = (Point(40, 30), Point(float(column) + 0.5, float(row) + 0.5, positive=False))
    fewer = predictor.answer(state, replace(alike, regions=regions))
    assert len(fewer.instances) < len(every)
    assert_same(fewer, without_unwanted(every, regions))


def test_the_rest_of_the_picture_is_the_background(
    predictor: Predictor, state: ImageState, monkeypatch: pytest.MonkeyPatch
) -> None:
    masks = np.zeros((2, *SIZE), np.bool_)
    masks[0, :10], masks[1, 20:30] = True, True
    found = Instances.of(masks, np.array([0.9, 0.6], np.float32), ("Ball", "Sky"))
    prompt = Prompt(Task.GENERIC, categories=CATEGORIES, form=Form.PANOPTIC, rest="Other")
    monkeypatch.setattr(predictor_module, "_cut", lambda *_: found)
    filled = predictor.answer(state, prompt).instances
    assert filled.labels == ("Ball", "Sky", "Other")
    assert np.array_equal(filled.masks[:2], masks)
    assert np.array_equal(filled.masks[2], ~masks.any(0))
    assert filled.scores.tolist() == pytest.approx([0.9, 0.6, 0.6])
    monkeypatch.setattr(predictor_module, "_cut", lambda *_: Instances.empty(SIZE))
    nothing = predictor.answer(state, prompt).instances
    assert not len(nothing), "where nothing is found, nobody knows that all is background"
    whole = Instances.of(np.ones((1, *SIZE), np.bool_), np.ones(1, np.float32), ("Sky",))
    monkeypatch.setattr(predictor_module, "_cut", lambda *_: whole)
    assert predictor.answer(state, prompt).instances.labels == ("Sky",), "nothing is left"


def cut_by_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything is the object; "not this" is a bar that cuts off a left part of 2 columns and a right one of 50."""
    parts = np.ones(SIZE, bool)
    parts[:, 2:14] = False
    monkeypatch.setattr(pointing, "vote", lambda *_, **__: Vote(torch.ones(16, 16), 0.5, 0.9))
    monkeypatch.setattr(pointing, "corrected", lambda *_: parts.copy())


@pytest.mark.parametrize(
    ("hints", "columns", "reason"),
    [
        ([Point(30, 20)], (14, 64), "2 of 50 columns are less than the share of a crumb"),
        ([Point(30, 20), Point(1, 20)], (0, 64), "somebody clicked on it"),
        ([MaskRegion(region_mask(Box(0, 10, 30, 4), SIZE))], (0, 64), "a stroke goes over it"),
        ([Box(0, 0, 64, 48)], (14, 64), "a box says how far the object goes, not what is part of it"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_negative_click_leaves_no_crumbs(
    hints: list[Region], columns: tuple[int, int], reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert 2 / 50 < CRUMB_SHARE < 10 / 50
    predictor = small_predictor(close_up_share=0.0)
    state = predictor.encode(PICTURE)
    cut_by_a_bar(monkeypatch)
    mask = click_answer(predictor, state, [*hints, Point(7, 20, positive=False)])
    expected = np.zeros(SIZE, bool)
    expected[:, slice(*columns)] = True
    expected[:, 2:14] = False
    assert np.array_equal(mask, expected), reason


def test_without_a_negative_click_nothing_is_a_crumb(monkeypatch: pytest.MonkeyPatch) -> None:
    """A box may hold several parts, whatever their size."""
    predictor = small_predictor(close_up_share=0.0)
    state = predictor.encode(PICTURE)
    parts = np.ones(SIZE, bool)
    parts[:, 2:14] = False
    monkeypatch.setattr(Vote, "mask", lambda *_: parts.copy())
    monkeypatch.setattr(pointing, "corrected", lambda *_: parts.copy())
    assert np.array_equal(click_answer(predictor, state, [Box(0, 0, 64, 48)]), parts)
    beside = Point(7, 20, positive=False)  # takes nothing away
    assert np.array_equal(click_answer(predictor, state, [Box(0, 0, 64, 48), beside]), parts)


@pytest.mark.parametrize(
    ("click", "parts"),
    [(Point(10, 24), 2), (Point(40, 24, positive=False), 2), (Point(24, 24, positive=False), 1)],
    ids=["it agrees", "it is beside the mask", "it takes something away"],
)
def test_only_a_negative_click_that_hits_leaves_crumbs(
    click: Point, parts: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A box holds a large part and, four columns from its right side, a small one."""
    predictor = small_predictor(close_up_share=0.0)
    mean = torch.full((16, 16), 0.05)
    mean[:, :8] = mean[6, 14] = 0.95
    monkeypatch.setattr(pointing, "vote", lambda *_, **__: Vote(mean, 0.5, 0.9))
    mask = click_answer(predictor, predictor.encode(PICTURE), [Box(0, 0, 64, 48), click])
    assert len(connected_parts(mask)) == parts


def test_a_negative_click_elsewhere_takes_nothing_away(predictor: Predictor, state: ImageState) -> None:
    """It is right already."""
    mask = click_answer(predictor, state, [Point(30, 20)])
    away = np.argwhere(~mask)
    assert len(away), "the mask leaves no pixel out"
    row, column = away[0]
    ours = click_answer(predictor, state, [Point(30, 20), Point(column + 0.5, row + 0.5, positive=False)])
    assert not ours[row, column]
    assert ours[20, 30]


@pytest.mark.parametrize(
    "box", [Box(4, 4, 40, 30), Box(20, 5, 6, 40), Box(30, 10, 25, 14, rotation_deg=30), Box(-10, -10, 40, 30)]
)
def test_box_answers_stay_inside_the_box(predictor: Predictor, state: ImageState, box: Box) -> None:
    mask = click_answer(predictor, state, [box])
    assert not (mask & ~region_mask(box, SIZE)).any()


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_close_ups_answer_in_the_whole_picture(share: float) -> None:
    """A small box is looked at enlarged; the answer is where the box is."""
    predictor = small_predictor(close_up_share=share)
    state = predictor.encode(PICTURE)
    box = Box(40, 20, 12, 9)
    answers = [click_answer(predictor, state, [box, Point(60, 40, positive=False)]) for _ in range(2)]
    assert np.array_equal(*answers)
    assert answers[0].shape == SIZE
    assert not (answers[0] & ~region_mask(box, SIZE)).any()
    click = predictor.answer(state, Prompt(Task.INTERACTIVE, (Point(62, 46),)))
    assert click.instances.size_hw == SIZE


def test_long_lists_of_categories_are_asked_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    predictor = small_predictor()
    state = predictor.encode(PICTURE)
    categories = [Category(f"thing number {i}", f"T{i}") for i in range(60)]
    asked = []
    build = dialogue.generic_turn

    def spy(names: Sequence[str]):
        asked.append(list(names))
        return build(names)

    ask = Dialogue.ask
    lists = []

    def spy_on_passes(self: Dialogue, *args):
        lists.append(asked[-1])
        return ask(self, *args)

    monkeypatch.setattr(dialogue, "generic_turn", spy)
    monkeypatch.setattr(searching, "generic_turn", spy)
    monkeypatch.setattr(Dialogue, "ask", spy_on_passes)
    answer = predictor.answer(state, Prompt(Task.GENERIC, categories=tuple(categories), score_threshold=0.0))
    assert len(lists) > 1
    assert [name for names in lists for name in names] == [category.phrase for category in categories]
    assert set(answer.instances.labels) <= {category.label for category in categories}
    assert (np.diff(answer.instances.scores) <= 0).all()
    monkeypatch.undo()
    together = [
        predictor.answer(
            state,
            Prompt(Task.GENERIC, categories=tuple(c for c in categories if c.phrase in names), score_threshold=0.0),
        ).instances
        for names in lists
    ]
    scores = np.concatenate([instances.scores for instances in together])
    assert np.array_equal(np.sort(scores), np.sort(answer.instances.scores))


def test_stuff_comes_once_and_disjoint(predictor: Predictor, state: ImageState) -> None:
    stuff = tuple(Category(name, name, is_thing=False) for name in ("sky", "grass", "water"))
    for threshold in (0.0, 0.9):
        found = predictor.answer(state, Prompt(Task.GENERIC, categories=stuff, score_threshold=threshold)).instances
        assert len(set(found.labels)) == len(found)
        assert (found.masks.sum(0) <= 1).all()
        assert (found.scores >= threshold).all()


@pytest.mark.parametrize("name", ["generic", "referring", "vgd", "click"])
def test_thresholds_leave_out_and_say_why(predictor: Predictor, state: ImageState, name: str) -> None:
    prompt = PROMPTS[name]
    high = Prompt(prompt.task, prompt.regions, prompt.categories, prompt.phrase, prompt.label, score_threshold=1.0)
    answer = predictor.answer(state, high)
    assert len(answer.instances) == 0
    assert "1.00" in answer.reason


@pytest.mark.parametrize("task", [Task.REFERRING, Task.REASONING])
def test_phrases_follow_the_models_own_rule(task: Task) -> None:
    """A model may let its queries vote, and refuse below a threshold of its own."""
    prompt = Prompt(task, phrase="the red ball", score_threshold=0.0)
    alone, voting = small_predictor(), small_predictor(phrase_sharpness=2.0)
    state = alone.encode(PICTURE)
    turn = referring_turn if task is Task.REFERRING else reasoning_turn
    (logits,) = alone.dialogue.ask(state.encoded, turn("the red ball"))
    for predictor, expected in (
        (alone, phrase_masks(*logits, state.frame)),
        (voting, vote_on_phrases(*logits, state.frame, 2.0)),
    ):
        answer = predictor.answer(predictor.encode(PICTURE), prompt).instances
        assert np.array_equal(answer.masks, expected.masks.numpy()[expected.masks.numpy().any((1, 2))])
    score = float(vote_on_phrases(*logits, state.frame, 2.0).scores[0])
    for threshold, found in ((score - 0.01, True), (score + 0.01, False)):
        strict = small_predictor(phrase_sharpness=2.0, phrase_threshold=threshold)
        assert strict.threshold(task) == threshold
        answer = strict.answer(strict.encode(PICTURE), Prompt(task, phrase="the red ball"))
        assert bool(len(answer.instances)) is found, answer.reason


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        (Prompt(Task.INTERACTIVE, (Point(200, 20),)), "a region inside the picture of 64 x 48 px"),
        (Prompt(Task.INTERACTIVE, (Box(-30, -30, 10, 10),)), "a region inside the picture"),
        (Prompt(Task.VGD, (Point(5, 5), Box(70, 10, 5, 5))), "a region inside the picture"),
        (Prompt(Task.INTERACTIVE, (MaskRegion(np.ones((3, 3), bool)),)), "a region that can't be drawn"),
        (Prompt(Task.REFERRING, phrase="<SEG>"), "expected words"),
        (Prompt(Task.REFERRING, phrase="a very red ball " * 100), "the model reads at most 256 tokens"),
        (Prompt(Task.CONVERSATION, phrase="why " * 300), "the model reads at most 256 tokens"),
        (Prompt(Task.GENERIC, categories=(Category("word " * 300, "W"),)), "is longer than the model reads"),
    ],
)
def test_questions_that_cannot_be_asked(predictor: Predictor, state: ImageState, prompt: Prompt, words: str) -> None:
    with pytest.raises(PromptError, match=words):
        predictor.answer(state, prompt)


def test_a_question_that_leaves_no_room_for_an_answer() -> None:
    predictor = small_predictor()
    state = predictor.encode(PICTURE)
    prompt = Prompt(Task.CONVERSATION, phrase="why")
    model = small_model(max_text_tokens=8)
    tight = Predictor(model, tokenizer(), "tight")
    with pytest.raises(PromptError, match=r"reads at most|leaves the model none"):
        tight.answer(tight.encode(PICTURE), prompt)
    assert predictor.answer(state, prompt).text is not None


def test_something_that_is_no_picture(predictor: Predictor) -> None:
    with pytest.raises(ImageError, match="RGB"):
        predictor.encode(np.zeros((10, 10), np.uint8))


@pytest.mark.parametrize("size", [(1, 1), (1, 200), (200, 1), (333, 51)])
def test_pictures_of_any_shape(size: tuple[int, int]) -> None:
    predictor = small_predictor()
    state = predictor.encode(noise_picture(0, size))
    for name in ("generic", "referring"):
        assert predictor.answer(state, PROMPTS[name]).instances.masks.shape[1:] == size
    centre = Point(size[1] / 2, size[0] / 2)
    assert predictor.answer(state, Prompt(Task.INTERACTIVE, (centre,))).instances.masks.shape[1:] == size


def written(predictor: Predictor, monkeypatch: pytest.MonkeyPatch, text: str) -> Answer:
    """The answer if the model wrote this."""
    ids = predictor.tokenizer.encode(text, add_special_tokens=False)
    monkeypatch.setattr(wording, "generate", partial(generate, forced=tuple(ids)))
    return predictor.answer(predictor.encode(PICTURE), Prompt(Task.GCG))


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ("A <p>dog</p> and a <p>red ball</p> . It is <SEG>.<|end|>", ("dog", "red ball")),
        ("A <p>dog</p> . <SEG>. <p>", ("dog",)),  # a tag that is never closed
        ("</p> A <p>dog</p> and <p>red ball</p> . <SEG>.<|end|>", None),  # tags out of step
        ("</p> A <p>dog and <p>ball</p> . <SEG>.<|end|>", None),
        ("A <p></p> dog. <SEG>.<|end|>", None),
    ],
)
def test_captions_with_tags_of_all_kinds(
    monkeypatch: pytest.MonkeyPatch, text: str, labels: tuple[str, ...] | None
) -> None:
    """Whatever is generated, phrases and masks belong together; broken tags give fewer of them, not an error."""
    answer = written(small_predictor(), monkeypatch, text)
    assert "<" not in answer.text
    assert len(answer.phrase_spans) == len(answer.instances)
    assert answer.instances.labels == tuple(answer.text[start:end] for start, end in answer.phrase_spans)
    if labels is not None:
        assert set(answer.instances.labels) <= set(labels)
        assert len(answer.instances) > 0


@pytest.mark.parametrize(
    "text",
    [
        "A <p>dog</p> .<|end|>",
        "A <p>dog</p> . <SEG> <SEG>.<|end|>",
        "A dog. <SEG>.<|end|>",
        "A <p>dog</p> . <SEG>",  # the last token is never read by the model
    ],
)
def test_captions_that_segment_nothing_say_so(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    answer = written(small_predictor(), monkeypatch, text)
    assert len(answer.instances) == 0
    assert answer.reason
    assert answer.text.startswith("A dog")


def test_captions_leave_out_masks_below_the_threshold(monkeypatch: pytest.MonkeyPatch) -> None:
    predictor = small_predictor()
    text = "A <p>dog</p> and a <p>red ball</p> . It is <SEG>.<|end|>"
    scores = written(predictor, monkeypatch, text).instances.scores
    limit = float(scores.mean())
    above = predictor.answer(predictor.encode(PICTURE), Prompt(Task.GCG, score_threshold=limit)).instances
    assert above.scores.tolist() == [score for score in scores.tolist() if score >= limit]
    assert len(above) < len(scores)


def test_models_by_name_and_path(tmp_path) -> None:
    save_model(small_model(), tmp_path)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).write_bytes((SHIPPED / "tiny" / name).read_bytes())
    loaded = load_predictor(str(tmp_path), "cpu")
    assert loaded.model_version.startswith("small-")
    assert loaded.model.dtype == torch.float32
    answer = loaded.answer(loaded.encode(PICTURE), PROMPTS["click"])
    assert answer.instances.size_hw == SIZE
    with pytest.raises(CheckpointError, match="no model 'x-large'"):
        load_predictor("x-large")
    for device in ("banana", "cuda:99"):
        with pytest.raises(CheckpointError, match=f"device '{device}'"):
            load_predictor(str(tmp_path), device)


def test_a_tokenizer_without_the_special_tokens_is_refused() -> None:
    bare = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(WordLevel({"a": 0}, "a")))
    with pytest.raises(CheckpointError, match="lacks <SEG>, <p>, </p>"):
        Predictor(small_model(), bare, "bare")


def test_a_chat_template_of_another_tokenizer_is_refused() -> None:
    with pytest.raises(CheckpointError, match=r"the tokenizer lacks <\|im_end\|>"):
        small_predictor(chat_template="qwen3_instruct")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_a_gpu_answers_as_the_cpu_does() -> None:
    cpu = small_predictor()
    gpu = Predictor(small_model().to("cuda"), tokenizer(), "gpu")
    answers = [p.answer(p.encode(PICTURE), PROMPTS["referring"]).instances for p in (cpu, gpu)]
    assert answers[0].scores == pytest.approx(answers[1].scores, abs=1e-3)
    assert (answers[0].masks != answers[1].masks).mean() < 0.01
