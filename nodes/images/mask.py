"""Masks: made, inverted, and to and from pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from mezzotint.engine.errors import MezzotintError
from mezzotint.engine.node import node
from mezzotint.engine.widget import Widget

from ..ports import Image, Mask
from ..resize import MAX_RESOLUTION, require_memory

if TYPE_CHECKING:
    from torch import Tensor

Channel = Literal["red", "green", "blue", "alpha"]
CHANNELS = ("red", "green", "blue", "alpha")

Side = Annotated[int, Field(ge=1, le=MAX_RESOLUTION, description="In pixels.")]


class MaskError(MezzotintError):
    """A picture cannot give the mask that is wanted of it."""


@node("ImageToMask", title="Convert Image to Mask", category="mask")
def image_to_mask(image: Image, channel: Channel = "red") -> Mask:
    """One channel of a picture as a mask, as it is: 1 is selected.

    Raises:
        MaskError: the picture has no such channel.
    """
    index = CHANNELS.index(channel)
    if index >= image.shape[-1]:
        raise MaskError(
            f"the picture has {image.shape[-1]} channels and no {channel} one; "
            f"choose {' or '.join(CHANNELS[: image.shape[-1]])}"
        )
    return image[..., index].clone()


@node("MaskToImage", title="Convert Mask to Image", category="mask")
def mask_to_image(mask: Mask) -> Image:
    """A mask as a grey picture: white is selected.

    Returns:
        float32 [B, H, W, 3].
    """
    return batched(mask).unsqueeze(-1).expand(-1, -1, -1, 3).clone()


@node("InvertMask", category="mask")
def invert_mask(mask: Mask) -> Mask:
    """Select what was not selected: 1 − mask."""
    return 1.0 - mask


@node("SolidMask", category="mask")
def solid_mask(
    value: Annotated[float, Field(ge=0, le=1), Widget(step=0.01)] = 1.0, width: Side = 512, height: Side = 512
) -> Mask:
    """A mask of one value.

    Returns:
        float32 [1, height, width].

    Raises:
        OutOfMemoryError: it does not fit into memory.
    """
    import torch

    require_memory(f"a mask of {width}x{height}", height, width)
    return torch.full((1, height, width), value)


def batched(mask: Tensor) -> Tensor:
    """[B, H, W], of [H, W] too."""
    return mask.reshape(-1, *mask.shape[-2:])
