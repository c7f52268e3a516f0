"""Where in a latent an item of a conditioning counts, and how much: its area and its mask.

Sizes and places are in cells of the latent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..latents.box import Box
from .network_call import ConditioningError

if TYPE_CHECKING:
    from torch import Tensor

FEATHER = 8
"""How many cells an area without a mask fades over, towards edges that are not the picture's; a quarter at most."""
SMALLEST_BOUNDS = 8
"""The smallest side of an area that is cut out by the bounds of a mask."""
PERCENTAGE = "percentage"
"""What an area in shares of the picture begins with."""


def box_of(options: Mapping[str, Any], shape: Sequence[int]) -> Box | None:
    """The area that an item is evaluated in, for latents of the shape [B, C, h, w]; None for the whole latent.

    `area` is `(height, width, y, x)`, or `("percentage", height, width, y, x)` in shares of the latent. With
    `set_area_to_bounds` it is what holds all of the mask that is not 0. What reaches beyond the latent is cut off.

    Raises:
        ConditioningError: the area lies outside the latent.
    """
    height, width = shape[-2:]
    if options.get("set_area_to_bounds") and options.get("mask") is not None:
        box = _bounds(_fitted(options["mask"], shape))
    elif options.get("area") is not None:
        box = _area(options["area"], height, width)
    else:
        return None
    if box.top >= height or box.left >= width:
        raise ConditioningError(
            f"the area of a conditioning begins at ({box.left}, {box.top}) in the latent, which has {width}×{height} "
            f"cells (a cell is 8 pixels, mostly); move the area into the picture, or make the picture larger"
        )
    box = box._replace(height=min(box.height, height - box.top), width=min(box.width, width - box.left))
    return None if box == (0, 0, height, width) else box


def _area(area: Sequence[Any], height: int, width: int) -> Box:
    if area[0] != PERCENTAGE:
        tall, wide, top, left = map(int, area)
        return Box(top, left, max(tall, 1), max(wide, 1))
    tall, wide, y, x = area[1:]
    return Box(round(y * height), round(x * width), max(round(tall * height), 1), max(round(wide * width), 1))


def _bounds(mask: Tensor) -> Box:
    selected = (mask != 0).amax((0, 1))  # [h, w]
    rows, columns = (selected.any(axis).nonzero().flatten().tolist() for axis in (1, 0))
    if not rows:  # counts nowhere: as little as possible is evaluated
        return Box(0, 0, SMALLEST_BOUNDS, SMALLEST_BOUNDS)
    tall, wide = rows[-1] - rows[0] + 1, columns[-1] - columns[0] + 1
    return Box(rows[0], columns[0], max(tall, SMALLEST_BOUNDS), max(wide, SMALLEST_BOUNDS))


def weight_map(options: Mapping[str, Any], box: Box | None, shape: Sequence[int]) -> Tensor | None:
    """How much an item counts in each cell of its box, apart from its strength.

    Returns:
        float32 [B, 1, height, width] or [1, 1, height, width] on the CPU; None for 1 everywhere. With a `mask` it is
        the mask, fitted bilinearly, times `mask_strength`; else an area fades linearly towards the edges that it does
        not share with the latent.
    """
    if options.get("mask") is not None:
        fitted = _fitted(options["mask"], shape) * float(options.get("mask_strength", 1.0))
        return fitted if box is None else box.of(fitted)
    if box is None:
        return None
    down = _fading(box.height, has_edge_before=box.top > 0, has_edge_after=box.top + box.height < shape[-2])
    across = _fading(box.width, has_edge_before=box.left > 0, has_edge_after=box.left + box.width < shape[-1])
    return (down[:, None] * across[None, :])[None, None]


def _fading(size: int, *, has_edge_before: bool, has_edge_after: bool) -> Tensor:
    import torch

    weights = torch.ones(size)
    ramp_size = min(FEATHER, size // 4)
    ramp = torch.arange(1, ramp_size + 1) / max(ramp_size, 1)
    if has_edge_before:
        weights[:ramp_size] *= ramp
    if has_edge_after:
        weights[size - ramp_size :] *= ramp.flip(0)
    return weights


def _fitted(mask: Tensor, shape: Sequence[int]) -> Tensor:
    from .noise import fit_mask

    return fit_mask(mask.cpu(), shape)
