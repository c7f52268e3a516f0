"""A picture done in overlapping tiles that are blended where they meet. Sizes and places are in cells of the latent."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from ..latents.box import Box

if TYPE_CHECKING:
    from torch import Tensor


class Tiling(NamedTuple):
    """How large tiles are, each way, and how far neighbours overlap at least; size > overlap >= 0."""

    size: int
    overlap: int

    def boxes(self, height: int, width: int) -> list[Box]:
        """Tiles that cover a latent, row by row: all of one size, evenly spread, none reaching beyond it."""
        return [
            Box(top, left, min(self.size, height), min(self.size, width))
            for top in self._starts(height)
            for left in self._starts(width)
        ]

    def _starts(self, length: int) -> list[int]:
        if length <= self.size:
            return [0]
        gaps = -(-(length - self.size) // (self.size - self.overlap))
        return [round(k * (length - self.size) / gaps) for k in range(gaps + 1)]


def blended(height: int, width: int, tiling: Tiling, scale: int, process: Callable[[Box], Tensor]) -> Tensor:
    """What tiles become, put together.

    Towards edges that lie inside the picture a tile fades linearly, over the overlap; what tiles share is their mean,
    so weighed.

    Args:
        height, width: of all, in cells. scale: what a cell becomes, each way.
        process: gives [B, C, box.height * scale, box.width * scale].

    Returns:
        [B, C, height * scale, width * scale].
    """
    import torch

    boxes = tiling.boxes(height, width)
    first = process(boxes[0])
    if len(boxes) == 1:
        return first
    total = first.new_zeros(*first.shape[:2], height * scale, width * scale)
    weights = torch.zeros_like(total[:1, :1])
    for box in boxes:
        tile, place = first if box is boxes[0] else process(box), Box(*(scale * side for side in box))
        down = _fading(place.top, place.height, height * scale, tiling.overlap * scale)
        across = _fading(place.left, place.width, width * scale, tiling.overlap * scale)
        weight = (down[:, None] * across[None, :]).to(tile)
        place.of(total).add_(tile * weight)
        place.of(weights).add_(weight)
    return total.div_(weights)


def _fading(start: int, size: int, length: int, overlap: int) -> Tensor:
    """The weights of a tile along one side."""
    import torch

    weights = torch.ones(size)
    ramp = (torch.arange(overlap) + 0.5) / max(overlap, 1)
    if start > 0:
        weights[:overlap] *= ramp
    if start + size < length:
        weights[size - overlap :] *= ramp.flip(0)
    return weights
