"""The language model behind X-SAM: any causal model of transformers, with its image prefix computed once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, DynamicCache, PreTrainedConfig
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

from xsam_backend.errors import CheckpointError
from xsam_backend.model.tensor_memory import bytes_alive


@dataclass(frozen=True)
class Prefix:
    """Keys and values of the tokens before the question, per layer (B, heads, kept tokens, head_dim).

    ``length`` counts all tokens; a sliding-window model keeps fewer. Never written to: each use makes a cache of its
    own, because transformers' caches grow in place and a shared one gives wrong states.
    """

    keys: tuple[Tensor, ...]
    values: tuple[Tensor, ...]
    length: int

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """All tensors, for counting bytes and moving between devices."""
        return (*self.keys, *self.values)

    @property
    def nbytes(self) -> int:
        """Bytes that this keeps alive."""
        return bytes_alive(self.tensors)

    def select(self, rows: Tensor) -> Prefix:
        """The prefix of each row's picture: ``rows`` int64 (P,) into B."""
        if len(self.keys[0]) == 1:
            size = (len(rows), -1, -1, -1)
            return Prefix(
                tuple(k.expand(size) for k in self.keys), tuple(v.expand(size) for v in self.values), self.length
            )
        return Prefix(tuple(k[rows] for k in self.keys), tuple(v[rows] for v in self.values), self.length)


class LanguageModel(nn.Module):
    """A causal language model fed with embeddings."""

    def __init__(self, fields: Mapping[str, Any]) -> None:
        super().__init__()
        values = dict(fields)
        model_type = values.pop("model_type", None)
        try:
            config: PreTrainedConfig = AutoConfig.for_model(model_type, **values)
        except ValueError as error:
            raise CheckpointError(f"language.model_type {model_type!r} is not known to transformers") from error
        self.config = config
        self.model = AutoModelForCausalLM.from_config(config, attn_implementation="sdpa")

    @property
    def width(self) -> int:
        """Hidden size."""
        return int(self.config.hidden_size)

    def tie_words(self) -> None:
        """Let the matrix for the next words be that of the embeddings, where the config says so: after either was
        replaced."""
        if self.config.tie_word_embeddings:
            self.model.tie_weights()

    def embed(self, input_ids: Tensor) -> Tensor:
        """Token embeddings: int64 (…) to (…, D)."""
        return cast(Tensor, self.model.get_input_embeddings()(input_ids))

    def logits(self, states: Tensor) -> Tensor:
        """Next-token logits of normed hidden states: (…, D) to (…, vocabulary)."""
        return cast(Tensor, self.model.get_output_embeddings()(states))

    def new_cache(self, prefix: Prefix | None = None) -> DynamicCache:
        """A cache of one's own that starts with ``prefix``."""
        cache = DynamicCache(config=self.config)
        if prefix is not None:
            for layer, key, value in zip(self._layers(cache), prefix.keys, prefix.values, strict=True):
                # Not by ``update``, which would copy a prefix of hundreds of megabytes. Growing makes new tensors.
                layer.lazy_initialization(key, value)
                layer.keys, layer.values = key, value
                if isinstance(layer, DynamicSlidingWindowLayer):
                    layer.cumulative_length = prefix.length
        return cache

    def states(self, embeddings: Tensor, cache: DynamicCache | None = None) -> Tensor:
        """Hidden states after the final norm, (P, L, D); continues ``cache``, which grows."""
        out = self.model.base_model(inputs_embeds=embeddings, past_key_values=cache, use_cache=cache is not None)
        return cast(Tensor, out.last_hidden_state)

    def states_and_attention(self, embeddings: Tensor, cache: DynamicCache) -> tuple[Tensor, tuple[Tensor, ...]]:
        """As ``states``, and what each layer attended to: (P, heads, L, L + tokens of the cache) per layer, rows that
        sum to 1. Needs the "eager" attention of transformers, the only one that tells."""
        out = self.model.base_model(
            inputs_embeds=embeddings, past_key_values=cache, use_cache=True, output_attentions=True
        )
        return cast(Tensor, out.last_hidden_state), tuple(out.attentions)

    def prefix(self, embeddings: Tensor) -> Prefix:
        """Keys and values of (B, L, D) embeddings, to be continued any number of times."""
        cache = self.new_cache()
        self.states(embeddings, cache)
        layers = self._layers(cache)
        return Prefix(
            tuple(cast(Tensor, layer.keys) for layer in layers),
            tuple(cast(Tensor, layer.values) for layer in layers),
            embeddings.shape[1],
        )

    def _layers(self, cache: DynamicCache) -> list[DynamicLayer]:
        """The cache's layers. Raises CheckpointError for models that keep other states than keys and values."""
        layers = [layer for layer in cache.layers if isinstance(layer, DynamicLayer)]
        if len(layers) != len(cache.layers):
            raise CheckpointError(
                f"language.model_type {self.config.model_type!r} has layers without keys and values (linear "
                "attention): expected a model with attention in every layer"
            )
        return layers


def pad_rows(rows: list[Tensor], value: float = 0) -> Tensor:
    """Rows (L_i, …) stacked to (P, max L, …), padded at the end."""
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=value)
