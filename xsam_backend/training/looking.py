"""How the language layers of tiny start: with attention that looks at what is alike.

A picture's tokens lie near the embeddings of the words for what is there (kind ``words``), so a query and a key that
are the same projection find in the picture what a word means. Layers that start at random don't come to that in the
few steps that tiny is trained for, and layers trained without it may hide the words under their own outputs.

Positions turn queries and keys (RoPE); the pairs of dimensions that turn slowest hardly notice, and are used here.
The layers are Phi-3's, which keeps queries, keys and values in one matrix.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from xsam_backend.model.conversation import NO_ID
from xsam_backend.model.xsam import XSam
from xsam_backend.scenes.vocabulary import COLOURS, PATTERN_WORDS, STUFF_NAMES, THING_NAMES
from xsam_backend.training.batch import PLACE_WORDS, AskedPicture
from xsam_backend.training.grounding import LOOKING_HEADS

SPREAD = 0.02
"""Of the new matrices; those that write into the residual have less, so that the words stay visible in it."""

SLOW_SHARE = 0.375
"""Share of a head's pairs of dimensions that count as slow: in tiny they turn by half a radian over 170 tokens."""

PICTURE_LOGIT = 16.0
"""How much rather a looking head looks at the picture than at the text, whose words are most like themselves."""

NEAR_PAIR = 7
NEAR_LOGIT = 8.0
"""This pair turns by 0.13 a token: the gathering head looks that much rather at the last words than 12 words back."""

LOOKED_AT = 12
"""So many pictures are enough to tell pictures' tokens from text."""

TEXT_LOGIT = 10.0
END_LOGIT = 12.0
GATHERED = 3.0
"""How large what the first layer gathers is beside the token itself."""


@dataclass(frozen=True)
class _Inputs:
    """What a layer's attention reads (after the norm), rows of all pictures: float (N, W) each.

    Attributes:
        picture: the pictures' tokens.
        text: all others.
        ends: the last token of each phrase.
        segs: each ``<SEG>``.
        size: mean norm of ``ends`` before the norm.
    """

    picture: Tensor
    text: Tensor
    ends: Tensor
    segs: Tensor
    size: float


def looking_words(tokenizer: Any) -> tuple[list[list[int]], list[list[int]]]:
    """Names and looks of scenes as token ids: what the new layers' attention starts from."""
    words = ((*THING_NAMES, *STUFF_NAMES), (*COLOURS, *PATTERN_WORDS, *PLACE_WORDS))
    names, looks = ([list(tokenizer(w, add_special_tokens=False)["input_ids"]) for w in one] for one in words)
    return names, looks


@torch.no_grad()
def begin_looking(
    model: XSam, names: Sequence[Sequence[int]], looks: Sequence[Sequence[int]], pictures: Sequence[AskedPicture]
) -> None:
    """Set the language layers to their start, in place; embeddings and all else stay.

    In each layer, head 0 looks at what differs as the names do, head 1 as the looks do. The last head of the first
    layer gathers the words just before, that of the second lets ``<SEG>`` read the end of its phrase.

    Args:
        names, looks: words as token ids: names of things and stuff; colours, patterns, places.
        pictures: some, with questions, to tell pictures' tokens, text, phrases' ends and ``<SEG>`` apart by.
    """
    layers = model.language.model.model.layers
    for layer in layers:
        for name, parameter in layer.named_parameters():
            if parameter.ndim == 1:
                parameter.fill_(1.0)
            else:
                writes = name.endswith(("o_proj.weight", "down_proj.weight"))
                parameter.normal_(0, SPREAD / (2 * len(layers)) ** 0.5 if writes else SPREAD)
    head = layers[0].self_attn.head_dim
    slow = torch.arange(head // 2)[-int(head // 2 * SLOW_SHARE) :]
    dims = torch.cat([slow[:-1], slow + head // 2])[: 2 * len(slow) - 2]  # the last pair is the flags'
    flag = head // 2 - 1
    words = [_basis(_meanings(model, ids), len(dims)) for ids in (names, looks)]
    for layer, seen in zip(layers, _inputs(model, pictures), strict=True):
        is_text = _reader(seen.text, torch.zeros_like(seen.picture))
        is_picture = _reader(seen.picture, seen.text)
        for number in range(LOOKING_HEADS):
            query, key, _ = _rows(layer, number)
            for rows, of_flag in ((query, is_text), (key, is_picture)):
                rows.zero_()
                rows[dims[: len(words[number])]] = words[number]
                rows[flag] = of_flag * (PICTURE_LOGIT * head**0.5) ** 0.5
    basis = _basis(torch.cat([_meanings(model, ids) for ids in (names, looks)]), head - 4)

    first = _inputs(model, pictures)[0]
    query, key, value = _clear(layers[0])
    is_text, text_only = _reader(first.text, torch.zeros_like(first.picture)), _reader(first.text, first.picture)
    for pair, logit in ((NEAR_PAIR, NEAR_LOGIT), (flag, TEXT_LOGIT)):
        query[pair], key[pair] = (reader * (logit * head**0.5) ** 0.5 for reader in (is_text, text_only))
    _copy(layers[0], value, basis, GATHERED * first.size / _length(first.text, basis))

    second = _inputs(model, pictures)[1]
    query, key, value = _clear(layers[1])
    query[flag] = _reader(second.segs, second.text) * (END_LOGIT * head**0.5) ** 0.5
    key[flag] = _reader(second.ends, torch.cat([second.text, second.picture])) * (END_LOGIT * head**0.5) ** 0.5
    _copy(layers[1], value, basis, second.size / _length(second.ends, basis))


def _rows(layer: Any, number: int) -> tuple[Tensor, Tensor, Tensor]:
    """A head's queries, keys and values (head_dim, W) each, as views of the one matrix."""
    attention = layer.self_attn
    parts = attention.qkv_proj.weight.unflatten(0, (3, -1, attention.head_dim))
    return parts[0, number], parts[1, number], parts[2, number]


def _clear(layer: Any) -> tuple[Tensor, Tensor, Tensor]:
    """The last head's rows, queries and keys at nought."""
    query, key, value = _rows(layer, -1)
    query.zero_()
    key.zero_()
    value.zero_()
    return query, key, value


def _copy(layer: Any, value: Tensor, basis: Tensor, gain: float) -> None:
    """What the last head finds of the words' differences goes into the residual, where it was."""
    value[: len(basis)] = basis
    out = layer.self_attn.o_proj.weight[:, -layer.self_attn.head_dim :]
    out.zero_()
    out[:, : len(basis)] = gain * basis.T


def _length(states: Tensor, basis: Tensor) -> float:
    return float((states @ basis.T).norm(dim=-1).mean())


def _meanings(model: XSam, words: Sequence[Sequence[int]]) -> Tensor:
    """(words, W) unit vectors: the mean of each word's pieces."""
    device = model.device
    means = [model.language.embed(torch.tensor(ids, device=device)).float().mean(0) for ids in words]
    return F.normalize(torch.stack(means), dim=-1)


def _basis(vectors: Tensor, most: int) -> Tensor:
    """(at most ``most``, W) orthonormal directions in which the vectors differ, the largest difference first."""
    _, sizes, directions = torch.linalg.svd(vectors - vectors.mean(0), full_matrices=False)
    count = min(most, int((sizes > 1e-5 * sizes[0]).sum()))
    return cast(Tensor, directions[:count])


def _reader(yes: Tensor, no: Tensor) -> Tensor:
    """(W,) whose product with a row is near 1 for ``yes``, near 0 for ``no``: ridge regression, both weigh alike."""
    gram = yes.T @ yes / len(yes) + no.T @ no / len(no)
    ridge = 1e-3 * torch.eye(len(gram), device=gram.device)
    return cast(Tensor, torch.linalg.solve(gram + ridge, yes.mean(0)))


def _inputs(model: XSam, pictures: Sequence[AskedPicture]) -> list[_Inputs]:
    """What each layer's attention reads now."""
    layers = model.language.model.model.layers
    read: list[list[Tensor]] = [[] for _ in layers]
    raw: list[list[Tensor]] = [[] for _ in layers]

    def keep(number: int) -> Any:
        def hook(_module: nn.Module, given: tuple[Tensor, ...], made: Tensor) -> None:
            raw[number].append(given[0])
            read[number].append(made)

        return hook

    handles = [layer.input_layernorm.register_forward_hook(keep(i)) for i, layer in enumerate(layers)]
    kinds: dict[str, list[Tensor]] = {name: [] for name in ("picture", "text", "ends", "segs")}
    try:
        for picture in pictures:
            maps = model.segmentor_encoder(picture.segmentor_pixels[None].to(model.device))
            tokens, _ = model.picture_tokens(model.vision_tokens(picture.vision_pixels[None].to(model.device)), maps)
            for conversation, points in zip(picture.conversations, picture.points, strict=True):
                if len(points):
                    continue  # regions: phrases are enough
                merged = model.merge_tokens(conversation, tokens[0])
                start = len(conversation.through_image()) - 1
                is_picture = torch.zeros(len(merged.labels), dtype=torch.bool)
                is_picture[start : start + tokens.shape[1]] = True
                following = torch.cat([merged.cond_ids[1:], merged.cond_ids.new_full((1,), NO_ID)])
                kinds["picture"].append(is_picture)
                kinds["text"].append(~is_picture)
                kinds["ends"].append((merged.cond_ids != NO_ID) & (following != merged.cond_ids))
                kinds["segs"].append(merged.seg_ids != NO_ID)
                model.text_states([merged])
    finally:
        for handle in handles:
            handle.remove()
    chosen = {name: torch.cat(masks).to(model.device) for name, masks in kinds.items()}
    found = []
    for own, before in zip(read, raw, strict=True):
        rows, sizes = torch.cat([one[0] for one in own]), torch.cat([one[0] for one in before]).norm(dim=-1)
        found.append(
            _Inputs(**{k: rows[mask] for k, mask in chosen.items()}, size=float(sizes[chosen["ends"]].mean()))
        )
    return found
