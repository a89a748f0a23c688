"""Greedy generation over a picture's prefix: for captions and conversation, the only tasks that need it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from xsam_backend.model.language import LanguageModel, Prefix


@dataclass(frozen=True)
class Generated:
    """What the model wrote and what it thought.

    Attributes:
        token_ids: the generated tokens, the stop token included if it came.
        states: (1, prompt + generated - 1, W), language states of the prompt's tokens and of all generated tokens
            but the last, which the model never reads.
        logits: (generated, vocabulary), of each step.
    """

    token_ids: tuple[int, ...]
    states: Tensor
    logits: Tensor


def generate(
    language: LanguageModel,
    prompt: Tensor,
    prefix: Prefix | None,
    *,
    stop_ids: frozenset[int],
    max_new_tokens: int,
    forced: tuple[int, ...] | None = None,
) -> Generated:
    """Go on after ``prompt`` (L, W), the embeddings that follow the prefix, until a stop token or the limit.

    ``forced`` gives the tokens instead of the model (recordings, fixed answers); the passes are the same.
    """
    cache = language.new_cache(prefix)
    states = [language.states(prompt[None], cache)]
    token_ids: list[int] = []
    logits: list[Tensor] = []
    given: Iterator[int] | None = iter(forced) if forced is not None else None
    limit = max_new_tokens if forced is None else len(forced)
    while len(token_ids) < limit:
        scores = language.logits(states[-1][0, -1])
        logits.append(scores)
        token = int(scores.argmax()) if given is None else next(given)
        token_ids.append(token)
        if (given is None and token in stop_ids) or len(token_ids) == limit:
            break
        states.append(language.states(language.embed(torch.tensor([[token]], device=prompt.device)), cache))
    return Generated(tuple(token_ids), torch.cat(states, 1), torch.stack(logits))
