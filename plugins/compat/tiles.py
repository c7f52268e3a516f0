"""Works on a picture tile by tile: tiles overlap, and where they do, one fades into the next."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


def tile_starts(size: int, tile: int, overlap: int) -> list[int]:
    """Where tiles begin so that they cover a side; the last ends where the side does."""
    if size <= tile:
        return [0]
    step = max(tile - overlap, 1)
    count = 1 + math.ceil((size - tile) / step)
    return [min(index * step, size - tile) for index in range(count)]


def tile_count(width: int, height: int, tile_x: int, tile_y: int, overlap: int) -> int:
    """How many tiles a picture has."""
    return len(tile_starts(width, tile_x, overlap)) * len(tile_starts(height, tile_y, overlap))


def tiled(
    samples: Tensor,
    function: Callable[[Tensor], Tensor],
    tile_x: int,
    tile_y: int,
    overlap: int,
    scale: float,
    channels: int,
    *,
    device: Any = "cpu",
    on_tile: Callable[[], None] | None = None,
) -> Tensor:
    """Apply a function to each tile of each item of a batch, and put the results together.

    Args:
        samples: [B, C, h, w]. function: [1, C, th, tw] → [1, channels, th * scale, tw * scale]. tile_x, tile_y,
            overlap: in elements of `samples`. on_tile: called after each tile.

    Returns:
        float32 [B, channels, h * scale, w * scale] on `device`.
    """
    import torch

    height, width = samples.shape[-2:]
    whole = samples.shape[0], channels, round(height * scale), round(width * scale)
    result = torch.zeros(whole, device=device)
    for index in range(len(samples)):
        weights = torch.zeros(1, *whole[-2:], device=device)
        for top in tile_starts(height, tile_y, overlap):
            for left in tile_starts(width, tile_x, overlap):
                part = samples[index : index + 1, :, top : top + tile_y, left : left + tile_x]
                done = function(part)[0].to(device, torch.float32)
                y, x = round(top * scale), round(left * scale)
                fade = _fade(done, (y, x), whole[-2:], round(overlap * scale))
                place = slice(None), slice(y, y + done.shape[-2]), slice(x, x + done.shape[-1])
                result[index][place] += done * fade
                weights[place] += fade
                if on_tile is not None:
                    on_tile()
        result[index] /= weights
    return result


def _fade(tile: Tensor, at: tuple[int, int], whole: tuple[int, int], width: int) -> Tensor:
    """Weights [1, h, w] that grow from the edges of a tile, but for those that are edges of the whole."""
    rows, columns = (
        _ramp(size, width, begins=start == 0, ends=start + size >= end)
        for size, start, end in zip(tile.shape[-2:], at, whole, strict=True)
    )
    import torch

    return (torch.tensor([*rows])[:, None] * torch.tensor([*columns])[None]).to(tile.device)[None]


def _ramp(size: int, width: int, *, begins: bool, ends: bool) -> Iterator[float]:
    for index in range(size):
        before = 1.0 if begins else (index + 1) / (width + 1)
        after = 1.0 if ends else (size - index) / (width + 1)
        yield min(before, after, 1.0)
