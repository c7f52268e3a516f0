"""HyperTile: self-attention within tiles of a picture, whose cost grows with the picture and not with its square."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from mezzotint import Model, Widget, node, value_type

from ..sampling.network_change import Around, Forward, with_change
from .unet_blocks import attention_grid, require_unet, self_attention

if TYPE_CHECKING:
    from torch import Tensor, nn

LEAST_TILE = 32
"""Pixels; smaller tiles see too little of the picture."""


@value_type("mezzotint.HyperTile")
@dataclass(frozen=True, slots=True)
class HyperTile:
    """A `NetworkChange`.

    Attributes:
        tile: the least side of a tile, in cells of the latent. choices: how many sizes from there on take turns, so
            that seams are at other places each time. depth: how many levels of halved features have tiles, too.
        is_scaled: whether tiles on those levels have as many tokens a side as on the first.
    """

    tile: int
    choices: int
    depth: int
    is_scaled: bool

    def around(self, network: nn.Module) -> Mapping[str, Around]:
        return {name: partial(self._tiled, name) for name in self_attention(require_unet(network, "HyperTile"))}

    def _tiled(
        self, name: str, forward: Forward, compute: Callable[..., Tensor], x: Tensor, *args: Any, **kwargs: Any
    ) -> Tensor:
        grid = attention_grid(forward.size, x.shape[1])
        if grid is None or grid[2] > self.depth:
            return compute(x, *args, **kwargs)
        height, width, depth = grid
        least = self.tile * 2**depth if self.is_scaled else self.tile
        chance = random.Random(f"{name} {forward.sigma!r}")  # so that equal runs draw equal pictures
        rows, columns = (chance.choice(tile_counts(side, least, self.choices)) for side in (height, width))
        if rows * columns == 1:
            return compute(x, *args, **kwargs)
        batch, _, channels = x.shape
        h, w = height // rows, width // columns
        tiles = x.reshape(batch, rows, h, columns, w, channels).transpose(2, 3)
        output = compute(tiles.reshape(-1, h * w, channels), *args, **kwargs)
        whole = output.reshape(batch, rows, columns, h, w, channels).transpose(2, 3)
        return whole.reshape(batch, height * width, channels)


def tile_counts(side: int, least: int, choices: int) -> list[int]:
    """In how many equal tiles of at least `least` a side can be cut: the first few numbers, the greatest first."""
    lengths = [length for length in range(min(least, side), side + 1) if side % length == 0]
    return [side // length for length in lengths[:choices]]


@node("HyperTile", category="model_patches/unet")
def hyper_tile(
    model: Model,
    tile_size: Annotated[int, Field(ge=1, le=2048, description="The least side of a tile, in pixels.")] = 256,
    swap_size: Annotated[int, Field(ge=1, le=128, description="How many sizes of tiles take turns.")] = 2,
    max_depth: Annotated[int, Field(ge=0, le=10, description="Levels of halved features with tiles, too.")] = 0,
    scale_depth: Annotated[bool, Widget()] = False,
) -> Model:
    """Attend within tiles, which makes large pictures faster. With SDXL it takes a `max_depth` of 1 at least."""
    change = HyperTile(max(tile_size, LEAST_TILE) // 8, swap_size, max_depth, scale_depth)
    return with_change(model, change)
