"""Composes captioned pictures of icons, as the embedded model is trained on: pure, the same for the same seed.

A caption reads `a [small] [COLOUR] NOUN [on a COLOUR background][, STYLE style]`, or `a NOUN and a NOUN ...`.
"""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from mezzotint.nodes.training.shapes import draw_shape, with_article

GROUNDS = {
    "red": (225, 80, 75),
    "orange": (245, 165, 85),
    "yellow": (250, 225, 120),
    "green": (125, 195, 130),
    "blue": (115, 160, 230),
    "purple": (170, 125, 205),
    "pink": (245, 180, 205),
    "brown": (160, 120, 90),
    "black": (35, 35, 35),
    "grey": (175, 175, 175),
}
HUES = {"red": 0.99, "orange": 0.08, "yellow": 0.14, "green": 0.36, "blue": 0.6, "purple": 0.76, "pink": 0.91}
OVERSAMPLING = 2
JITTER = 2 / 64
HELD_OUT = 12
"""One in so many captions of colour and background is kept out of training."""


@dataclass(frozen=True)
class Icon:
    """A drawing: RGBA, its noun, its style, and whether it may take another colour."""

    picture: Any
    noun: str
    style: str
    takes_colour: bool


@dataclass(frozen=True)
class Shares:
    """How often something is done, 0..1."""

    small: float = 0.25
    ground: float = 0.6
    colour: float = 0.5
    style: float = 0.3
    pair: float = 0.12
    shape: float = 0.1


def compose(icons: list[Icon], chance: random.Random, size: int, shares: Shares) -> tuple[Any, str]:
    """A picture, RGB of `size`, and its caption."""
    if chance.random() < shares.shape:
        return draw_shape(chance, size)
    first = chance.choice(icons)
    style = first.style if chance.random() < shares.style else None
    if chance.random() < shares.pair:
        others = [icon for icon in icons if icon.style == first.style and icon.noun != first.noun]
        second = chance.choice(others or [first])
        parts = [_part(icon, chance, shares, may_be_small=False) for icon in (first, second)]
        places = [(0.27, 0.5, 0.46), (0.73, 0.5, 0.46)]
    else:
        parts = [_part(first, chance, shares, may_be_small=True)]
        places = [(0.5, 0.5, 0.42 if parts[0].is_small else 0.82)]
    ground = None
    if chance.random() < shares.ground:
        ground = chance.choice([colour for colour in sorted(GROUNDS) if colour not in {part.colour for part in parts}])
    caption = " and ".join(with_article(part.words) for part in parts)
    caption += f" on {with_article(f'{ground} background')}" if ground else ""
    caption += f", {style} style" if style else ""
    return _drawn(parts, places, GROUNDS[ground] if ground else (255, 255, 255), chance, size), caption


@dataclass(frozen=True)
class _Part:
    picture: Any
    words: str
    is_small: bool
    colour: str | None


def _part(icon: Icon, chance: random.Random, shares: Shares, may_be_small: bool) -> _Part:
    colour = chance.choice(sorted(HUES)) if icon.takes_colour and chance.random() < shares.colour else None
    is_small = may_be_small and chance.random() < shares.small
    picture = recoloured(icon.picture, HUES[colour]) if colour else icon.picture
    words = [*(["small"] if is_small else []), *([colour] if colour else []), icon.noun]
    return _Part(picture, " ".join(words), is_small, colour)


def _drawn(parts: list[_Part], places: list[Any], ground: Any, chance: random.Random, size: int) -> Any:
    side = size * OVERSAMPLING
    canvas = Image.new("RGBA", (side, side), (*ground, 255))
    for part, (x, y, share) in zip(parts, places, strict=True):
        width = round(side * share * chance.uniform(0.95, 1.05))
        left, top = (round(side * (at + chance.uniform(-JITTER, JITTER)) - width / 2) for at in (x, y))
        picture = part.picture.resize((width, width), Image.Resampling.LANCZOS)
        canvas.alpha_composite(picture, (max(left, 0), max(top, 0)))
    return canvas.convert("RGB").resize((size, size), Image.Resampling.LANCZOS)


def recoloured(picture: Any, hue: float) -> Any:
    """An RGBA picture in which the main colour has the given hue (0..1), and the others turn with it."""
    rgba = np.asarray(picture).astype(np.float32) / 255
    hsv = np.asarray(picture.convert("RGB").convert("HSV")).astype(np.float32) / 255
    weight = rgba[..., 3] * hsv[..., 1] * hsv[..., 2]
    angles = hsv[..., 0] * 2 * np.pi
    main = np.arctan2((weight * np.sin(angles)).sum(), (weight * np.cos(angles)).sum()) / (2 * np.pi)
    hsv[..., 0] = (hsv[..., 0] + hue - main) % 1
    turned = Image.fromarray((hsv * 255).round().astype(np.uint8), "HSV").convert("RGB")
    turned.putalpha(picture.getchannel("A"))
    return turned


def is_held_out(caption: str) -> bool:
    """Whether a caption is kept out of training: some of those with a colour and a background, whatever the seed."""
    words = caption.split(",", maxsplit=1)[0]
    has_both = " on " in words and any(f"{colour} " in words.split(" on ")[0] for colour in HUES)
    return has_both and hashlib.blake2b(words.encode()).digest()[0] % HELD_OUT == 0
