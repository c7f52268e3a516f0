"""Pictures given other proportions, room around them, or a neighbour."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

from pydantic import Field

from mezzotint.engine.node import node
from mezzotint.engine.widget import Widget

from ..latents.latent import cycled
from ..ports import Image, Mask
from ..resize import MAX_RESOLUTION, ImageMethod, Method, require_memory
from .image import resized, with_channels

if TYPE_CHECKING:
    from torch import Tensor

MEGAPIXEL = 1024 * 1024
GREY = 0.5
COLOURS = {"white": (1, 1, 1), "black": (0, 0, 0), "red": (1, 0, 0), "green": (0, 1, 0), "blue": (0, 0, 1)}

Margin = Annotated[int, Field(ge=0, le=MAX_RESOLUTION, description="In pixels."), Widget(step=8)]
SideMethod = Literal["area", "lanczos", "bilinear", "nearest-exact", "bicubic"]
Direction = Literal["right", "down", "left", "up"]
Colour = Literal["white", "black", "red", "green", "blue"]


class PaddedImage(NamedTuple):
    """A picture with room around it, and a mask of what is to be painted. The names are those of saved workflows."""

    IMAGE: Image
    MASK: Mask


@node("ImageScaleToTotalPixels", category="image/upscaling")
def image_scale_to_total_pixels(
    image: Image,
    upscale_method: ImageMethod = "nearest-exact",
    megapixels: Annotated[float, Field(ge=0.01, le=16, description="Of 1024 × 1024."), Widget(step=0.01)] = 1.0,
) -> Image:
    """Scale a picture to a number of pixels; the proportions stay, sides are rounded.

    Raises:
        OutOfMemoryError: the result does not fit into memory.
    """
    height, width = image.shape[1:3]
    return _scaled(image, (megapixels * MEGAPIXEL / (width * height)) ** 0.5, upscale_method)


@node("ImageScaleToMaxDimension", category="image/upscaling")
def image_scale_to_max_dimension(
    image: Image,
    upscale_method: SideMethod = "area",
    largest_size: Annotated[int, Field(ge=0, le=MAX_RESOLUTION, description="In pixels; 0 changes nothing.")] = 512,
) -> Image:
    """Scale a picture so that its longer side has a length; the proportions stay.

    Raises:
        OutOfMemoryError: the result does not fit into memory.
    """
    if largest_size == 0:
        return image
    return _scaled(image, largest_size / max(image.shape[1:3]), upscale_method)


@node("ImagePadForOutpaint", title="Pad Image for Outpainting", category="image")
def image_pad_for_outpaint(
    image: Image,
    left: Margin = 0,
    top: Margin = 0,
    right: Margin = 0,
    bottom: Margin = 0,
    feathering: Annotated[
        int, Field(ge=0, le=MAX_RESOLUTION, description="How far the mask reaches into the picture, in pixels.")
    ] = 40,
) -> PaddedImage:
    """Give a picture grey room around it, to be painted.

    Returns:
        the picture, and a mask [1, H, W]: 1 in the room; inside the picture it falls with the square of the distance
        from the edges that got room, to 0 at `feathering` pixels.

    Raises:
        OutOfMemoryError: the result does not fit into memory.
    """
    import torch

    count, height, width, channels = image.shape
    size = (top + height + bottom, left + width + right)
    require_memory(f"a picture of {size[1]}x{size[0]}, {count} times,", count, *size, channels)
    padded = image.new_full((count, *size, channels), GREY)
    padded[:, top : top + height, left : left + width] = image
    mask = torch.ones(1, *size)
    down, across = _distance(height, top > 0, bottom > 0), _distance(width, left > 0, right > 0)
    distance = torch.minimum(down[:, None], across[None, :])
    is_soft = 0 < 2 * feathering < min(height, width)
    inside = (1 - distance / feathering).clamp(min=0) ** 2 if is_soft else torch.zeros(height, width)
    mask[:, top : top + height, left : left + width] = inside
    return PaddedImage(padded, mask)


@node("ImageStitch", title="Image Stitch", category="image/transform")
def image_stitch(
    image1: Image,
    direction: Direction = "right",
    match_image_size: bool = True,
    spacing_width: Annotated[int, Field(ge=0, le=1024, description="In pixels."), Widget(step=2)] = 0,
    spacing_color: Colour = "white",
    image2: Image | None = None,
) -> Image:
    """Put a second picture beside the first, on the side that `direction` says.

    Args:
        match_image_size: scale the second to the first's height (or width); if not, the smaller is centred on black.

    Raises:
        OutOfMemoryError: the result does not fit into memory.
    """
    import torch

    if image2 is None:
        return image1
    axis = 2 if direction in ("right", "left") else 1
    first, second = _matched(image1, image2, axis, is_scaled=match_image_size)
    parts = [first, second] if direction in ("right", "down") else [second, first]
    if spacing_width:
        shape = list(first.shape)
        shape[axis] = spacing_width
        colour = torch.tensor(COLOURS[spacing_color], dtype=first.dtype)
        parts.insert(1, with_channels(colour.expand(*shape[:3], 3), shape[-1]))
    require_memory("the stitched picture", *first.shape[:2], first.shape[2], 2 * first.shape[3])
    return torch.cat(parts, axis)


def _scaled(image: Tensor, factor: float, method: Method) -> Tensor:
    height, width = (max(1, round(side * factor)) for side in image.shape[1:3])
    return resized(image, width, height, method)


def _distance(size: int, has_room_before: bool, has_room_after: bool) -> Tensor:
    """How far each row is from the edges that got room, in pixels; infinite when none did."""
    import torch

    places = torch.arange(size, dtype=torch.float32)
    far = torch.full((size,), torch.inf)
    return torch.minimum(places if has_room_before else far, size - places if has_room_after else far)


def _matched(image1: Tensor, image2: Tensor, axis: int, *, is_scaled: bool) -> tuple[Tensor, Tensor]:
    """Both with the same batch, channels, and length across the direction they are put together in."""
    channels, count = max(image1.shape[-1], image2.shape[-1]), max(len(image1), len(image2))
    first, second = (cycled(with_channels(image, channels), count) for image in (image1, image2.to(image1)))
    across = 3 - axis
    if is_scaled:
        second = _scaled(second, first.shape[across] / second.shape[across], "lanczos")
    length = max(first.shape[across], second.shape[across])
    return _centred(first, length, across), _centred(second, length, across)


def _centred(image: Tensor, length: int, axis: int) -> Tensor:
    """On black of a length along an axis."""
    shape = list(image.shape)
    if shape[axis] == length:
        return image
    start, shape[axis] = (length - shape[axis]) // 2, length
    result = image.new_zeros(shape)
    result.narrow(axis, start, image.shape[axis]).copy_(image)
    return result
