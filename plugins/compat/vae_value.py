"""A VAE as packs hold it: `vae.decode(samples)`, `vae.encode(pixels)`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import surroundings
from .native_call import call_native
from .pack_value import PackValue
from .tiles import tiled

if TYPE_CHECKING:
    import torch
    from torch import Tensor


class VaeValue(PackValue):
    """A VAE. Latents are unscaled, pictures channels last, 0..1; both float32 on the CPU."""

    CALLED = "vae"

    def decode(self, samples: Tensor, vae_options: Any = None) -> Tensor:
        """Latents [B, C, h, w] → pictures [B, H, W, 3]."""
        pictures: Tensor = call_native("VAEDecode", samples={"samples": samples}, vae=self)
        return pictures

    def encode(self, pixel_samples: Tensor) -> Tensor:
        """Pictures [B, H, W, C] → latents [B, C, h, w]. What is beyond a multiple of a cell is cut off evenly."""
        latent: dict[str, Tensor] = call_native("VAEEncode", pixels=pixel_samples, vae=self)
        return latent["samples"]

    def decode_tiled(
        self, samples: Tensor, tile_x: int | None = None, tile_y: int | None = None, overlap: int | None = None,
        tile_t: int | None = None, overlap_t: int | None = None,
    ) -> Tensor:  # fmt: skip
        """The same tile by tile, which takes less memory. Tiles and their overlap in cells of the latent."""
        scale = self.spacial_compression_decode()

        def decoded(tile: Tensor) -> Tensor:
            return self.decode(tile).movedim(-1, 1)

        size = tile_x or 64, tile_y or 64
        return tiled(samples, decoded, *size, 16 if overlap is None else overlap, scale, 3).movedim(1, -1)

    def encode_tiled(
        self, pixel_samples: Tensor, tile_x: int | None = None, tile_y: int | None = None, overlap: int | None = None,
        tile_t: int | None = None, overlap_t: int | None = None,
    ) -> Tensor:  # fmt: skip
        """The same tile by tile. Tiles and their overlap in pixels."""
        scale = self.spacial_compression_encode()
        height, width = (size - size % scale for size in pixel_samples.shape[1:3])
        top, left = (pixel_samples.shape[1] - height) // 2, (pixel_samples.shape[2] - width) // 2
        pixels = pixel_samples[:, top : top + height, left : left + width, :3].movedim(-1, 1)

        def encoded(tile: Tensor) -> Tensor:
            return self.encode(tile.movedim(1, -1))

        size = (_multiple(tile_x or 512, scale), _multiple(tile_y or 512, scale))
        step = _multiple(64 if overlap is None else overlap, scale)
        return tiled(pixels, encoded, *size, step, 1 / scale, self.latent_channels)

    def spacial_compression_decode(self) -> int:
        """Pixels to a cell of a latent, each way."""
        with surroundings.models().borrow(self) as autoencoder:
            return int(autoencoder.downscale)

    spacial_compression_encode = spacial_compression_decode

    def temporal_compression_decode(self) -> None:
        """Frames to a cell; None for a VAE of pictures."""

    @property
    def latent_channels(self) -> int:
        with surroundings.models().borrow(self) as autoencoder:
            return int(autoencoder.latent_channels)

    @property
    def downscale_ratio(self) -> int:
        return self.spacial_compression_encode()

    @property
    def upscale_ratio(self) -> int:
        return self.spacial_compression_decode()

    @property
    def output_channels(self) -> int:
        return 3

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        import torch

        return torch.device(surroundings.models().device)

    @property
    def output_device(self) -> torch.device:
        """Where its results lie."""
        import torch

        return torch.device("cpu")

    @property
    def vae_dtype(self) -> torch.dtype:
        """What it computes in."""
        with surroundings.models().borrow(self) as autoencoder:
            found: torch.dtype = autoencoder.dtype
            return found

    def throw_exception_if_invalid(self) -> None:
        """A VAE that was loaded is one."""


def _multiple(size: int, of: int) -> int:
    return max(size // of, 1) * of
