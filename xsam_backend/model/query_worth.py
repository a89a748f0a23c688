"""How much a query's mask can be trusted: its class score, and how sure it is of its own pixels."""

from __future__ import annotations

from torch import Tensor

from xsam_backend.model.picture_frame import PictureFrame

_LEAST = 1e-6


def query_worth(scores: Tensor, mask_logits: Tensor, frame: PictureFrame) -> Tensor:
    """Scores (Q,) or (Q, C), 0..1, times the mean probability inside each query's mask: the same shape, float32.

    As in ``postprocess.instances``, but at low resolution. A query without a mask is worth nothing.

    Args:
        scores: of class logits.
        mask_logits: (Q, h, w) over the padded frame.
        frame: where the picture lies in it; what lies beside it doesn't count.
    """
    logits = picture_part(mask_logits.float(), frame)
    shown = (logits > 0).flatten(1)
    certainty = (logits.sigmoid().flatten(1) * shown).sum(1) / (shown.sum(1) + _LEAST)
    return scores.float() * (certainty if scores.ndim == 1 else certainty[:, None])


def picture_part(maps: Tensor, frame: PictureFrame) -> Tensor:
    """The cells of (Q, h, w) that show the picture, not the padding; at least one."""
    rows, columns = (
        max(round(cells * scaled / padded), 1)
        for cells, scaled, padded in zip(maps.shape[1:], frame.scaled_hw, frame.padded_hw, strict=True)
    )
    return maps[:, :rows, :columns]
