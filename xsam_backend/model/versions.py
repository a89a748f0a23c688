"""From a base predictor and a version's changes to the version's predictor."""

from __future__ import annotations

from pathlib import Path

from xsam_backend.model.compiling import share_compiled_encoders
from xsam_backend.model.delta import Delta, load_delta, with_delta
from xsam_backend.model.predictor import Predictor

ENCODERS = ("segmentor_encoder.", "vision_encoder.")
"""How the names of their parameters begin."""


def predictor_with_delta(base: Predictor, delta: Path, name: str) -> Predictor:
    """A predictor of its own that shares with the base all that the changes leave alone.

    Raises:
        CheckpointError: the changes can't be read, or belong to another base.
    """
    return changed(base, load_delta(delta), name)


def changed(base: Predictor, delta: Delta, name: str) -> Predictor:
    """The same of changes that were read already.

    Raises:
        CheckpointError: they belong to another base.
    """
    model = with_delta(base.model, base.model_version, delta)
    has_own = any(parameter.startswith(ENCODERS) for parameter in (*delta.pairs, *delta.whole))
    encoders_of = name if has_own else base.model_version
    if not has_own:
        share_compiled_encoders(base.model, model)
    return Predictor(model, base.tokenizer, name, delta.calibrations, delta.typical_sizes, encoders_of)
