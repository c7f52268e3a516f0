"""Coloured shapes with captions: pictures to train with that need no file."""

from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

SHAPES = ("circle", "square", "triangle", "star", "ring", "diamond", "cross", "bar")
COLOURS = {
    "red": (214, 40, 40),
    "orange": (240, 140, 30),
    "yellow": (245, 210, 50),
    "green": (60, 160, 70),
    "blue": (50, 100, 210),
    "purple": (130, 60, 170),
    "pink": (240, 130, 180),
    "brown": (120, 75, 40),
    "black": (25, 25, 25),
    "white": (250, 250, 250),
}
SMALL_SHARE = 0.25
OVERSAMPLING = 4
"""Shapes are drawn so many times larger and scaled down: smooth edges."""


def drawn_shapes(count: int, size: int, seed: int) -> tuple[Tensor, tuple[str, ...]]:
    """Pictures uint8 [count, size, size, 3] and their captions; the same for the same arguments."""
    import numpy as np
    import torch

    chance = random.Random(seed)
    drawn = [draw_shape(chance, size) for _ in range(count)]
    pixels = torch.from_numpy(np.stack([np.asarray(picture) for picture, _ in drawn]))
    return pixels, tuple(caption for _, caption in drawn)


def draw_shape(chance: random.Random, size: int) -> tuple[Any, str]:
    """A picture of one shape, and its caption: `a [small] COLOUR SHAPE on a COLOUR background`."""
    from PIL import Image, ImageDraw

    shape = chance.choice(SHAPES)
    colour, ground = chance.sample(sorted(COLOURS), 2)
    is_small = chance.random() < SMALL_SHARE
    side = size * OVERSAMPLING
    picture = Image.new("RGB", (side, side), COLOURS[ground])
    radius = side * (0.16 if is_small else 0.34)
    x, y = (side / 2 + chance.uniform(-0.06, 0.06) * side for _ in range(2))
    _draw(ImageDraw.Draw(picture), shape, x, y, radius, COLOURS[colour], COLOURS[ground])
    subject = f"{'small ' if is_small else ''}{colour} {shape}"
    caption = f"{with_article(subject)} on {with_article(ground)} background"
    return picture.resize((size, size), Image.Resampling.LANCZOS), caption


def shape_of(caption: str) -> int:
    """Which of `SHAPES` the caption of a shape names."""
    return SHAPES.index(caption.partition(" on ")[0].split()[-1])


def with_article(words: str) -> str:
    """The words with "a" or "an" before them."""
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def _draw(pen: Any, shape: str, x: float, y: float, r: float, colour: Any, ground: Any) -> None:
    if shape in ("circle", "ring"):
        pen.ellipse((x - r, y - r, x + r, y + r), fill=colour)
        if shape == "ring":
            pen.ellipse((x - r / 2, y - r / 2, x + r / 2, y + r / 2), fill=ground)
    elif shape == "cross":
        pen.rectangle((x - r, y - r / 3, x + r, y + r / 3), fill=colour)
        pen.rectangle((x - r / 3, y - r, x + r / 3, y + r), fill=colour)
    elif shape == "bar":
        pen.rectangle((x - r, y - r / 3, x + r, y + r / 3), fill=colour)
    elif shape == "square":
        pen.rectangle((x - 0.85 * r, y - 0.85 * r, x + 0.85 * r, y + 0.85 * r), fill=colour)
    else:
        pen.polygon(_corners(shape, x, y, r), fill=colour)


def _corners(shape: str, x: float, y: float, r: float) -> list[tuple[float, float]]:
    radii = {"triangle": [r] * 3, "diamond": [r] * 4, "star": [r, 0.42 * r] * 5}[shape]
    turn = 2 * math.pi / len(radii)
    return [(x + q * math.sin(turn * i), y - q * math.cos(turn * i)) for i, q in enumerate(radii)]
