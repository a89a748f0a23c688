"""Names of the released checkpoint against ours: data, read by ``released``."""

from __future__ import annotations

RENAMES: tuple[tuple[str, str | None], ...] = (
    # Loaded; the longest prefix decides.
    ("visual_encoder.vision_model.", "vision_encoder.model."),
    ("segmentor.encoder.", "segmentor_encoder.model."),
    ("segmentor.", "segmentor."),
    ("llm.", "language.model."),
    ("visual_projector.", "visual_projector."),
    ("seg_projector.", "seg_projector."),
    ("llm_projector.", "llm_projector."),
    ("seg_connector.", "connector."),
    ("bg_embeds.", "background."),
    # In the checkpoint, but without influence on any output: not built here.
    ("visual_encoder.vision_model.post_layernorm.", None),
    ("visual_encoder.vision_model.head.", None),
    ("segmentor.encoder.neck.", None),
    ("segmentor.shared_image_embedding.", None),
)
"""(released prefix, our prefix). None: dropped on purpose. SigLIP's last layer is dropped too, by its number."""

NEWER_RENAMES: tuple[tuple[str, str], ...] = (
    ("vision_encoder.", "visual_encoder."),
    ("segmentor.class_predictor.logit_scale", "segmentor.logit_scale"),
)
"""The newer naming against the released one; all other names are the same."""

VISION_LAYER_PREFIX = "visual_encoder.vision_model.encoder.layers."


def released_name(name: str) -> str:
    """A name in either naming as the released checkpoint writes it."""
    for newer, released in NEWER_RENAMES:
        if name.startswith(newer):
            return released + name[len(newer) :]
    return name


def our_name(name: str, vision_layers: int) -> str | None:
    """Our name of a released tensor, None where it is dropped on purpose.

    Args:
        name: in either naming.
        vision_layers: how many SigLIP layers the model builds; later ones are dropped.

    Raises:
        KeyError: no row of the table fits.
    """
    name = released_name(name)
    if name.startswith(VISION_LAYER_PREFIX) and int(name[len(VISION_LAYER_PREFIX) :].split(".")[0]) >= vision_layers:
        return None
    fitting = [row for row in RENAMES if name.startswith(row[0])]
    if not fitting:
        raise KeyError(name)
    prefix, ours = max(fitting, key=lambda row: len(row[0]))
    return None if ours is None else ours + name[len(prefix) :]


def name_in_release(ours: str) -> str:
    """The released name of a tensor of ours. Raises KeyError where the released model has no such part."""
    fitting = [(released, own) for released, own in RENAMES if own is not None and ours.startswith(own)]
    if not fitting:
        raise KeyError(ours)
    released, own = max(fitting, key=lambda row: len(row[1]))
    return released + ours[len(own) :]
