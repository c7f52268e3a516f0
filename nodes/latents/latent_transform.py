"""Latents turned, mirrored and cut. A noise mask goes along, since it selects parts of the same picture."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from mezzotint.engine.node import node
from mezzotint.engine.widget import Widget

from ..ports import Latent
from ..resize import MAX_RESOLUTION
from .latent import PIXELS

if TYPE_CHECKING:
    from torch import Tensor

LEAST_CUT = 8
"""A cut keeps so many elements along each side, if there are as many."""

CutSide = Annotated[int, Field(ge=64, le=MAX_RESOLUTION, description="In pixels."), Widget(step=8)]
Offset = Annotated[
    int, Field(ge=0, le=MAX_RESOLUTION, description="In pixels, from the top left corner."), Widget(step=8)
]
Rotation = Literal["none", "90 degrees", "180 degrees", "270 degrees"]
Flip = Literal["x-axis: vertically", "y-axis: horizontally"]


@node("LatentRotate", title="Rotate Latent", category="latent/transform")
def latent_rotate(samples: Latent, rotation: Rotation = "none") -> Latent:
    """Turn a latent clockwise."""
    import torch

    turns = 0 if rotation == "none" else int(rotation.split()[0]) // 90
    return _mapped(samples, lambda tensor: torch.rot90(tensor, turns, (-1, -2)))


@node("LatentFlip", title="Flip Latent", category="latent/transform")
def latent_flip(samples: Latent, flip_method: Flip = "x-axis: vertically") -> Latent:
    """Mirror a latent: top to bottom, or left to right."""
    dimension = -2 if flip_method.startswith("x") else -1
    return _mapped(samples, lambda tensor: tensor.flip(dimension))


@node("LatentCrop", title="Crop Latent", category="latent/transform")
def latent_crop(samples: Latent, width: CutSide = 512, height: CutSide = 512, x: Offset = 0, y: Offset = 0) -> Latent:
    """Cut a rectangle, in pixels, out of a latent. What would lie outside is left out; at least 64 pixels remain."""
    given = samples["samples"]
    rows = _span(y // PIXELS, height // PIXELS, given.shape[-2])
    columns = _span(x // PIXELS, width // PIXELS, given.shape[-1])

    def cut(tensor: Tensor) -> Tensor:
        tall, wide = tensor.shape[-2] / given.shape[-2], tensor.shape[-1] / given.shape[-1]
        return tensor[..., _scaled(rows, tall), _scaled(columns, wide)].clone()

    return _mapped(samples, cut)


def _span(start: int, length: int, size: int) -> slice:
    """The elements from `start` on, moved inwards where fewer than `LEAST_CUT` would remain."""
    start = min(start, max(0, size - LEAST_CUT))
    return slice(start, min(start + length, size))


def _scaled(span: slice, factor: float) -> slice:
    """The same part of something that has another number of elements; at least one."""
    start = round(span.start * factor)
    return slice(start, max(start + 1, round(span.stop * factor)))


def _mapped(latent: dict[str, Any], change: Callable[[Tensor], Tensor]) -> dict[str, Any]:
    """A latent with its samples, and its noise mask if it has one, changed alike."""
    names = [name for name in ("samples", "noise_mask") if name in latent]
    return {**latent, **{name: change(latent[name]) for name in names}}
