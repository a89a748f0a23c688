"""Greedy generation: where it stops, what it hands back."""

import pytest
import torch
from small_models import small_config

from xsam_backend.model.generation import generate
from xsam_backend.model.language import LanguageModel

NEVER: frozenset[int] = frozenset()


@pytest.fixture(scope="module")
def language() -> LanguageModel:
    torch.manual_seed(0)
    return LanguageModel(small_config().language).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def prompt(language: LanguageModel) -> torch.Tensor:
    return language.embed(torch.arange(10, 16))


def test_each_token_is_the_best_after_all_before_it(language: LanguageModel, prompt: torch.Tensor) -> None:
    """Against passes over the whole sequence, without any cache."""
    ours = generate(language, prompt, None, stop_ids=NEVER, max_new_tokens=6)
    sequence = prompt[None]
    for step, token in enumerate(ours.token_ids):
        logits = language.logits(language.states(sequence)[0, -1])
        assert torch.allclose(ours.logits[step], logits, atol=1e-4)
        assert token == int(logits.argmax())
        sequence = torch.cat([sequence, language.embed(torch.tensor([[token]]))], 1)
    states = language.states(sequence[:, :-1])
    assert ours.states.shape == states.shape, "the last token is never read"
    assert torch.allclose(ours.states, states, atol=1e-4)


def test_over_a_prefix_the_same_is_written(language: LanguageModel, prompt: torch.Tensor) -> None:
    whole = generate(language, prompt, None, stop_ids=NEVER, max_new_tokens=5)
    prefix = language.prefix(prompt[None, :4])
    for _ in range(2):  # the second time over the same prefix
        ours = generate(language, prompt[4:], prefix, stop_ids=NEVER, max_new_tokens=5)
        assert ours.token_ids == whole.token_ids
        assert torch.allclose(ours.states, whole.states[:, 4:], atol=1e-4)


def test_it_ends_with_a_stop_token_which_is_included(language: LanguageModel, prompt: torch.Tensor) -> None:
    free = generate(language, prompt, None, stop_ids=NEVER, max_new_tokens=6).token_ids
    stop = free[2]
    ours = generate(language, prompt, None, stop_ids=frozenset([stop]), max_new_tokens=6)
    assert ours.token_ids == free[: free.index(stop) + 1]
    assert len(ours.logits) == len(ours.token_ids)


@pytest.mark.parametrize("limit", [1, 2, 5])
def test_it_ends_at_the_limit(language: LanguageModel, prompt: torch.Tensor, limit: int) -> None:
    ours = generate(language, prompt, None, stop_ids=NEVER, max_new_tokens=limit)
    assert len(ours.token_ids) == len(ours.logits) == limit
    assert ours.states.shape[1] == len(prompt) + limit - 1


def test_given_tokens_are_read_to_their_end(language: LanguageModel, prompt: torch.Tensor) -> None:
    """Stop tokens among them don't stop, and the limit doesn't either: the answer is fixed."""
    ours = generate(language, prompt, None, stop_ids=frozenset([7]), max_new_tokens=1, forced=(7, 7, 3))
    assert ours.token_ids == (7, 7, 3)
    read = torch.cat([prompt[None], language.embed(torch.tensor([[7, 7]]))], 1)
    assert torch.allclose(ours.states, language.states(read), atol=1e-4)
