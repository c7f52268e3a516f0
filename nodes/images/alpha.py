"""Pictures with transparency. A mask selects what is transparent: it is 1 − alpha."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from mezzotint.engine.node import node

from ..latents.latent import cycled
from ..ports import Image, Mask
from ..resize import resize
from .image import resized
from .mask import batched

if TYPE_CHECKING:
    from torch import Tensor

PorterDuff = Literal[
    "ADD", "CLEAR", "DARKEN", "DST", "DST_ATOP", "DST_IN", "DST_OUT", "DST_OVER", "LIGHTEN", "MULTIPLY", "OVERLAY",
    "SCREEN", "SRC", "SRC_ATOP", "SRC_IN", "SRC_OUT", "SRC_OVER", "XOR",
]  # fmt: skip


class MaskedImage(NamedTuple):
    """A picture and a mask that goes with it. The names are those of saved workflows."""

    IMAGE: Image
    MASK: Mask


@node("JoinImageWithAlpha", title="Join Image with Alpha", category="mask/compositing")
def join_image_with_alpha(image: Image, alpha: Mask) -> Image:
    """Make transparent what a mask selects, in any size; an alpha that was there is replaced.

    Returns:
        float32 [B, H, W, 4]; B is the larger of both batches.
    """
    import torch

    count = max(len(image), len(batched(alpha)))
    mask = _fitted(alpha, image.shape[1], image.shape[2], count)
    return torch.cat([cycled(image[..., :3], count), (1 - mask).unsqueeze(-1).to(image)], -1)


@node("SplitImageWithAlpha", title="Split Image with Alpha", category="mask/compositing")
def split_image_with_alpha(image: Image) -> MaskedImage:
    """The colours of a picture, and a mask of what is transparent in it: nothing when it has no alpha."""
    import torch

    mask = 1 - image[..., 3] if image.shape[-1] == 4 else torch.zeros(image.shape[:3])
    return MaskedImage(image[..., :3].clone(), mask)


@node("PorterDuffImageComposite", title="Porter-Duff Image Composite", category="mask/compositing")
def porter_duff_image_composite(
    source: Image, source_alpha: Mask, destination: Image, destination_alpha: Mask, mode: PorterDuff = "DST"
) -> MaskedImage:
    """Compose two pictures by an operator of Porter and Duff, "Compositing Digital Images", 1984, or a blend.

    The alphas are 1 where a picture is opaque, and so is the one that is returned. Destination and alphas are fitted to
    the size of the source, batches to the larger.
    """
    height, width = source.shape[1:3]
    count = max(len(source), len(destination))
    over, under = cycled(source[..., :3], count), destination[..., :3].to(source)
    under = cycled(resized(under, width, height, "bicubic", "center"), count)
    over_alpha = _fitted(source_alpha, height, width, count).to(over).unsqueeze(-1)
    under_alpha = _fitted(destination_alpha, height, width, count).to(over).unsqueeze(-1)
    colours, alpha = _composed(over * over_alpha, over_alpha, under * under_alpha, under_alpha, mode)
    return MaskedImage(_unmultiplied(colours, alpha), alpha.squeeze(-1).clamp(0, 1))


def _composed(s: Tensor, sa: Tensor, d: Tensor, da: Tensor, mode: PorterDuff) -> tuple[Tensor, Tensor]:
    """Colours, premultiplied by alpha, and alpha, of source and destination together. Letters as in the paper."""
    import torch

    factors: dict[str, tuple[Any, Any]] = {
        "CLEAR": (0, 0), "SRC": (1, 0), "DST": (0, 1), "SRC_OVER": (1, 1 - sa), "DST_OVER": (1 - da, 1),
        "SRC_IN": (da, 0), "DST_IN": (0, sa), "SRC_OUT": (1 - da, 0), "DST_OUT": (0, 1 - sa),
        "SRC_ATOP": (da, 1 - sa), "DST_ATOP": (1 - da, sa), "XOR": (1 - da, 1 - sa), "ADD": (1, 1),
    }  # fmt: skip
    if mode in factors:
        of_source, of_destination = factors[mode]
        return s * of_source + d * of_destination, (sa * of_source + da * of_destination).clamp(max=1)
    rest, union = s * (1 - da) + d * (1 - sa), sa + da - sa * da
    match mode:
        case "MULTIPLY":
            return s * d, sa * da
        case "SCREEN":
            return s + d - s * d, union
        case "DARKEN":
            return rest + torch.minimum(s * da, d * sa), union
        case "LIGHTEN":
            return rest + torch.maximum(s * da, d * sa), union
    overlaid = torch.where(2 * d < da, 2 * s * d, sa * da - 2 * (da - d) * (sa - s))
    return rest + overlaid, union


def _unmultiplied(colours: Tensor, alpha: Tensor) -> Tensor:
    import torch

    return (colours / torch.where(alpha > 0, alpha, 1)).clamp(0, 1)


def _fitted(mask: Tensor, height: int, width: int, count: int) -> Tensor:
    """[count, height, width]."""
    return cycled(resize(batched(mask).unsqueeze(1), width, height, "bilinear").squeeze(1), count)
