"""Nodes between pictures and latents."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from functools import partial
from typing import TYPE_CHECKING, Annotated, NamedTuple

from pydantic import Field

from mezzotint import Context, Image, Latent, Vae, Widget, node
from mezzotint.engine.errors import OutOfMemoryError

from ..images.tiling import Tiling, blended
from ..latents.box import Box
from ..resize import require_memory

if TYPE_CHECKING:
    from torch import Tensor

    from .autoencoder import Autoencoder

log = logging.getLogger("mezzotint.nodes")

PART_NBYTES = 1 << 30
"""A batch goes through the VAE in parts of about so much working memory, whatever more there is: so results depend on
the inputs alone, as long as memory is not short."""
TILE_SIZES, OVERLAP = (512, 256, 128), 64
"""The tiles, in pixels, that are tried in turn where a whole picture does not fit into memory."""

DecodedTileSize = Annotated[int, Field(ge=64, le=4096, description="Of a tile, in pixels."), Widget(step=32)]
EncodedTileSize = Annotated[int, Field(ge=64, le=4096, description="Of a tile, in pixels."), Widget(step=64)]
Overlap = Annotated[
    int,
    Field(ge=0, le=4096, description="Of neighbouring tiles, in pixels; a quarter of a tile at most."),
    Widget(step=32),
]
Frames = Annotated[int, Field(ge=8, le=4096, description="For videos; pictures have no use for it."), Widget(step=4)]
FrameOverlap = Annotated[
    int, Field(ge=4, le=4096, description="For videos; pictures have no use for it."), Widget(step=4)
]


@node("VAEDecode", title="VAE Decode", category="latent", lane="device")
def vae_decode(samples: Latent, vae: Vae, *, ctx: Context) -> Image:
    """Turn latents into pictures; in tiles, if memory is too short for a whole picture."""
    with ctx.models.borrow(vae) as autoencoder:
        return _by_memory(_decoding(samples["samples"], autoencoder), ctx).movedim(1, -1)


@node("VAEEncode", title="VAE Encode", category="latent", lane="device")
def vae_encode(pixels: Image, vae: Vae, *, ctx: Context) -> Latent:
    """Turn pictures into latents. What is beyond a multiple of the VAE's cell (8 pixels, mostly) is cut off evenly."""
    with ctx.models.borrow(vae) as autoencoder:
        return {"samples": encoded(pixels, autoencoder, ctx)}


@node("VAEDecodeTiled", title="VAE Decode (Tiled)", category="_for_testing", lane="device")
def vae_decode_tiled(
    samples: Latent,
    vae: Vae,
    tile_size: DecodedTileSize = 512,
    overlap: Overlap = 64,
    temporal_size: Frames = 64,
    temporal_overlap: FrameOverlap = 8,
    *,
    ctx: Context,
) -> Image:
    """Turn latents into pictures tile by tile, which takes less memory. Tiles may differ a little in tone.

    Raises:
        OutOfMemoryError: a tile does not fit.
    """
    with ctx.models.borrow(vae) as autoencoder:
        tiling = _tiling(tile_size, overlap, autoencoder.downscale)
        return _in_tiles(_decoding(samples["samples"], autoencoder), tiling, ctx).movedim(1, -1)


@node("VAEEncodeTiled", title="VAE Encode (Tiled)", category="_for_testing", lane="device")
def vae_encode_tiled(
    pixels: Image,
    vae: Vae,
    tile_size: EncodedTileSize = 512,
    overlap: Overlap = 64,
    temporal_size: Frames = 64,
    temporal_overlap: FrameOverlap = 8,
    *,
    ctx: Context,
) -> Latent:
    """Turn pictures into latents tile by tile, which takes less memory. Tiles may differ a little.

    Raises:
        OutOfMemoryError: a tile does not fit.
    """
    with ctx.models.borrow(vae) as autoencoder:
        tiling = _tiling(tile_size, overlap, autoencoder.downscale)
        return {"samples": _in_tiles(_encoding(pixels, autoencoder), tiling, ctx)}


def encoded(pixels: Tensor, autoencoder: Autoencoder, ctx: Context) -> Tensor:
    """The latents of pictures, by a VAE that is borrowed; in tiles, if memory is too short for a whole picture.

    Raises:
        OutOfMemoryError: not even tiles fit.
    """
    return _by_memory(_encoding(pixels, autoencoder), ctx)


class _Passage(NamedTuple):
    """A batch on its way through a VAE.

    Attributes:
        batch: [B, ...]. height, width: of its latents. downscale: of the VAE. scale: what a cell becomes, each way.
        process: a box of a part of the batch → [B, C, ...] on the CPU.
        estimate_nbytes: about how much memory it takes to do so many latents of so many cells: (count, height, width).
        what: is done, for messages.
    """

    batch: Tensor
    height: int
    width: int
    downscale: int
    scale: int
    process: Callable[[Tensor, Box], Tensor]
    estimate_nbytes: Callable[[int, int, int], int]
    what: str


def _decoding(latent: Tensor, autoencoder: Autoencoder) -> _Passage:
    height, width = latent.shape[-2:]
    scale, channels = autoencoder.downscale, latent.shape[1]
    return _Passage(
        latent, height, width, scale, scale,
        process=lambda part, box: autoencoder.decode(box.of(part)).movedim(-1, 1),
        estimate_nbytes=lambda count, tall, wide: autoencoder.estimate_decode_nbytes((count, channels, tall, wide)),
        what=f"decoding {_pictures(len(latent), width * scale, height * scale)}",
    )  # fmt: skip


def _encoding(pixels: Tensor, autoencoder: Autoencoder) -> _Passage:
    pixels, scale = autoencoder.cropped(pixels), autoencoder.downscale
    height, width = pixels.shape[1:3]

    def process(part: Tensor, box: Box) -> Tensor:
        inside = Box(*(scale * side for side in box)).of(part.movedim(-1, 1))
        return autoencoder.encode(inside.movedim(1, -1))

    return _Passage(
        pixels, height // scale, width // scale, scale, 1, process,
        estimate_nbytes=lambda count, tall, wide: autoencoder.estimate_encode_nbytes(
            (count, tall * scale, wide * scale, 3)
        ),
        what=f"encoding {_pictures(len(pixels), width, height)}",
    )  # fmt: skip


def _tiling(size: int, overlap: int, downscale: int) -> Tiling:
    """Of sizes in pixels."""
    overlap = size // 4 if size < 4 * overlap else overlap
    return Tiling(max(size // downscale, 1), overlap // downscale)


def _by_memory(passage: _Passage, ctx: Context) -> Tensor:
    """Whole, or in the largest tiles that fit. Raises OutOfMemoryError, of the whole, when none do."""
    side = max(passage.height, passage.width)
    smaller = (_tiling(size, OVERLAP, passage.downscale) for size in TILE_SIZES)
    refusals = []
    for tiling in (Tiling(side, 0), *(tiling for tiling in smaller if tiling.size < side)):
        try:
            made = _in_tiles(passage, tiling, ctx)
        except OutOfMemoryError as error:  # its traceback would keep alive what filled the memory
            refusals.append(str(error))
            continue
        if refusals:
            log.info("%s in tiles of %d pixels: memory is too short", passage.what, tiling.size * passage.downscale)
        return made
    raise OutOfMemoryError(refusals[0])


def _in_tiles(passage: _Passage, tiling: Tiling, ctx: Context) -> Tensor:
    import torch
    from torch import OutOfMemoryError as DeviceMemoryError

    sides = min(tiling.size, passage.height), min(tiling.size, passage.width)
    require_memory(passage.what, len(passage.batch), 3, passage.height * passage.scale, passage.width * passage.scale)
    count, room = _reserved(passage, sides, ctx)

    def process(part: Tensor, box: Box) -> Tensor:
        ctx.check()
        return passage.process(part, box)

    try:
        with room:
            parts = [
                blended(passage.height, passage.width, tiling, passage.scale, partial(process, part))
                for part in torch.split(passage.batch, count)
            ]
    except DeviceMemoryError as error:
        raise OutOfMemoryError(
            f"the memory of {ctx.device} was used up in {passage.what}; choose a smaller size or batch, or free some "
            f"memory"
        ) from error
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _reserved(passage: _Passage, sides: tuple[int, int], ctx: Context) -> tuple[int, AbstractContextManager[None]]:
    """How many of the batch go through at once, in tiles of these sides, and the memory for them, to be entered."""
    count = max(1, PART_NBYTES // max(passage.estimate_nbytes(1, *sides), 1))
    count = min(count, len(passage.batch))
    with suppress(OutOfMemoryError):
        return count, ctx.models.reserve(passage.estimate_nbytes(count, *sides), passage.what)
    return 1, ctx.models.reserve(passage.estimate_nbytes(1, *sides), passage.what)


def _pictures(count: int, width: int, height: int) -> str:
    return f"a {width}×{height} picture" if count == 1 else f"{count} {width}×{height} pictures"
