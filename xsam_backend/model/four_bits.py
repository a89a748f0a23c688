"""The language model in four bits, a quarter of bfloat16's memory: where a GPU is small.

NF4 with doubly quantized scales, low-rank pairs beside it that stay as they are (QLoRA, arXiv 2305.14314, sec. 3),
through bitsandbytes. The matrix for the next words and the words' embeddings keep their format, as there.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from xsam_backend.errors import SettingsError
from xsam_backend.model.xsam import XSam


def put_in_four_bits(model: XSam, device: torch.device) -> XSam:
    """Quantize the language model's linear layers, in place, and move everything to the device. Not to be undone.

    Raises:
        SettingsError: bitsandbytes isn't installed.
    """
    try:
        from bitsandbytes.nn import Linear4bit, Params4bit
    except ImportError as error:
        raise SettingsError(
            f"four bits need bitsandbytes, which can't be imported ({error}): pip install '.[four-bits]' in the "
            "project's folder, or set dtype to auto and train_four_bits to false"
        ) from error
    language = model.language.model
    for name, module in list(language.named_modules()):
        if type(module) is nn.Linear and module is not language.get_output_embeddings():
            has_bias = module.bias is not None
            layer = Linear4bit(
                module.in_features, module.out_features, has_bias, torch.bfloat16, quant_type="nf4", device="meta"
            )
            # The fast way of some CPUs packs a matrix anew in place, under the feet of the copies that share it.
            layer.support_avx512bf16_for_cpu = False
            layer.weight = Params4bit(module.weight.data, requires_grad=False, quant_type="nf4").to(device)
            if has_bias:
                layer.bias = nn.Parameter(module.bias.data, requires_grad=False)
            path, _, own = name.rpartition(".")
            setattr(language.get_submodule(path), own, layer)
    model.is_loaded_in_4bit = True  # type: ignore[assignment]  # peft asks for it by this name
    return model.to(device).eval()


def is_in_four_bits(layer: nn.Module) -> bool:
    """Whether a layer's matrix is packed, so that nothing can be added to it."""
    return isinstance(layer, nn.Linear) and layer.weight.dtype == torch.uint8


class PairBeside(nn.Module):
    """A linear layer, and what a pair of thin matrices adds to its answer.

    Args:
        a, b: (rank, in) and (out, rank).
        scale: what the pair's product is multiplied with.
    """

    def __init__(self, layer: nn.Linear, a: Tensor, b: Tensor, scale: float) -> None:
        super().__init__()
        self.layer = layer
        self.a, self.b = nn.Parameter(a, requires_grad=False), nn.Parameter(b, requires_grad=False)
        self.scale = scale

    def forward(self, inputs: Tensor) -> Tensor:
        """(…, in) to (…, out)."""
        added = nn.functional.linear(nn.functional.linear(inputs, self.a.to(inputs)), self.b.to(inputs))
        answer: Tensor = self.layer(inputs) + self.scale * added
        return answer
