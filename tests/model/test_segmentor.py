"""The mask decoder's own pass: shared pictures, padding, masks that are nowhere."""

from dataclasses import replace

import pytest
import torch
from small_models import SIDE, small_config, small_model

from xsam_backend.model.segmentor import LOGIT_LIMIT, MASKED_LOGIT, PixelFeatures, Segmentor

WIDTH = 32


@pytest.fixture(scope="module")
def segmentor() -> Segmentor:
    return small_model().segmentor.requires_grad_(False)


@pytest.fixture(scope="module")
def features(segmentor: Segmentor) -> PixelFeatures:
    """Of two pictures."""
    generator = torch.Generator().manual_seed(1)
    pyramid = [torch.randn(2, 32, SIDE // stride, SIDE // stride, generator=generator) for stride in (4, 8, 16, 32)]
    return segmentor.features(pyramid)


def alone(features: PixelFeatures, picture: int) -> PixelFeatures:
    def cut(tensors: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        return tuple(tensor[picture : picture + 1] for tensor in tensors)

    return PixelFeatures(
        features.mask_features[picture : picture + 1],
        cut(features.level_features),
        cut(features.level_mask_features),
        cut(features.keys),
        cut(features.values),
    )


def asked(prompts: int, conditions: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(prompts)
    return (
        torch.randn(prompts, WIDTH, generator=generator),
        torch.randn(prompts, conditions, WIDTH, generator=generator),
    )


def test_shapes(segmentor: Segmentor, features: PixelFeatures) -> None:
    seg, conditions = asked(3, 5)
    found = segmentor(features, torch.tensor([0, 1, 1]), seg, conditions)
    layers = small_config().segmentor.decoder_layers
    assert len(found.hidden) == len(found.mask_embeddings) == len(found.class_logits) == layers
    assert {hidden.shape for hidden in found.hidden} == {(3, 8, WIDTH)}
    assert {logits.shape for logits in found.class_logits} == {(3, 8, 5)}
    assert found.mask_logits().shape == (3, 8, SIDE // 4, SIDE // 4)


@pytest.mark.parametrize("of_picture", [[0, 0, 1, 1], [0, 1, 1, 1], [1, 1, 1, 1]], ids=["even", "uneven", "one"])
def test_prompts_of_a_batch_are_answered_as_if_alone(
    segmentor: Segmentor, features: PixelFeatures, of_picture: list[int]
) -> None:
    seg, conditions = asked(4, 3)
    pictures = torch.tensor(of_picture)
    together = segmentor(features, pictures, seg, conditions)
    for prompt, picture in enumerate(pictures.tolist()):
        one = slice(prompt, prompt + 1)
        found = segmentor(alone(features, picture), torch.zeros(1, dtype=torch.long), seg[one], conditions[one])
        assert torch.allclose(found.class_logits[-1], together.class_logits[-1][one], atol=1e-5)
        assert torch.allclose(found.mask_logits(), together.mask_logits()[one], atol=1e-4)


def test_padded_conditions_change_nothing(segmentor: Segmentor, features: PixelFeatures) -> None:
    seg, conditions = asked(1, 3)
    padding = torch.full((1, 2, WIDTH), 1e3)
    padded = torch.cat([conditions[:, :2], padding, conditions[:, 2:]], 1)
    valid = torch.tensor([[True, True, False, False, True]])
    picture = torch.zeros(1, dtype=torch.long)
    plain = segmentor(features, picture, seg, conditions)
    found = segmentor(features, picture, seg, padded, valid)
    assert torch.equal(found.mask_logits(), plain.mask_logits())
    assert torch.allclose(found.class_logits[-1][..., valid[0]], plain.class_logits[-1], atol=1e-5)
    assert (found.class_logits[-1][..., ~valid[0]] == MASKED_LOGIT).all()
    assert (found.class_logits[-1].softmax(-1)[..., ~valid[0]] == 0).all()


def test_class_logits_are_cosines_that_stay_within_bounds(segmentor: Segmentor) -> None:
    state, conditions = torch.randn(1, 8, WIDTH), torch.randn(1, 3, WIDTH)
    ours = segmentor.class_logits(state, conditions, None)
    assert torch.allclose(ours, segmentor.class_logits(state * 7, conditions / 3, None), atol=1e-5)
    assert ours.abs().max() <= segmentor.logit_scale.exp() * (1 + 1e-5)
    hot = Segmentor(small_config().segmentor, (32,) * 4)
    torch.nn.init.constant_(hot.logit_scale, 20.0)
    assert hot.class_logits(state, state[:, :3], None).abs().max() == LOGIT_LIMIT


@torch.no_grad()
def test_a_mask_that_is_nowhere_attends_everywhere() -> None:
    """As one that is everywhere does. With one query, so that no other query's mask plays a part."""
    torch.manual_seed(0)
    segmentor = Segmentor(replace(small_config().segmentor, num_queries=1), (32,) * 4)
    features = segmentor.features([torch.randn(1, 32, SIDE // stride, SIDE // stride) for stride in (4, 8, 16, 32)])
    seg, conditions = asked(1, 2)
    picture = torch.zeros(1, dtype=torch.long)
    start = segmentor(features, picture, seg, conditions).mask_embeddings[0][0, 0]

    def after_one_layer(towards: float) -> torch.Tensor:
        """Every place's mask features along the query's mask embedding: its logit is ``towards``, everywhere."""
        level_masks = tuple(
            (start / start.square().sum() * towards)[None, :, None].expand_as(x) for x in features.level_mask_features
        )
        seen = replace(features, level_mask_features=level_masks)
        return segmentor(seen, picture, seg, conditions).hidden[1]

    assert torch.equal(after_one_layer(-1.0), after_one_layer(1.0))
    half = features.level_mask_features[0].clone()
    half[..., : half.shape[-1] // 2] = -start[None, :, None]
    half[..., half.shape[-1] // 2 :] = start[None, :, None]
    seen = replace(features, level_mask_features=(half, *features.level_mask_features[1:]))
    masked = segmentor(seen, picture, seg, conditions).hidden[1]
    assert not torch.allclose(masked, after_one_layer(1.0), atol=1e-4), "a mask that is somewhere attends only there"


def test_all_tensors_are_counted(features: PixelFeatures) -> None:
    layers = small_config().segmentor.decoder_layers - 1
    assert len(features.tensors) == 1 + 3 + 3 + 2 * layers
