"""One picture or latent laid over another, at a place, through a mask or with soft edges."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from mezzotint.engine.node import node
from mezzotint.engine.widget import Widget

from ..latents.latent import PIXELS, LatentError, cycled
from ..ports import Image, Latent, Mask
from ..resize import MAX_RESOLUTION, resize
from .image import with_channels

if TYPE_CHECKING:
    from torch import Tensor

Offset = Annotated[int, Field(ge=0, le=MAX_RESOLUTION, description="In pixels, from the top left corner.")]
LatentOffset = Annotated[
    int, Field(ge=0, le=MAX_RESOLUTION, description="In pixels, from the top left corner."), Widget(step=8)
]
Feather = Annotated[
    int, Field(ge=0, le=MAX_RESOLUTION, description="Width of the soft edge, in pixels."), Widget(step=8)
]


@node("ImageCompositeMasked", category="image")
def image_composite_masked(
    destination: Image,
    source: Image,
    x: Offset = 0,
    y: Offset = 0,
    resize_source: bool = False,
    mask: Mask | None = None,
) -> Image:
    """Lay `source` over `destination` with its corner at (x, y), where the mask selects it; else all of it.

    What lies outside is left out.

    Args:
        resize_source: fit the source to the destination's size first, bilinearly.
        mask: in any size; it is fitted to the source.
    """
    channels = max(destination.shape[-1], source.shape[-1])
    under, over = (with_channels(image, channels).movedim(-1, 1) for image in (destination, source))
    return pasted(under, over, x, y, mask, is_fitted=resize_source).movedim(1, -1).contiguous()


@node("LatentCompositeMasked", category="latent")
def latent_composite_masked(
    destination: Latent,
    source: Latent,
    x: LatentOffset = 0,
    y: LatentOffset = 0,
    resize_source: bool = False,
    mask: Mask | None = None,
) -> Latent:
    """Lay one latent over another with its corner at (x, y) in pixels, where the mask selects it; else all of it.

    Raises:
        LatentError: they have different numbers of channels.
    """
    under, over = destination["samples"], source["samples"]
    if under.shape[1] != over.shape[1]:
        raise LatentError.of_channels("destination", under, "source", over)
    result = pasted(under, over, x // PIXELS, y // PIXELS, mask, is_fitted=resize_source)
    return {**destination, "samples": result}


@node("LatentComposite", title="Latent Composite", category="latent")
def latent_composite(
    samples_to: Latent, samples_from: Latent, x: LatentOffset = 0, y: LatentOffset = 0, feather: Feather = 0
) -> Latent:
    """Lay one latent over another, with soft edges where it ends inside the other.

    Raises:
        LatentError: they have different numbers of channels.
    """
    under, over = samples_to["samples"], samples_from["samples"]
    if under.shape[1] != over.shape[1]:
        raise LatentError.of_channels("samples_to", under, "samples_from", over)
    left, top = x // PIXELS, y // PIXELS
    weight = _soft_edges(under, over, left, top, feather // PIXELS)
    return {**samples_to, "samples": pasted(under, over, left, top, weight)}


def pasted(
    under: Tensor, over: Tensor, x: int, y: int, mask: Tensor | None = None, *, is_fitted: bool = False
) -> Tensor:
    """`over` mixed into a copy of `under` with its corner at (x, y); what lies outside is left out.

    Args:
        under, over: [B, C, h, w]; the batch of `over` is repeated. x, y: in elements.
        mask: 1 = `over`, [B, H, W] or [H, W], fitted to `over`. is_fitted: whether `over` takes the size of `under`.
    """
    height, width = under.shape[-2:]
    if is_fitted:
        over = resize(over, width, height, "bilinear")
    result = under.clone()
    place = result[..., y : y + over.shape[-2], x : x + over.shape[-1]]
    seen = (..., slice(place.shape[-2]), slice(place.shape[-1]))
    over = cycled(over, len(under)).to(under)
    if mask is None:
        place.copy_(over[seen])
    else:
        weight = resize(mask.reshape(-1, 1, *mask.shape[-2:]), over.shape[-1], over.shape[-2], "bilinear")
        place.lerp_(over[seen], cycled(weight, len(under)).to(under)[seen])
    return result


def ramp(size: int, length: int) -> Tensor:
    """`size` weights of which the first `length` rise to 1: 1/length, 2/length, ..."""
    import torch

    return (torch.arange(1, size + 1) / max(1, length)).clamp(max=1)


def _soft_edges(under: Tensor, over: Tensor, x: int, y: int, feather: int) -> Tensor | None:
    """A mask [h, w] for `over` that rises linearly from the edges that lie inside `under`; None when it is all ones."""
    if not feather:
        return None
    tall, wide = over.shape[-2:]
    down = ramp(tall, feather if y else 0) * ramp(tall, feather if y + tall < under.shape[-2] else 0).flip(0)
    across = ramp(wide, feather if x else 0) * ramp(wide, feather if x + wide < under.shape[-1] else 0).flip(0)
    return down[:, None] * across[None, :]
