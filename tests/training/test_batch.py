"""Several pictures and questions in one pass: the numbers of each alone, finite whatever is missing."""

import numpy as np
import pytest
import torch
from small_models import SIDE, small_config, small_model, tokenizer

from xsam_backend.errors import PromptError
from xsam_backend.model.chat_templates import CHAT_TEMPLATES
from xsam_backend.model.conversation import tokenize
from xsam_backend.model.image_processor import ImageProcessorConfig
from xsam_backend.model.turns import (
    conversation_turn,
    gcg_turn,
    generic_turn,
    interactive_turn,
    reasoning_turn,
    referring_turn,
    vgd_turn,
)
from xsam_backend.model.xsam import XSam
from xsam_backend.prompts import Task
from xsam_backend.training.batch import AskedPicture, _layout, batch_losses, prepare
from xsam_backend.training.losses import RandomPoints
from xsam_backend.training.questions import Question

SIZE = (40, 64)


def half(left: bool) -> np.ndarray:
    mask = np.zeros(SIZE, bool)
    mask[:, :32] = left
    mask[:, 32:] = not left
    return mask


LEFT, RIGHT = half(True), half(False)
QUESTIONS = {
    "generic": Question(Task.GENERIC, generic_turn(["ball", "dog", "sky"]), (), ((LEFT, 0), (RIGHT, 2))),
    "phrase": Question(Task.REFERRING, referring_turn("the ball"), (), ((LEFT, 0),)),
    "other phrase": Question(Task.REFERRING, referring_turn("the blue dog"), (), ((RIGHT, 0),)),
    "absent phrase": Question(Task.REFERRING, referring_turn("a cow")),
    "reasoning": Question(Task.REASONING, reasoning_turn("What can roll?"), (), ((LEFT, 0),)),
    "region": Question(Task.INTERACTIVE, interactive_turn(), (LEFT,), ((LEFT, 0),)),
    "regions": Question(Task.VGD, vgd_turn(2), (LEFT, RIGHT), ((LEFT, 0), (RIGHT, 1))),
    "caption": Question(Task.GCG, gcg_turn("A ball and a dog.", [(2, 6), (13, 16)]), (), ((LEFT, 0), (RIGHT, 1))),
    "talk": Question(Task.CONVERSATION, conversation_turn("What is it?", "A ball.")),
}


def picture(*names: str, seed: int = 0) -> AskedPicture:
    config = small_config()
    questions = [QUESTIONS[name] for name in names]
    conversations = [
        tokenize([question.turn], tokenizer(), CHAT_TEMPLATES[config.chat_template], with_answer=True)
        for question in questions
    ]
    image = np.random.default_rng(seed).integers(0, 256, (*SIZE, 3), dtype=np.uint8)
    processor = ImageProcessorConfig.of_model(config, pad_to_square=False)
    generator = torch.Generator().manual_seed(seed)
    return prepare(image, questions, conversations, processor, config.region_points, generator)


def losses(model: XSam, *pictures: AskedPicture) -> dict[str, torch.Tensor]:
    return batch_losses(model, pictures, RandomPoints(torch.device("cpu"), torch.Generator().manual_seed(0)))


@pytest.fixture(scope="module")
def model() -> XSam:
    return small_model()


def test_prepared_shapes() -> None:
    asked = picture(*QUESTIONS)
    assert asked.segmentor_pixels.shape == asked.vision_pixels.shape == (3, SIDE, SIDE)
    assert asked.tasks == tuple(question.task for question in QUESTIONS.values())
    assert [len(points) for points in asked.points] == [0, 0, 0, 0, 0, 1, 2, 0, 0]
    assert [len(target.classes) for target in asked.targets] == [2, 1, 1, 0, 1, 1, 2, 2, 0]
    assert {target.masks.shape[1:] for target in asked.targets} == {(SIDE, SIDE)}
    masks = asked.targets[0].masks
    assert masks[0, :, :32].sum() == 40 * 32, "at the top left of the padded frame"
    assert masks[:, 40:].sum() == 0


def test_a_target_that_the_frame_cannot_show_is_none() -> None:
    """A pixel-wide thing in a much larger picture vanishes when it is framed."""
    thin = np.zeros((640, 640), bool)
    thin[:, 3] = True
    question = Question(Task.REFERRING, referring_turn("a hair"), (), ((thin, 0),))
    config = small_config()
    tokens = tokenize([question.turn], tokenizer(), CHAT_TEMPLATES[config.chat_template], with_answer=True)
    asked = prepare(
        np.zeros((640, 640, 3), np.uint8),
        [question],
        [tokens],
        ImageProcessorConfig.of_model(config),
        8,
        torch.Generator(),
    )
    assert len(asked.targets[0].classes) == len(asked.targets[0].masks) == 0


def test_a_region_without_pixels_is_refused() -> None:
    config = small_config()
    question = Question(Task.INTERACTIVE, interactive_turn(), (np.zeros(SIZE, bool),))
    with pytest.raises(PromptError, match="region 0"):
        prepare(
            np.zeros((*SIZE, 3), np.uint8),
            [question],
            [],
            ImageProcessorConfig.of_model(config),
            8,
            torch.Generator(),
        )


@pytest.mark.parametrize(
    "names",
    [
        tuple(QUESTIONS),
        ("talk",),  # nothing to segment at all
        ("talk", "talk"),
        ("absent phrase",),  # nothing to find
        ("absent phrase", "talk", "phrase"),
        ("regions",),
        ("caption", "generic"),
    ],
    ids="+".join,
)
def test_terms_and_gradients_are_finite(names: tuple[str, ...]) -> None:
    model = small_model()
    ours = losses(model, picture(*names), picture(*names, seed=1))
    segments = any(QUESTIONS[name].task is not Task.CONVERSATION for name in names)
    terms = {"loss_llm"}
    if segments:
        layers = ["", "_0", "_1", "_2"]
        terms |= {f"loss_{kind}{layer}" for kind in ("cls", "mask", "dice") for layer in layers}
    assert set(ours) == terms
    assert all(torch.isfinite(term) for term in ours.values())
    torch.stack(list(ours.values())).sum().backward()
    gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    assert all(torch.isfinite(gradient).all() for gradient in gradients.values())
    assert any(gradient.any() for gradient in gradients.values())
    assert ("segmentor.decoder.queries_features.weight" in gradients) == segments


def test_everything_that_should_learn_does() -> None:
    """One batch with every task reaches every parameter."""
    model = small_model()
    torch.stack(list(losses(model, picture(*QUESTIONS)).values())).sum().backward()
    still = [name for name, p in model.named_parameters() if p.grad is None]
    assert still == []


def test_talk_does_not_change_what_is_segmented(model: XSam) -> None:
    alone, together = losses(model, picture("generic")), losses(model, picture("talk", "generic"))
    for name, term in alone.items():
        if name != "loss_llm":
            assert torch.allclose(together[name], term, atol=1e-4), name


@torch.no_grad()
def test_pictures_of_a_batch_do_not_see_each_other(model: XSam) -> None:
    """Mask terms are sums over all masks divided by their number, so a batch is the mean of its pictures."""
    one, other = picture("generic", "region"), picture("generic", "region", seed=1)
    generator = torch.Generator().manual_seed(0)

    class Fixed(RandomPoints):
        """The same places whatever is asked."""

        def _draw(self, *shape: int) -> torch.Tensor:
            return torch.rand(shape[-2:], generator=generator.manual_seed(7)).expand(shape)

    fixed = Fixed(torch.device("cpu"))
    both = batch_losses(model, [one, other], fixed)
    apart = [batch_losses(model, [asked], fixed) for asked in (one, other)]
    for name in both:
        if name.startswith(("loss_mask", "loss_dice")):
            assert float(both[name]) == pytest.approx(sum(float(part[name]) for part in apart) / 2, abs=1e-3), name


@torch.no_grad()
def test_phrases_compete_with_those_of_their_own_picture_only(model: XSam) -> None:
    """Loss of a phrase: the same beside another picture's phrases, another beside one of its own picture's."""
    alone = losses(model, picture("phrase"))
    beside = losses(model, picture("phrase"), picture("phrase"))
    rivalled = losses(model, picture("phrase", "other phrase"))
    assert float(beside["loss_cls"]) == pytest.approx(float(alone["loss_cls"]), abs=1e-3)
    assert float(rivalled["loss_cls"]) != pytest.approx(float(alone["loss_cls"]), abs=1e-3)


def test_one_table_for_lists_and_phrases() -> None:
    """A list of three, two phrases of one picture and one of another."""
    conditions = torch.arange(4.0)[:, None, None].expand(4, 3, 1) * 10 + torch.arange(3.0)[:, None]
    valid = torch.tensor([[True] * 3, [True, False, False], [True, False, False], [True, False, False]])
    by_phrase = torch.tensor([False, True, True, True])
    table, shown, shift = _layout(conditions, valid, by_phrase, torch.tensor([0, 0, 0, 1]))
    assert shift.tolist() == [0, 0, 1, 2]
    assert table[0, :, 0].tolist() == [0, 1, 2]
    assert shown[0].tolist() == [True, True, True]
    for entry, sees in ((1, [True, True, False]), (2, [True, True, False]), (3, [False, False, True])):
        assert table[entry, :, 0].tolist() == [10, 20, 30]
        assert shown[entry].tolist() == sees


def test_lists_alone_keep_their_table() -> None:
    conditions, valid = torch.randn(2, 3, 4), torch.ones(2, 3, dtype=torch.bool)
    table, shown, shift = _layout(conditions, valid, torch.zeros(2, dtype=torch.bool), torch.tensor([0, 1]))
    assert table is conditions
    assert shown is valid
    assert shift.tolist() == [0, 0]
