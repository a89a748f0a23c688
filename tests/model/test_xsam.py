"""The wiring: merging, pooling, layouts, and every kind of encoder and language model through all of it."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from small_models import SIDE, small_config, small_model

from xsam_backend.model.conversation import IGNORE_LABEL, IMAGE_INDEX, NO_ID, REGION_INDEX, TokenizedConversation
from xsam_backend.model.xsam import XSam, pool_by_id

KINDS = [("shared", "phi3"), ("shared", "qwen3"), ("released", "phi3"), ("released", "qwen3")]


@pytest.fixture(scope="module")
def model() -> XSam:
    return small_model().requires_grad_(False)


def pixels(model: XSam, pictures: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    vision = model.config.vision.image_size
    return (
        torch.randn(pictures, 3, vision, vision, generator=generator),
        torch.randn(pictures, 3, SIDE, SIDE, generator=generator),
    )


@pytest.mark.parametrize(("encoders", "language"), KINDS)
@torch.no_grad()
def test_from_pixels_to_masks(encoders: str, language: str) -> None:
    """Every combination runs both halves, pictures independent of their batch."""
    model = small_model(encoders=encoders, language=language)
    vision, segmentor = pixels(model)
    features = model.encode(vision, segmentor)
    tokens = features.tokens.shape[1]
    vision_tokens = {"shared": (SIDE // 32) ** 2, "released": 4}[encoders]
    assert features.tokens.shape == (2, vision_tokens + (SIDE // 32) ** 2, model.language.width)
    assert features.token_map.shape == (2, model.language.width, SIDE // 32, SIDE // 32)
    alone = model.encode(vision[1:], segmentor[1:])
    for ours, both in zip(alone.tensors, features.tensors, strict=True):
        assert torch.allclose(ours, both[1:], atol=1e-4)

    ids = torch.tensor([5, IMAGE_INDEX, 7, 8, REGION_INDEX, 9, 10])
    nothing = torch.full_like(ids, NO_ID)
    cond_ids = torch.tensor([NO_ID, NO_ID, NO_ID, 0, 0, 0, NO_ID])
    seg_ids = torch.where(ids == 10, 0, nothing)
    regions = model.region_embeddings(features.token_map[:1], torch.rand(1, 16, 2))
    merged = model.merge(ids, ids, cond_ids, seg_ids, image_tokens=features.tokens[0], regions=regions)
    projected = model.project(model.text_states([merged]))
    assert projected.shape == (1, len(ids) - 1 + tokens, model.config.segmentor.hidden_dim)
    conditions = model.with_background(*pool_by_id(projected, merged.cond_ids[None]))
    seg, _ = pool_by_id(projected, merged.seg_ids[None])
    found = model.segmentor(alone.pixels, torch.zeros(1, dtype=torch.long), seg[:, 0], conditions.embeddings)
    assert torch.isfinite(found.mask_logits()).all()
    assert found.class_logits[-1].shape == (1, 8, 2)


def conversation(ids: list[int], cond_ids: list[int]) -> TokenizedConversation:
    row = np.array(ids, np.int64)
    return TokenizedConversation(
        row, np.where(row < 0, IGNORE_LABEL, row), np.array(cond_ids, np.int64), np.full_like(row, NO_ID)
    )


def test_merging_puts_pictures_and_regions_in_their_places(model: XSam) -> None:
    width = model.language.width
    image = torch.full((3, width), 50.0)
    regions = torch.stack([torch.full((width,), 60.0), torch.full((width,), 61.0)])
    tokens = conversation([4, IMAGE_INDEX, 5, REGION_INDEX, 6, REGION_INDEX, 7], [-1, -1, 0, 0, 1, 1, -1])
    ours = model.merge_tokens(tokens, image, regions)
    embedded = model.language.embed(torch.tensor([4, 5, 6, 7]))
    expected = [embedded[:1], image, embedded[1:2], regions[:1], embedded[2:3], regions[1:], embedded[3:]]
    assert torch.equal(ours.embeddings, torch.cat(expected))
    assert ours.cond_ids.tolist() == [-1, -1, -1, -1, 0, 0, 1, 1, -1]
    assert ours.labels.tolist() == [4, -100, -100, -100, 5, -100, 6, -100, 7]
    assert ours.seg_ids.tolist() == [-1] * 9


def test_merging_neighbours_and_ends(model: XSam) -> None:
    """Placeholders side by side, first and last; the reference shifts text there, we don't."""
    width = model.language.width
    regions = torch.stack([torch.full((width,), float(value)) for value in (1, 2)])
    ours = model.merge_tokens(conversation([REGION_INDEX, REGION_INDEX, 9], [0, 1, -1]), regions=regions)
    assert torch.equal(ours.embeddings[:2], regions)
    assert torch.equal(ours.embeddings[2:], model.language.embed(torch.tensor([9])))
    last = model.merge_tokens(conversation([9, IMAGE_INDEX], [-1, -1]), image_tokens=regions)
    assert torch.equal(last.embeddings[1:], regions)


def test_parts_make_the_whole(model: XSam) -> None:
    tokens = conversation([4, IMAGE_INDEX, 5, 6], [-1, -1, 0, 0])
    image = torch.randn(3, model.language.width)
    whole = model.merge_tokens(tokens, image)
    parts = [model.merge_tokens(tokens.through_image(), image), model.merge_tokens(tokens.after_image())]
    for name in ("embeddings", "labels", "cond_ids", "seg_ids"):
        assert torch.equal(torch.cat([getattr(part, name) for part in parts]), getattr(whole, name))


@given(st.lists(st.lists(st.integers(-1, 4), min_size=6, max_size=6), min_size=1, max_size=3))
def test_pooling_is_the_mean_over_each_id(rows: list[list[int]]) -> None:
    ids = torch.tensor(rows)
    values = torch.randn(*ids.shape, 3, generator=torch.Generator().manual_seed(0))
    pooled, valid = pool_by_id(values, ids)
    count = max(int(ids.max()) + 1, 0)
    assert pooled.shape == (len(rows), count, 3)
    for row in range(len(rows)):
        for number in range(count):
            mine = values[row][ids[row] == number]
            assert bool(valid[row, number]) == (len(mine) > 0)
            if len(mine):
                assert torch.allclose(pooled[row, number], mine.mean(0), atol=1e-5)


def test_pooling_nothing() -> None:
    pooled, valid = pool_by_id(torch.randn(2, 3, 4), torch.full((2, 3), NO_ID))
    assert pooled.shape == (2, 0, 4)
    assert valid.shape == (2, 0)


def test_background_is_the_last_column_and_always_there(model: XSam) -> None:
    ours = model.with_background(torch.randn(2, 3, 32), torch.zeros(2, 3, dtype=torch.bool))
    assert torch.equal(ours.embeddings[:, -1], model.background.weight.expand(2, -1))
    assert ours.valid[:, -1].all()
    assert not ours.valid[:, :-1].any()


def test_both_token_kinds_reach_the_language_model(model: XSam) -> None:
    """Design: the small model keeps every path of the large one."""
    vision, segmentor = pixels(model)
    tokens = model.encode(vision, segmentor).tokens
    other_vision = model.encode(vision + 1, segmentor).tokens
    other_segmentor = model.encode(vision, segmentor + 1).tokens
    seen = (SIDE // 32) ** 2
    assert not torch.equal(tokens[:, :seen], other_vision[:, :seen])
    assert torch.equal(tokens[:, seen:], other_vision[:, seen:])
    assert torch.equal(tokens[:, :seen], other_segmentor[:, :seen])
    assert not torch.equal(tokens[:, seen:], other_segmentor[:, seen:])


def test_every_weight_is_saved_once() -> None:
    """The shared trunk belongs to the segmentor's encoder alone."""
    assert not list(small_model().vision_encoder.parameters())
    assert small_config().vision.kind == "shared"
