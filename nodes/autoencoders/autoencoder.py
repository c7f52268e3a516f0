"""The autoencoder: pictures to latents and back.

Latents are the VAE's own, unscaled; `ModelSampling` knows the scale that a diffusion model wants.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mezzotint.engine.errors import MezzotintError

from ..images.image import three_channels

if TYPE_CHECKING:
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

ALIVE_AT_FULL_SIZE = 5
"""Tensors of the widest full-size layer that are alive at once: 4.2 measured, decoding and encoding, on the CPU."""


class LatentChannelsError(MezzotintError):
    """A latent has not the channels that the VAE decodes."""


@dataclass(frozen=True, eq=False)
class Autoencoder:
    """A VAE on its device.

    Attributes:
        network: of diffusers. device, dtype: where it is and computes in.
        latent_channels: of its latents. downscale: pixels to one latent cell, each way.
        encoder_width, decoder_width: the most channels that either has at the size of the picture.
    """

    network: AutoencoderKL = field(repr=False)
    device: torch.device
    dtype: torch.dtype
    latent_channels: int
    downscale: int
    encoder_width: int
    decoder_width: int

    def encode(self, image: Tensor) -> Tensor:
        """The latent of a picture: the mean of the distribution that the encoder gives.

        Args:
            image: float32 [B, H, W, C], 0..1, on any device. Alpha is dropped, grey becomes three channels, and what
                is beyond a multiple of `downscale` is cut off on both sides.

        Returns:
            float32 [B, latent channels, H // downscale, W // downscale] on the CPU.
        """
        pixels = three_channels(self.cropped(image)).movedim(-1, 1).to(self.device, self.dtype) * 2 - 1
        return self._encoded(pixels).float().cpu()

    def _encoded(self, pixels: Tensor) -> Tensor:
        mean: Tensor = self.network.encode(pixels).latent_dist.mean
        return mean

    def cropped(self, image: Tensor) -> Tensor:
        """The middle of a picture or mask [B, H, W, C], of sides that are multiples of `downscale`."""
        height, width = (size - size % self.downscale for size in image.shape[1:3])
        top, left = (image.shape[1] - height) // 2, (image.shape[2] - width) // 2
        return image[:, top : top + height, left : left + width]

    def decode(self, samples: Tensor) -> Tensor:
        """The picture of a latent.

        Args:
            samples: [B, latent channels, h, w], unscaled, on any device.

        Returns:
            float32 [B, h * downscale, w * downscale, 3], 0..1, on the CPU.

        Raises:
            LatentChannelsError: the latent is of another model.
        """
        if samples.ndim != 4 or samples.shape[1] != self.latent_channels:
            raise LatentChannelsError(
                f"a latent of shape {list(samples.shape)} cannot be decoded by this VAE, which wants "
                f"[batch, {self.latent_channels}, height, width]; use the VAE of the model that made it"
            )
        pixels = self._decoded(samples.to(self.device, self.dtype))
        return (pixels.float() + 1).div_(2).clamp_(0, 1).movedim(1, -1).cpu().contiguous()

    def _decoded(self, samples: Tensor) -> Tensor:
        pixels: Tensor = self.network.decode(samples, return_dict=False)[0]
        return pixels

    def estimate_decode_nbytes(self, shape: Sequence[int]) -> int:
        """About how much memory it takes to decode samples of the shape [B, C, h, w]."""
        batch, _, height, width = shape
        return self._estimate_nbytes(batch * height * width * self.downscale**2, self.decoder_width)

    def estimate_encode_nbytes(self, shape: Sequence[int]) -> int:
        """About how much memory it takes to encode a picture of the shape [B, H, W, C]."""
        batch, height, width = shape[:3]
        return self._estimate_nbytes(batch * height * width, self.encoder_width)

    def _estimate_nbytes(self, pixels: int, width: int) -> int:
        return pixels * (width * ALIVE_AT_FULL_SIZE * self.dtype.itemsize + 6 * 4)
