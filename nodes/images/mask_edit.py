"""Masks made from colours, cut, combined, softened, grown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from mezzotint.engine.node import node
from mezzotint.engine.widget import Widget

from ..latents.latent import cycled
from ..ports import Image, Mask
from ..resize import MAX_RESOLUTION
from .composite import ramp
from .mask import batched

if TYPE_CHECKING:
    from torch import Tensor

Colour = Annotated[int, Field(ge=0, le=0xFFFFFF, description="As 0xRRGGBB."), Widget(display="color")]
Side = Annotated[int, Field(ge=1, le=MAX_RESOLUTION, description="In pixels.")]
Offset = Annotated[int, Field(ge=0, le=MAX_RESOLUTION, description="In pixels, from the top left corner.")]
Margin = Annotated[int, Field(ge=0, le=MAX_RESOLUTION, description="In pixels.")]
Operation = Literal["multiply", "add", "subtract", "and", "or", "xor"]


@node("ImageColorToMask", category="mask")
def image_color_to_mask(image: Image, color: Colour = 0) -> Mask:
    """Select the pixels that have exactly a colour, at 8 bits a channel."""
    import torch

    wanted = torch.tensor([color >> shift & 0xFF for shift in (16, 8, 0)], device=image.device)
    pixels = (image[..., :3].clamp(0, 1) * 255).round().to(torch.int64)
    return (pixels == wanted).all(-1).float()


@node("CropMask", category="mask")
def crop_mask(mask: Mask, x: Offset = 0, y: Offset = 0, width: Side = 512, height: Side = 512) -> Mask:
    """Cut a rectangle out of a mask; what would lie outside is left out, at least one pixel remains."""
    mask = batched(mask)
    x, y = min(x, mask.shape[2] - 1), min(y, mask.shape[1] - 1)
    return mask[:, y : y + height, x : x + width].clone()


@node("MaskComposite", category="mask")
def mask_composite(
    destination: Mask, source: Mask, x: Offset = 0, y: Offset = 0, operation: Operation = "multiply"
) -> Mask:
    """Combine a mask with another that lies on it with its corner at (x, y). `and`, `or`, `xor` round both first."""
    result = batched(destination).clone()
    over = cycled(batched(source), len(result)).to(result)
    place = result[:, y : y + over.shape[1], x : x + over.shape[2]]
    over = over[:, : place.shape[1], : place.shape[2]]
    place.copy_(_combined(place, over, operation))
    return result.clamp(0, 1)


@node("FeatherMask", category="mask")
def feather_mask(mask: Mask, left: Margin = 0, top: Margin = 0, right: Margin = 0, bottom: Margin = 0) -> Mask:
    """Let a mask fade towards its edges, linearly over so many pixels."""
    mask = batched(mask)
    height, width = mask.shape[1:]
    down = ramp(height, top) * ramp(height, bottom).flip(0)
    across = ramp(width, left) * ramp(width, right).flip(0)
    return mask * (down[:, None] * across[None, :]).to(mask)


@node("GrowMask", category="mask")
def grow_mask(
    mask: Mask,
    expand: Annotated[
        int, Field(ge=-MAX_RESOLUTION, le=MAX_RESOLUTION, description="By how many pixels; below 0 it shrinks.")
    ] = 0,
    tapered_corners: bool = True,
) -> Mask:
    """Let what is selected grow in all directions, or only along rows and columns with tapered corners, or shrink."""
    grown = batched(mask)
    if expand < 0:
        return 1 - _grown(1 - grown, -expand, is_tapered=tapered_corners)
    return _grown(grown, expand, is_tapered=tapered_corners)


@node("ThresholdMask", category="mask")
def threshold_mask(mask: Mask, value: Annotated[float, Field(ge=0, le=1), Widget(step=0.01)] = 0.5) -> Mask:
    """Select whole what is selected more than `value`, and nothing else."""
    return (mask > value).float()


def _combined(under: Tensor, over: Tensor, operation: Operation) -> Tensor:
    match operation:
        case "multiply":
            return under * over
        case "add":
            return under + over
        case "subtract":
            return under - over
    first, second = under.round().bool(), over.round().bool()
    return {"and": first & second, "or": first | second, "xor": first ^ second}[operation].to(under)


def _grown(mask: Tensor, times: int, *, is_tapered: bool) -> Tensor:
    """The mask [B, H, W] dilated `times` times by a square of 3 pixels, or by a cross, which tapers corners."""
    from torch.nn.functional import max_pool2d

    for _ in range(min(times, sum(mask.shape[1:]))):  # by then everything is reached
        down = max_pool2d(mask, (3, 1), 1, (1, 0))
        mask = down.maximum(max_pool2d(mask, (1, 3), 1, (0, 1))) if is_tapered else max_pool2d(down, (1, 3), 1, (0, 1))
    return mask
