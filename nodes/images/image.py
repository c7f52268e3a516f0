"""Pictures: plain ones, other sizes, cut, inverted, in batches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, NamedTuple

from pydantic import Field

from mezzotint.engine.node import node
from mezzotint.engine.widget import Widget

from ..ports import Image
from ..resize import MAX_RESOLUTION, Crop, ImageMethod, Method, require_memory, resize

if TYPE_CHECKING:
    from torch import Tensor

NewSide = Annotated[int, Field(ge=1, le=MAX_RESOLUTION, description="In pixels.")]
Side = Annotated[int, Field(ge=0, le=MAX_RESOLUTION, description="In pixels; 0 keeps the proportions.")]
Colour = Annotated[int, Field(ge=0, le=0xFFFFFF, description="As 0xRRGGBB."), Widget(display="color")]
Offset = Annotated[int, Field(ge=0, le=MAX_RESOLUTION, description="In pixels, from the top left corner.")]


class ImageSize(NamedTuple):
    """Sides in pixels and the number of pictures."""

    width: int
    height: int
    batch_size: int


@node("EmptyImage", category="image")
def empty_image(
    width: NewSide = 512,
    height: NewSide = 512,
    batch_size: Annotated[int, Field(ge=1, le=4096)] = 1,
    color: Colour = 0,
) -> Image:
    """A picture of one colour.

    Returns:
        float32 [batch_size, height, width, 3].

    Raises:
        OutOfMemoryError: it does not fit into memory.
    """
    import torch

    require_memory(f"a picture of {width}x{height}, {batch_size} times,", batch_size, height, width, 3)
    channels = [(color >> shift & 0xFF) / 255 for shift in (16, 8, 0)]
    return torch.tensor(channels).expand(batch_size, height, width, 3).clone()


@node("ImageInvert", title="Invert Image", category="image")
def image_invert(image: Image) -> Image:
    """The negative of a picture: 1 − x in every channel."""
    return 1.0 - image


@node("ImageScale", title="Upscale Image", category="image/upscaling")
def image_scale(
    image: Image,
    upscale_method: ImageMethod = "nearest-exact",
    width: Side = 512,
    height: Side = 512,
    crop: Crop = "disabled",
) -> Image:
    """Give a picture a size. With one side 0 the proportions stay; with both 0 nothing changes.

    Raises:
        OutOfMemoryError: the result does not fit into memory.
    """
    if width == 0 and height == 0:
        return image
    old_height, old_width = image.shape[1:3]
    if width == 0:
        width = max(1, round(old_width * height / old_height))
    elif height == 0:
        height = max(1, round(old_height * width / old_width))
    return resized(image, width, height, upscale_method, crop)


@node("ImageScaleBy", title="Upscale Image By", category="image/upscaling")
def image_scale_by(
    image: Image,
    upscale_method: ImageMethod = "nearest-exact",
    scale_by: Annotated[float, Field(ge=0.01, le=8), Widget(step=0.01)] = 1.0,
) -> Image:
    """Scale a picture by a factor; sides are rounded to whole pixels, at least one.

    Raises:
        OutOfMemoryError: the result does not fit into memory.
    """
    old_height, old_width = image.shape[1:3]
    width, height = max(1, round(old_width * scale_by)), max(1, round(old_height * scale_by))
    return resized(image, width, height, upscale_method)


@node("ImageBatch", title="Batch Images", category="image")
def image_batch(image1: Image, image2: Image) -> Image:
    """Join two pictures into one batch; the second is fitted to the size of the first, bilinearly, cut at its edges.

    If only one has alpha, the other becomes opaque.
    """
    import torch

    channels = max(image1.shape[-1], image2.shape[-1])
    first, second = with_channels(image1, channels), with_channels(image2, channels)
    if first.shape[1:3] != second.shape[1:3]:
        second = resized(second, first.shape[2], first.shape[1], "bilinear", "center")
    return torch.cat([first, second.to(first)])


@node("ImageCrop", title="Image Crop", category="image/transform")
def image_crop(image: Image, width: NewSide = 512, height: NewSide = 512, x: Offset = 0, y: Offset = 0) -> Image:
    """Cut a rectangle out of a picture; what would lie outside is left out, at least one pixel remains."""
    x, y = min(x, image.shape[2] - 1), min(y, image.shape[1] - 1)
    return image[:, y : y + height, x : x + width].clone()


@node("GetImageSize", title="Get Image Size", category="image")
def get_image_size(image: Image) -> ImageSize:
    """The sides of a picture in pixels, and how many pictures the batch has."""
    batch_size, height, width = image.shape[:3]
    return ImageSize(width, height, batch_size)


def resized(image: Tensor, width: int, height: int, method: Method, crop: Crop = "disabled") -> Tensor:
    """`resize` for channels last."""
    return resize(image.movedim(-1, 1), width, height, method, crop).movedim(1, -1).contiguous()


def with_channels(image: Tensor, count: int) -> Tensor:
    """The picture with further channels of ones: an alpha that hides nothing."""
    import torch

    missing = count - image.shape[-1]
    return torch.cat([image, torch.ones(*image.shape[:-1], missing).to(image)], -1) if missing else image


def three_channels(image: Tensor) -> Tensor:
    """The colours of a picture [B, H, W, C]: without alpha, and of a grey one thrice the same."""
    return image.expand(-1, -1, -1, 3) if image.shape[-1] == 1 else image[..., :3]
