"""A VAE as packs hold it: `vae.decode(samples)`, `vae.encode(pixels)`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import surroundings
from .native_call import call_native
from .pack_value import PackValue

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
        """The same in square tiles, which takes less memory. Tiles and their overlap in cells of the latent."""
        scale = self.spacial_compression_decode()
        given = {
            "tile_size": _smaller(tile_x, tile_y, 64) * scale,
            "overlap": (16 if overlap is None else overlap) * scale,
        }
        pictures: Tensor = call_native("VAEDecodeTiled", samples={"samples": samples}, vae=self, **given)
        return pictures

    def encode_tiled(
        self, pixel_samples: Tensor, tile_x: int | None = None, tile_y: int | None = None, overlap: int | None = None,
        tile_t: int | None = None, overlap_t: int | None = None,
    ) -> Tensor:  # fmt: skip
        """The same in square tiles. Tiles and their overlap in pixels."""
        given = {"tile_size": _smaller(tile_x, tile_y, 512), "overlap": 64 if overlap is None else overlap}
        latent: dict[str, Tensor] = call_native("VAEEncodeTiled", pixels=pixel_samples, vae=self, **given)
        return latent["samples"]

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


def _smaller(tile_x: int | None, tile_y: int | None, usual: int) -> int:
    """The side of square tiles that are no larger than asked for."""
    return min(tile_x or usual, tile_y or usual)
