"""Language layers that begin anew look, before any training, at what a word means."""

import pytest
import torch

from xsam_backend.model.chat_templates import CHAT_TEMPLATES
from xsam_backend.model.checkpoint import load_model, load_tokenizer
from xsam_backend.model.conversation import NO_ID, tokenize
from xsam_backend.model.folders import SHIPPED
from xsam_backend.model.image_processor import ImageProcessorConfig
from xsam_backend.model.turns import referring_turn
from xsam_backend.model.xsam import XSam
from xsam_backend.prompts import Task
from xsam_backend.scenes.scene import FIRST_HELD_OUT_SEED, draw_scene
from xsam_backend.scenes.vocabulary import STUFF_NAMES
from xsam_backend.training.batch import AskedPicture, prepare
from xsam_backend.training.looking import begin_looking, looking_words
from xsam_backend.training.questions import Question

TINY = SHIPPED / "tiny"
LAYERS = "language.model.model.layers."
pytestmark = pytest.mark.skipif(
    not (TINY / "model.safetensors").is_file(), reason="the shipped weights are not in this checkout"
)


def scene(seed: int, model: XSam) -> AskedPicture:
    """A held-out scene, asked for each of its stuff by the bare name, which is the token before the phrase's end."""
    drawn = draw_scene(FIRST_HELD_OUT_SEED + 7000 + seed)
    named = [(i, name) for i, name in enumerate(drawn.names) if name in STUFF_NAMES]
    questions = [Question(Task.REFERRING, referring_turn(name), (), ((drawn.masks[i], 0),)) for i, name in named]
    template = CHAT_TEMPLATES[model.config.chat_template]
    tokens = [tokenize([q.turn], load_tokenizer(TINY), template, with_answer=True) for q in questions]
    processor = ImageProcessorConfig.of_model(model.config, pad_to_square=False)
    return prepare(drawn, questions, tokens, processor, 4, torch.Generator().manual_seed(0), {})


@torch.no_grad()
def shares(model: XSam, pictures: list[AskedPicture]) -> tuple[float, float, float]:
    """Of what head 0 of the first layer sees of the picture from a name: the share on what is named, and the share
    that it would have anywhere; and how much of all it sees is the picture."""
    on_target, anywhere, of_all = [], [], []
    for picture in pictures:
        maps = model.segmentor_encoder(picture.segmentor_pixels[None])
        tokens, token_map = model.picture_tokens(model.vision_tokens(picture.vision_pixels[None]), maps)
        side = token_map.shape[-1]
        for conversation, target in zip(picture.conversations, picture.targets, strict=True):
            if not len(target.classes):
                continue
            prefix = model.image_prefix([model.merge_tokens(conversation.through_image(), tokens[0])])
            rest = model.merge_tokens(conversation.after_image())
            cache = model.language.new_cache(prefix)
            _, attention = model.language.states_and_attention(rest.embeddings[None], cache)
            name = int((rest.cond_ids != NO_ID).nonzero()[-1]) - 1
            seen = attention[0][0, 0, name, prefix.length - side**2 : prefix.length]
            inside = torch.nn.functional.adaptive_avg_pool2d(target.masks[:1].float(), side).flatten() > 0.1
            on_target.append(float(seen[inside].sum() / seen.sum()))
            anywhere.append(float(inside.float().mean()))
            of_all.append(float(seen.sum()))
    return (*(sum(values) / len(values) for values in (on_target, anywhere, of_all)),)  # type: ignore[return-value]


def test_a_name_looks_at_what_it_names() -> None:
    torch.manual_seed(0)
    model = load_model(TINY)
    model.language.model.set_attn_implementation("eager")
    held_out, others = [scene(seed, model) for seed in range(5)], [scene(seed, model) for seed in range(10, 16)]
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    for name, parameter in model.named_parameters():
        if name.startswith(LAYERS) and parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.02)
    on_target, anywhere, _ = shares(model, held_out)
    assert on_target < anywhere + 0.1 < 0.7, "at random: as if it saw nothing"
    begin_looking(model, *looking_words(load_tokenizer(TINY)), others)
    on_target, _, of_all = shares(model, held_out)
    assert on_target > 0.9
    assert of_all > 0.3
    changed = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}
    assert changed
    assert all(name.startswith(LAYERS) for name in changed)
