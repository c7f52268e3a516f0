"""Autoencoders that are no `AutoencoderKL`: of films, here of one frame, and such as give no distribution."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from .autoencoder import Autoencoder


@dataclass(frozen=True, eq=False)
class VideoAutoencoder(Autoencoder):
    """Gives and takes latents that are normal by the statistics in its configuration, as diffusion models want them.

    Attributes:
        mean, deviation: of each channel of the network's own latents, [1, C, 1, 1]. has_frames: whether it wants films.
    """

    mean: Tensor
    deviation: Tensor
    has_frames: bool

    def _encoded(self, pixels: Tensor) -> Tensor:
        encoded = self.network.encode(pixels[:, :, None] if self.has_frames else pixels)
        latent: Tensor = encoded.latent_dist.mean if hasattr(encoded, "latent_dist") else encoded.latent
        latent = latent[:, :, 0] if self.has_frames else latent
        return (latent - self.mean.to(latent)) / self.deviation.to(latent)

    def _decoded(self, samples: Tensor) -> Tensor:
        latent = samples * self.deviation.to(samples) + self.mean.to(samples)
        pixels: Tensor = self.network.decode(latent[:, :, None] if self.has_frames else latent, return_dict=False)[0]
        return pixels[:, :, 0] if self.has_frames else pixels
