"""Several pictures and questions in one pass: the numbers of each alone, finite whatever is missing."""

import numpy as np
import pytest
import torch
from small_models import SIDE, small_config, small_model, tokenizer

from xsam_backend.errors import PromptError
from xsam_backend.ground_truth import GroundTruth
from xsam_backend.model.chat_templates import CHAT_TEMPLATES
from xsam_backend.model.conversation import tokenize
from xsam_backend.model.image_processor import ImageProcessorConfig
from xsam_backend.model.segmentor import LEVELS
from xsam_backend.model.turns import (
    conversation_turn,
    gcg_turn,
    generic_turn,
    interactive_turn,
    reasoning_turn,
    referring_turn,
    vgd_turn,
)
from xsam_backend.model.xsam import Merged, XSam
from xsam_backend.prompts import Task
from xsam_backend.training.batch import (
    PLACE_WORDS,
    SEGMENT_STRIDE,
    AskedPicture,
    _states_and_looks,
    batch_losses,
    prepare,
)
from xsam_backend.training.grounding import Grounding
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

WORDS = {"ball": 0, "dog": 1, "red": 2}


def truth(image: np.ndarray) -> GroundTruth:
    """A red ball on the left, and something that no word of the list is about on the right."""
    masks = np.stack([LEFT, RIGHT]) if image.shape[:2] == SIZE else np.zeros((0, *image.shape[:2]), bool)
    count = len(masks)
    return GroundTruth(
        image=image,
        masks=masks,
        names=("ball", "sky")[:count],
        is_thing=np.ones(count, bool),
        is_crowd=np.zeros(count, bool),
        looks=("red striped", "")[:count],
    )


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
    return prepare(truth(image), questions, conversations, processor, config.region_points, generator, WORDS)


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
        truth(np.zeros((640, 640, 3), np.uint8)),
        [question],
        [tokens],
        ImageProcessorConfig.of_model(config),
        8,
        torch.Generator(),
        WORDS,
    )
    assert len(asked.targets[0].classes) == len(asked.targets[0].masks) == 0


def test_a_region_without_pixels_is_refused() -> None:
    config = small_config()
    question = Question(Task.INTERACTIVE, interactive_turn(), (np.zeros(SIZE, bool),))
    with pytest.raises(PromptError, match="region 0"):
        prepare(
            truth(np.zeros((*SIZE, 3), np.uint8)),
            [question],
            [],
            ImageProcessorConfig.of_model(config),
            8,
            torch.Generator(),
            WORDS,
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
def test_phrases_are_asked_one_by_one(model: XSam) -> None:
    """As they are answered: another phrase about the same picture is no rival."""
    both = losses(model, picture("phrase", "other phrase"))
    apart = [losses(model, picture(name)) for name in ("phrase", "other phrase")]
    mean = sum(float(part["loss_cls"]) for part in apart) / 2
    assert float(both["loss_cls"]) == pytest.approx(mean, abs=1e-3)


def test_questions_of_other_lengths_change_nothing(model: XSam) -> None:
    """Short and long ones are read in groups: each has the states, and looks where it would look, alone."""
    model.language.model.set_attn_implementation("eager")
    generator = torch.Generator().manual_seed(0)
    width = model.language.embed(torch.zeros(1, dtype=torch.long)).shape[-1]
    merged = [
        Merged(torch.randn(length, width, generator=generator), *[torch.full((length,), -1)] * 3)
        for length in (3, 40, 5, 16, 4, 41)
    ]
    prefix = model.language.prefix(torch.randn(2, 7, width, generator=generator))
    owner = torch.tensor([0, 1, 1, 0, 0, 1])
    with torch.no_grad():
        states, looks = _states_and_looks(model, merged, prefix, owner, 4)
        assert states.shape == (6, 41, width)
        for index, one in enumerate(merged):
            length = len(one.embeddings)
            cache = model.language.new_cache(prefix.select(owner[index : index + 1]))
            alone, seen = model.language.states_and_attention(one.embeddings[None], cache)
            assert torch.allclose(states[index, :length], alone[0], atol=1e-5)
            for of_layer, of_layer_alone in zip(looks, seen, strict=True):
                assert torch.allclose(of_layer[index, :, :length], of_layer_alone[0, ..., 3:7], atol=1e-5)
        unseen, none = _states_and_looks(model, merged, prefix, owner, 0)
    assert none == ()
    assert torch.allclose(unseen, states, atol=1e-5)


def test_segments_come_with_their_words() -> None:
    """Names and looks that are on the list; a segment with none of them is left out."""
    asked = picture("phrase")
    assert asked.segment_words.tolist() == [[True, False, True]]
    assert asked.segment_cells.shape == (1, SIDE // SEGMENT_STRIDE, SIDE // SEGMENT_STRIDE)
    assert float(asked.segment_cells.sum()) * SEGMENT_STRIDE**2 == LEFT.sum()


@pytest.mark.parametrize(
    ("x", "y", "words"),
    [
        (0.1, 0.1, ["left", "top"]),
        (0.9, 0.5, ["right"]),
        (0.5, 0.95, ["bottom"]),
        (0.5, 0.5, ["middle"]),
        (0.4, 0.6, ["middle"]),
    ],
    ids=str,
)
def test_a_segment_is_told_by_where_it_lies(x: float, y: float, words: list[str]) -> None:
    mask = np.zeros((100, 200), bool)
    centre_y, centre_x = round(100 * y), round(200 * x)
    mask[centre_y - 5 : centre_y + 5, centre_x - 5 : centre_x + 5] = True
    segment = GroundTruth(
        np.zeros((100, 200, 3), np.uint8), mask[None], ("ball",), np.ones(1, bool), np.zeros(1, bool)
    )
    numbers = {word: i for i, word in enumerate(PLACE_WORDS)}
    processor = ImageProcessorConfig.of_model(small_config())
    asked = prepare(segment, [], [], processor, 4, torch.Generator(), numbers)
    assert {word for word, i in numbers.items() if asked.segment_words[0, i]} == set(words)


@pytest.mark.parametrize("names", [tuple(QUESTIONS), ("absent phrase",)], ids=["all", "nothing to find"])
def test_each_stage_adds_its_terms(names: tuple[str, ...]) -> None:
    model, config = small_model(), small_config()
    model.language.model.set_attn_implementation("eager")
    grounding = Grounding(config.segmentor.hidden_dim, config.segmentor.feature_size, LEVELS, [[5], [6, 7], [8]])
    points = RandomPoints(torch.device("cpu"), torch.Generator().manual_seed(0))
    whole = batch_losses(model, [picture(*names)], points, grounding)
    aligned = batch_losses(model, [picture(*names)], points, grounding, kind="alignment")
    assert set(aligned) == {"loss_llm", "loss_boxes", "loss_looks", "loss_words"} < set(whole)
    told = batch_losses(model, [picture(*names)], points, grounding, kind="words")
    assert set(told) == {"loss_words"}
    for name, term in [*told.items(), *aligned.items()]:
        if name != "loss_words":
            assert float(term.detach()) == pytest.approx(float(whole[name].detach()), abs=1e-4), name
    assert 0 < float(aligned["loss_words"].detach()) == pytest.approx(float(told["loss_words"].detach()), abs=1e-4)
    assert float(aligned["loss_words"].detach()) < float(whole["loss_words"].detach()), (
        "maps of the decoder come last"
    )
    torch.stack(list(aligned.values())).sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)
    assert model.seg_projector.model[0].weight.grad is not None, "what the language model sees learns names"
