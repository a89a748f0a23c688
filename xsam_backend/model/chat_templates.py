"""How each language model wants its chats written, as data. A checkpoint's config names one of ``CHAT_TEMPLATES``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from xsam_backend.errors import CheckpointError


@dataclass(frozen=True)
class ChatTemplate:
    """How a language model wants a chat written.

    Attributes:
        instruction: around the user's words, which replace ``{input}``; ends where the answer begins.
        suffix: after the answer, learned with it.
        separator: after the suffix, between turns; not learned.
        stop_words: generation ends with any of them.
        system: around a system text; X-SAM's tasks have none.
    """

    instruction: str
    suffix: str
    separator: str
    stop_words: tuple[str, ...]
    system: str


def _qwen(thinking: str) -> ChatTemplate:
    return ChatTemplate(
        instruction="<|im_start|>user\n{input}<|im_end|>\n<|im_start|>assistant\n" + thinking,
        suffix="<|im_end|>",
        separator="\n",
        stop_words=("<|im_end|>", "<|endoftext|>"),
        system="<|im_start|>system\n{system}<|im_end|>\n",
    )


CHAT_TEMPLATES: dict[str, ChatTemplate] = {
    "phi3_chat": ChatTemplate(
        instruction="<|user|>\n{input}<|end|>\n<|assistant|>\n",
        suffix="<|end|>",
        separator="\n",
        stop_words=("<|end|>",),
        system="<|system|>\n{system}<|end|>\n",
    ),
    "qwen3_wothinking": _qwen("<think>\n\n</think>\n\n"),
    "qwen3_thinking": _qwen("<think>"),
    "qwen3_instruct": _qwen(""),
    "qwen3_vl_instruct": _qwen(""),
}


def stop_ids(tokenizer: Any, template: ChatTemplate) -> frozenset[int]:
    """Ids after which generation ends.

    Raises:
        CheckpointError: a stop word of the template is not one token of this tokenizer.
    """
    vocabulary = tokenizer.get_vocab()
    missing = [word for word in template.stop_words if word not in vocabulary]
    if missing:
        raise CheckpointError(
            f"chat template: expected stop words {template.stop_words}, the tokenizer lacks {', '.join(missing)}: "
            "choose the chat template of this language model"
        )
    return frozenset(vocabulary[word] for word in template.stop_words)
