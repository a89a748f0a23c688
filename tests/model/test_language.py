"""The language model over a reused prefix: any architecture, any number of continuations, nothing written to."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_models import small_config

from xsam_backend.errors import CheckpointError
from xsam_backend.model.language import LanguageModel, pad_rows

WINDOW = 48
ARCHITECTURES = ("phi3", "qwen3")


def language(name: str) -> LanguageModel:
    torch.manual_seed(0)
    return LanguageModel(small_config(language=name).language).eval().requires_grad_(False)


MODELS = {name: language(name) for name in ARCHITECTURES}


def embeddings(model: LanguageModel, rows: int, length: int, seed: int) -> torch.Tensor:
    return torch.randn(rows, length, model.width, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("name", ARCHITECTURES)
@given(before=st.integers(1, 2 * WINDOW), after=st.integers(1, 2 * WINDOW))
@settings(max_examples=12, deadline=None)
def test_a_prefix_and_what_follows_are_the_whole(name: str, before: int, after: int) -> None:
    """Below, at and above the sliding window on either side."""
    model = MODELS[name]
    whole = embeddings(model, 1, before + after, before)
    prefix = model.prefix(whole[:, :before])
    ours = model.states(whole[:, before:], model.new_cache(prefix))
    assert torch.allclose(ours, model.states(whole)[:, before:], atol=1e-4)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_using_a_prefix_does_not_change_it(name: str) -> None:
    model = MODELS[name]
    prefix = model.prefix(embeddings(model, 1, 60, 0))
    before = [tensor.clone() for tensor in prefix.tensors]
    follow = embeddings(model, 1, 7, 1)
    first = model.states(follow, model.new_cache(prefix))
    cache = model.new_cache(prefix)
    for _ in range(3):  # as generation does
        model.states(embeddings(model, 1, 1, 2), cache)
    assert torch.equal(first, model.states(follow, model.new_cache(prefix)))
    assert all(torch.equal(was, now) for was, now in zip(before, prefix.tensors, strict=True))


def test_a_sliding_window_keeps_few_tokens_but_counts_all() -> None:
    prefix = MODELS["phi3"].prefix(embeddings(MODELS["phi3"], 1, 100, 0))
    assert prefix.length == 100
    assert {key.shape[2] for key in prefix.keys} == {WINDOW - 1}
    assert {key.shape[2] for key in MODELS["qwen3"].prefix(embeddings(MODELS["qwen3"], 1, 100, 0)).keys} == {100}


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_rows_continue_the_prefix_of_their_own_picture(name: str) -> None:
    model = MODELS[name]
    openings, follow = embeddings(model, 2, 20, 3), embeddings(model, 3, 5, 4)
    owners = torch.tensor([1, 0, 1])
    together = model.states(follow, model.new_cache(model.prefix(openings).select(owners)))
    for row, owner in enumerate(owners.tolist()):
        alone = model.prefix(openings[owner : owner + 1])
        ours = model.states(follow[row : row + 1], model.new_cache(alone))
        assert torch.allclose(together[row : row + 1], ours, atol=1e-5)
    several = model.prefix(openings[:1]).select(torch.zeros(3, dtype=torch.long))
    assert several.keys[0].shape[0] == 3
    assert several.keys[0].stride(0) == 0, "one picture's prefix is shared, not copied"


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_padding_at_the_end_changes_nothing_before_it(name: str) -> None:
    model = MODELS[name]
    rows = [embeddings(model, 1, length, length)[0] for length in (9, 4)]
    padded = pad_rows(rows, 3.0)
    assert padded.shape == (2, 9, model.width)
    assert (padded[1, 4:] == 3.0).all()
    assert torch.allclose(model.states(padded)[1:, :4], model.states(rows[1][None]), atol=1e-5)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_embedding_and_logits_have_the_vocabulary(name: str) -> None:
    model = MODELS[name]
    ids = torch.arange(12).reshape(2, 6)
    states = model.embed(ids)
    assert states.shape == (2, 6, model.width)
    assert model.logits(states).shape == (2, 6, small_config().language["vocab_size"])


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"model_type": "no_such_model"}, "model_type 'no_such_model' is not known to transformers"),
        ({}, "model_type None is not known"),
    ],
)
def test_unknown_architectures_are_refused(fields: dict[str, str], words: str) -> None:
    with pytest.raises(CheckpointError, match=words):
        LanguageModel(fields)


def test_models_without_keys_and_values_are_refused() -> None:
    """A linear-attention layer keeps a state that a second continuation can't start from."""
    model = LanguageModel(
        {
            "model_type": "qwen3_next",
            "vocab_size": 64,
            "hidden_size": 32,
            "intermediate_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 2,
            "head_dim": 16,
            "layer_types": ["linear_attention", "full_attention"],
            "linear_num_key_heads": 2,
            "linear_num_value_heads": 2,
            "linear_key_head_dim": 16,
            "linear_value_head_dim": 16,
            "num_experts": 2,
            "num_experts_per_tok": 1,
            "moe_intermediate_size": 16,
            "shared_expert_intermediate_size": 16,
        }
    )
    with pytest.raises(CheckpointError, match="'qwen3_next' has layers without keys and values"):
        model.new_cache(model.prefix(torch.randn(1, 4, 32)))
