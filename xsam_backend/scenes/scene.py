"""One drawn scene: stuff, things on it, and all that can be said about them.

Things are laid out from front to back, so that what is too hidden can be left out before it is painted; then they are
painted from back to front. Every visible thing has a mask: what is not named is not there.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from xsam_backend.ground_truth import GroundTruth
from xsam_backend.scenes.camera import photographed
from xsam_backend.scenes.captions import captions
from xsam_backend.scenes.facts import SceneFacts, Thing
from xsam_backend.scenes.grounds import draw_stuff
from xsam_backend.scenes.questions import questions
from xsam_backend.scenes.referring import referring_expressions
from xsam_backend.scenes.shapes import ANY_TURN, Part, build
from xsam_backend.scenes.surfaces import (
    MATERIALS,
    PATTERNS,
    Picture,
    Rgb,
    as_u8,
    blended,
    lit,
    named_colour,
    shade,
    shading,
    surface,
)
from xsam_backend.scenes.vocabulary import COLOURS, STUFF_NAMES, THING_NAMES

FIRST_HELD_OUT_SEED = 1_000_000
"""Scenes of this seed and above are never trained on: measures are taken there."""

LEAST_VISIBLE_SHARE = 0.35
"""A thing of which less than this share would show (hidden or outside the picture) is left out."""
LEAST_VISIBLE_PX = 40
HIDES_FROM_SHARE = 0.04
"""One thing hides another if it covers at least this share of it."""

COLOURS_OF: dict[str, tuple[str, ...]] = {
    "tree": ("green", "green", "green", "orange", "yellow", "red"),
    "apple": ("red", "red", "green", "yellow"),
    "leaf": ("green", "green", "orange", "red", "yellow", "brown"),
    "egg": ("white", "brown", "yellow"),
}
"""Colours that a thing mostly has; every colour happens to every thing."""

_SUBPIXEL_BITS = 4


@dataclass(frozen=True)
class _Sprite:
    """A thing before painting: its parts in 1/16 pixels of the window, and the window's place in the picture."""

    name: str
    colour: str
    pattern: str
    parts: tuple[tuple[tuple[NDArray[np.int32], ...], str], ...]
    corner_xy: tuple[int, int]
    alpha: NDArray[np.uint8]

    def windows(self, size_hw: tuple[int, int]) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
        """Where the sprite is in the picture, and which part of the sprite that is."""
        (x, y), (height, width) = self.corner_xy, self.alpha.shape
        x0, y0, x1, y1 = max(x, 0), max(y, 0), min(x + width, size_hw[1]), min(y + height, size_hw[0])
        return (slice(y0, max(y0, y1)), slice(x0, max(x0, x1))), (
            slice(y0 - y, max(y0, y1) - y),
            slice(x0 - x, max(x0, x1) - x),
        )


def is_held_out(seed: int) -> bool:
    """Whether a scene's seed is reserved for measuring."""
    return seed >= FIRST_HELD_OUT_SEED


def draw_scene(seed: int, size_hw: tuple[int, int] | None = (384, 384)) -> GroundTruth:
    """The scene of a seed, always the same. Things come first in the truth, front to back, then stuff.

    Args:
        seed: any non-negative number; see ``is_held_out``.
        size_hw: (height, width) in pixels, at least 32 each; None draws the shape from the seed (256 to 512 px).

    Raises:
        ValueError: for a smaller size or a negative seed.
    """
    rng = np.random.default_rng(seed)
    if size_hw is None:
        size_hw = (int(rng.integers(256, 513)), int(rng.integers(256, 513)))
    if min(size_hw) < 32:
        raise ValueError(f"size_hw: expected at least 32 px a side, got {size_hw}")
    picture, region, stuff_names = draw_stuff(rng, size_hw)
    owner, sprites, hidden = _visible(_sprites(rng, size_hw), size_hw)
    for sprite in reversed(sprites):
        _paint(picture, sprite, rng)
    picture = photographed(picture, rng)

    thing_masks = [owner == index for index in range(len(sprites))]
    free = owner == _NOTHING
    stuff_masks = [(name, free & (region == index)) for index, name in enumerate(stuff_names)]
    stuff_masks = [(name, mask) for name, mask in stuff_masks if mask.any()]
    facts = _facts(sprites, thing_masks, hidden, stuff_masks, region, stuff_names)
    names = tuple(sprite.name for sprite in sprites) + tuple(name for name, _ in stuff_masks)
    return GroundTruth(
        image=picture,
        masks=np.stack(thing_masks + [mask for _, mask in stuff_masks]),
        names=names,
        is_thing=np.arange(len(names)) < len(sprites),
        is_crowd=np.zeros(len(names), np.bool_),
        complete_for=frozenset(THING_NAMES + STUFF_NAMES),
        referring=referring_expressions(facts, rng),
        questions=questions(facts, rng),
        captions=captions(facts, rng),
        looks=tuple(thing.look for thing in facts.things) + ("",) * len(stuff_masks),
        source=f"scene {seed}",
    )


_NOTHING = 255


def _sprites(rng: np.random.Generator, size_hw: tuple[int, int]) -> list[_Sprite]:
    """Two to eight things, sometimes up to fifteen, few names and colours among them so that they can be mixed up."""
    crowded = rng.random() < 0.15
    count = int(rng.integers(9, 16)) if crowded else int(rng.integers(2, 9))
    names = [THING_NAMES[i] for i in rng.choice(len(THING_NAMES), int(rng.integers(2, 7)), replace=False)]
    colours = [tuple(COLOURS)[i] for i in rng.choice(len(COLOURS), int(rng.integers(2, 7)), replace=False)]
    sprites: list[_Sprite] = []
    boxes: list[tuple[float, float, float]] = []
    for _ in range(count):
        name = names[int(rng.integers(len(names)))]
        colour = colours[int(rng.integers(len(colours)))]
        if name in COLOURS_OF and rng.random() < 0.6:
            colour = COLOURS_OF[name][int(rng.integers(len(COLOURS_OF[name])))]
        pattern = PATTERNS[int(rng.integers(len(PATTERNS)))] if rng.random() < 0.7 else "plain"
        largest = 0.3 if crowded else 0.6
        share = (
            float(np.exp(rng.uniform(np.log(0.1), np.log(largest)))) if rng.random() < 0.9 else rng.uniform(0.05, 0.1)
        )
        radius = max(5.0, share * min(size_hw) / 2)
        centre = _place(rng, size_hw, radius, boxes)
        boxes.append((*centre, radius))
        sprites.append(_sprite(name, colour, pattern, centre, radius, rng))
    return sprites


def _place(
    rng: np.random.Generator, size_hw: tuple[int, int], radius: float, taken: list[tuple[float, float, float]]
) -> tuple[float, float]:
    """A centre (x, y): mostly the freest of a few tries, sometimes any, which gives real overlaps."""
    tries = rng.random((8 if rng.random() < 0.6 else 1, 2)) * (size_hw[1], size_hw[0])
    if not taken or len(tries) == 1:
        return float(tries[0, 0]), float(tries[0, 1])
    others = np.array(taken)
    gaps = np.hypot(*(tries[:, None] - others[None, :, :2]).transpose(2, 0, 1)) - others[:, 2] - radius
    edge = np.minimum(tries, np.array([size_hw[1], size_hw[0]]) - tries).min(1) - 0.7 * radius
    best = tries[int(np.argmax(np.minimum(gaps.min(1), edge)))]
    return float(best[0]), float(best[1])


def _sprite(
    name: str, colour: str, pattern: str, centre: tuple[float, float], radius: float, rng: np.random.Generator
) -> _Sprite:
    """Turns, stretches and places a thing, and draws its silhouette."""
    turn = rng.uniform(-np.pi, np.pi) if name in ANY_TURN and rng.random() < 0.7 else rng.normal(0, 0.15)
    stretch = np.exp(rng.normal(0, 0.02 if name in ("ball", "egg") else 0.1))
    flip = -1.0 if rng.random() < 0.5 else 1.0
    cos, sin = np.cos(turn), np.sin(turn)
    matrix = np.array([[cos, sin], [-sin, cos]]) * radius
    matrix = np.diag((flip * stretch, 1 / stretch)) @ matrix
    built: list[Part] = build(name, rng)
    placed = [([ring @ matrix + centre for ring in part.rings], part.role) for part in built]
    every = np.concatenate([ring for rings, _ in placed for ring in rings])
    low = np.floor(every.min(0)).astype(int) - 2
    width, height = (np.ceil(every.max(0)).astype(int) + 3 - low).tolist()
    scale = 1 << _SUBPIXEL_BITS
    parts = tuple(
        (tuple(np.round((ring - low) * scale).astype(np.int32) for ring in rings), role) for rings, role in placed
    )
    alpha = np.zeros((height, width), np.uint8)
    for rings, _ in parts:
        cv2.fillPoly(alpha, rings, 255, cv2.LINE_AA, _SUBPIXEL_BITS)
    return _Sprite(name, colour, pattern, parts, (int(low[0]), int(low[1])), alpha)


def _visible(
    sprites: list[_Sprite], size_hw: tuple[int, int]
) -> tuple[NDArray[np.uint8], list[_Sprite], list[set[int]]]:
    """Which thing each pixel shows, from the front one on; things that would hardly show are left out.

    Returns:
        owner: uint8 (H, W), index of the kept thing, ``_NOTHING`` elsewhere.
        kept: the things left in, front to back.
        hidden: for each, the later ones of which it hides a good part.
    """
    owner = np.full(size_hw, _NOTHING, np.uint8)
    kept: list[_Sprite] = []
    hidden: list[set[int]] = []
    for sprite in sprites:
        window, inner = sprite.windows(size_hw)
        below = owner[window]
        solid = sprite.alpha[inner] >= 128
        shows = solid & (below == _NOTHING)
        whole, seen = int(np.count_nonzero(sprite.alpha >= 128)), int(np.count_nonzero(shows))
        if seen < max(LEAST_VISIBLE_PX, LEAST_VISIBLE_SHARE * whole):
            continue
        covered = np.bincount(below[solid], minlength=256)[: len(kept)]
        for front in np.flatnonzero(covered >= HIDES_FROM_SHARE * whole):
            hidden[int(front)].add(len(kept))
        below[shows] = len(kept)
        kept.append(sprite)
        hidden.append(set())
    return owner, kept, hidden


def _paint(picture: Picture, sprite: _Sprite, rng: np.random.Generator) -> None:
    """Paints a thing, with its shadow, over what is there."""
    window, inner = sprite.windows((picture.shape[0], picture.shape[1]))
    size_hw = (sprite.alpha.shape[0], sprite.alpha.shape[1])
    colour = named_colour(sprite.colour, rng)
    own = surface(colour, sprite.pattern, size_hw, rng)
    paint = own.copy()
    for rings, role in sprite.parts:
        if role == "main":
            stencil = np.zeros(size_hw, np.uint8)
            cv2.fillPoly(stencil, rings, 255, cv2.LINE_8, _SUBPIXEL_BITS)
            cv2.copyTo(own, stencil, paint)
        else:
            cv2.fillPoly(paint, rings, _material(role, colour), cv2.LINE_AA, _SUBPIXEL_BITS)
    if rng.random() < 0.35:
        ink = shade(colour, 0.35) if sum(colour) > 150 else shade(colour, 1.5)
        thick = max(1, round(max(size_hw) * rng.uniform(0.01, 0.035)))
        solid = (sprite.alpha >= 128).astype(np.uint8)
        contours, _ = cv2.findContours(solid, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
        cv2.drawContours(paint, contours, -1, ink, thick, cv2.LINE_AA)
    if rng.random() < 0.75:
        paint = lit(paint, shading(size_hw, rng))
    if rng.random() < 0.5:
        _cast_shadow(picture, sprite, rng)
    below = picture[window]
    if below.size:
        picture[window] = blended(below, np.ascontiguousarray(paint[inner]), sprite.alpha[inner])


def _material(role: str, colour: Rgb) -> Rgb:
    if role == "dark":
        return shade(colour, 0.6) if sum(colour) > 150 else shade(colour, 1.25)
    return MATERIALS[role]


def _cast_shadow(picture: Picture, sprite: _Sprite, rng: np.random.Generator) -> None:
    """Darkens what lies beside and below the thing. Shadows belong to what they fall on."""
    reach = max(sprite.alpha.shape) * rng.uniform(0.02, 0.12)
    dx, dy = round(reach * rng.uniform(-1, 1)), round(reach)
    soft = max(1, round(reach * rng.uniform(0.2, 0.8))) * 2 + 1
    pad = soft + 1
    shadow = as_u8(cv2.blur(np.pad(sprite.alpha, pad), (soft, soft)))
    corner = (sprite.corner_xy[0] + dx - pad, sprite.corner_xy[1] + dy - pad)
    window, inner = _Sprite("", "", "", (), corner, shadow).windows((picture.shape[0], picture.shape[1]))
    if picture[window].size:
        light = 255 - as_u8(cv2.convertScaleAbs(shadow[inner], alpha=rng.uniform(0.2, 0.55)))
        picture[window] = lit(np.ascontiguousarray(picture[window]), light)


def _facts(
    sprites: list[_Sprite],
    masks: list[NDArray[np.bool_]],
    hidden: list[set[int]],
    stuff: list[tuple[str, NDArray[np.bool_]]],
    region: NDArray[np.uint8],
    stuff_names: tuple[str, ...],
) -> SceneFacts:
    """What can be said of the scene, from what can be seen of it."""
    height, width = region.shape
    things = []
    segments = {name: len(sprites) + index for index, (name, _) in enumerate(stuff)}
    for index, (sprite, mask) in enumerate(zip(sprites, masks, strict=True)):
        (rows, columns), _ = sprite.windows((height, width))
        local = mask[rows, columns]
        ys, xs = np.nonzero(local)
        centre = (float(xs.mean() + columns.start + 0.5) / width, float(ys.mean() + rows.start + 0.5) / height)
        foot = ys >= np.quantile(ys, 0.7)
        under = np.bincount(region[rows, columns][ys[foot], xs[foot]], minlength=len(stuff_names))
        best = int(np.argmax(under))
        place = stuff_names[best] if under[best] >= 0.8 * under.sum() and stuff_names[best] in segments else None
        things.append(
            Thing(index, sprite.name, sprite.colour, sprite.pattern, len(xs), centre, place, frozenset(hidden[index]))
        )
    return SceneFacts(tuple(things), segments)
