"""Nodes that make a picture ready to be painted over or edited, for models that see it and for models that do not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

from pydantic import Field

from mezzotint import Conditioning, Context, Image, Latent, Mask, Model, Vae, Widget, node

from ..autoencoders.vae import encoded
from ..images.image_layout import GREY
from ..images.mask import batched
from ..models.recipe import DIFFERENTIAL
from ..sampling.network_call import CONCAT_LATENT, CONCAT_MASK
from .conditioning import with_options

if TYPE_CHECKING:
    from torch import Tensor


class EditConditioning(NamedTuple):
    """What a sampler is given of a picture that is edited. The names are those of saved workflows."""

    positive: Conditioning
    negative: Conditioning
    latent: Latent


@node("VAEEncodeForInpaint", title="VAE Encode (for Inpainting)", category="latent/inpaint", lane="device")
def vae_encode_for_inpaint(
    pixels: Image,
    vae: Vae,
    mask: Mask,
    grow_mask_by: Annotated[
        int, Field(ge=0, le=64, description="How wide, in pixels, what is selected grows for sampling.")
    ] = 6,
    *,
    ctx: Context,
) -> Latent:
    """Turn a picture into a latent of which only what a mask selects is drawn; there it is grey to begin with.

    Nothing of what was under the mask is left, so it is to be sampled whole, with a `denoise` of 1.

    Args:
        mask: in any size; it is fitted to the picture, bilinearly.

    Returns:
        the latent, and its mask float32 [B, 1, H, W] of zeros and ones in pixels.

    Raises:
        OutOfMemoryError: the picture is too large.
    """
    with ctx.models.borrow(vae) as autoencoder:
        selected = autoencoder.cropped(_fitted(mask, pixels))
        samples = encoded(_greyed(autoencoder.cropped(pixels), selected), autoencoder, ctx)
    return {"samples": samples, "noise_mask": _grown(selected.movedim(-1, 1).round(), grow_mask_by)}


@node("InpaintModelConditioning", category="conditioning/inpaint", lane="device")
def inpaint_model_conditioning(
    positive: Conditioning,
    negative: Conditioning,
    vae: Vae,
    pixels: Image,
    mask: Mask,
    noise_mask: Annotated[bool, Field(description="Whether what is not selected stays as it is.")] = True,
    *,
    ctx: Context,
) -> EditConditioning:
    """Show a model for inpainting the picture with grey where the mask selects, and give the picture as a latent.

    Args:
        mask: in any size; it is fitted to the picture, bilinearly.

    Returns:
        both conditionings, with `concat_latent_image` and `concat_mask`; and the latent of the whole picture.

    Raises:
        OutOfMemoryError: the picture is too large.
    """
    with ctx.models.borrow(vae) as autoencoder:
        selected = autoencoder.cropped(_fitted(mask, pixels))
        shown = encoded(_greyed(autoencoder.cropped(pixels), selected), autoencoder, ctx)
        latent: dict[str, Any] = {"samples": encoded(pixels, autoencoder, ctx)}
    selected = selected.movedim(-1, 1)
    if noise_mask:
        latent["noise_mask"] = selected
    options = {CONCAT_LATENT: shown, CONCAT_MASK: selected}
    return EditConditioning(with_options(positive, **options), with_options(negative, **options), latent)


@node("InstructPixToPixConditioning", category="conditioning/instructpix2pix", lane="device")
def instruct_pix_to_pix_conditioning(
    positive: Conditioning, negative: Conditioning, vae: Vae, pixels: Image, *, ctx: Context
) -> EditConditioning:
    """Show a model that edits by instruction (Brooks et al. 2023) the picture, and give an empty latent of its size.

    Raises:
        OutOfMemoryError: the picture is too large.
    """
    with ctx.models.borrow(vae) as autoencoder:
        shown = encoded(pixels, autoencoder, ctx)
    options = {CONCAT_LATENT: shown}
    latent = {"samples": shown.new_zeros(shown.shape)}
    return EditConditioning(with_options(positive, **options), with_options(negative, **options), latent)


@node("DifferentialDiffusion", title="Differential Diffusion", category="_for_testing")
def differential_diffusion(
    model: Model,
    strength: Annotated[
        float, Field(ge=0, le=1, description="Less mixes in the mask as it is."), Widget(step=0.01)
    ] = 1.0,
) -> Model:
    """Read the greys of a noise mask as how much each part changes: the darker, the later in the run it is let go."""
    return model.with_option(DIFFERENTIAL, strength)


def _fitted(mask: Tensor, pixels: Tensor) -> Tensor:
    """The mask [B, H, W, 1] in the size of a picture."""
    from torch.nn.functional import interpolate

    mask, size = batched(mask)[:, None], tuple(pixels.shape[1:3])
    fitted = mask if mask.shape[-2:] == size else interpolate(mask, size, mode="bilinear")
    return fitted.movedim(1, -1)


def _greyed(pixels: Tensor, mask: Tensor) -> Tensor:
    """The picture [B, H, W, 3] with grey where the mask [1 or B, H, W, 1] is a half or more."""
    import torch

    pixels = pixels[..., :3]
    count = max(len(pixels), len(mask))
    selected = mask.round() > 0
    return torch.where(selected, GREY, pixels.expand(count, -1, -1, -1) if len(pixels) == 1 else pixels)


def _grown(mask: Tensor, by: int) -> Tensor:
    """A mask of zeros and ones [B, 1, H, W], dilated by a square of `by` pixels.

    One of even sides reaches a pixel further down and to the right.
    """
    from torch.nn.functional import max_pool2d

    if by < 2:
        return mask
    return max_pool2d(mask, by, 1, by // 2)[..., : mask.shape[-2], : mask.shape[-1]]
