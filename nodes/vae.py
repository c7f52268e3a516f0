"""Nodes between pictures and latents."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from mezzotint import Context, Image, Latent, Vae, node
from mezzotint.engine.errors import OutOfMemoryError

if TYPE_CHECKING:
    from torch import Tensor

    from .autoencoder import Autoencoder

PART_NBYTES = 1 << 30
"""A batch goes through the VAE in parts of about so much working memory. Fixed, so that results depend on the inputs
alone."""


@node("VAEDecode", title="VAE Decode", category="latent", lane="device")
def vae_decode(samples: Latent, vae: Vae, *, ctx: Context) -> Image:
    """Turn latents into pictures."""
    latent: Tensor = samples["samples"]
    height, width = latent.shape[-2:]
    with ctx.models.borrow(vae) as autoencoder:
        scale = autoencoder.downscale
        what = f"decoding {_pictures(len(latent), width * scale, height * scale)}"
        return _in_parts(latent, autoencoder.decode, autoencoder.estimate_decode_nbytes, what, ctx)


@node("VAEEncode", title="VAE Encode", category="latent", lane="device")
def vae_encode(pixels: Image, vae: Vae, *, ctx: Context) -> Latent:
    """Turn pictures into latents. What is beyond a multiple of the VAE's cell (8 pixels, mostly) is cut off evenly."""
    with ctx.models.borrow(vae) as autoencoder:
        return {"samples": encoded(pixels, autoencoder, ctx)}


def encoded(pixels: Tensor, autoencoder: Autoencoder, ctx: Context) -> Tensor:
    """The latents of pictures, by a VAE that is borrowed.

    Raises:
        OutOfMemoryError: there is too little.
    """
    height, width = pixels.shape[1:3]
    what = f"encoding {_pictures(len(pixels), width, height)}"
    return _in_parts(pixels, autoencoder.encode, autoencoder.estimate_encode_nbytes, what, ctx)


def _in_parts(
    batch: Tensor,
    process: Callable[[Tensor], Tensor],
    estimate_nbytes: Callable[[tuple[int, ...]], int],
    what: str,
    ctx: Context,
) -> Tensor:
    import torch
    from torch import OutOfMemoryError as DeviceMemoryError

    count = max(1, PART_NBYTES // max(estimate_nbytes((1, *batch.shape[1:])), 1))
    ctx.models.reserve(estimate_nbytes((min(count, len(batch)), *batch.shape[1:])), what)
    done = []
    try:
        for part in torch.split(batch, count):
            ctx.check()
            done.append(process(part))
    except DeviceMemoryError as error:
        raise OutOfMemoryError(
            f"the memory of {ctx.device} was used up in {what}; choose a smaller size or batch, or free some memory"
        ) from error
    return done[0] if len(done) == 1 else torch.cat(done)


def _pictures(count: int, width: int, height: int) -> str:
    return f"a {width}×{height} picture" if count == 1 else f"{count} {width}×{height} pictures"
