"""`comfy.sample`: sampling a latent at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mezzotint.nodes.sampling.noise import initial_noise
from mezzotint.nodes.sampling.sampler_value import NamedSampler
from mezzotint.plugins.compat.pack_sampling import guided_by, latent_of, noise_of, sampled, steps_of

if TYPE_CHECKING:
    from torch import Tensor


def prepare_noise(latent_image: Tensor, seed: int, noise_inds: Any = None) -> Tensor:
    """The noise of a seed for a latent [B, C, h, w]; `noise_inds` says which of the seed's noises each item has."""
    return initial_noise(latent_image.shape, seed, None if noise_inds is None else [*map(int, noise_inds)])


def fix_empty_latent_channels(model: Any, latent_image: Tensor, *_: Any) -> Tensor:
    """A latent that is all zeros, with as many channels as the model has."""
    channels = model.sampling.latent_channels
    if latent_image.shape[1] == channels or latent_image.any():
        return latent_image
    return latent_image.new_zeros(latent_image.shape[0], channels, *latent_image.shape[2:])


def sample(
    model: Any, noise: Tensor, steps: int, cfg: float, sampler_name: str, scheduler: str, positive: Any, negative: Any,
    latent_image: Tensor, denoise: float = 1.0, disable_noise: bool = False, start_step: int | None = None,
    last_step: int | None = None, force_full_denoise: bool = False, noise_mask: Tensor | None = None,
    sigmas: Tensor | None = None, callback: Any = None, disable_pbar: bool = False, seed: int | None = None,
) -> Tensor:  # fmt: skip
    """The samples [B, C, h, w] of a latent, denoised by a named sampler and schedule."""
    if sigmas is None:
        sigmas = steps_of(model, sampler_name, scheduler, steps, denoise, start_step, last_step,
                          force_full_denoise=force_full_denoise)  # fmt: skip
    drawn = noise_of(noise, seed, is_disabled=disable_noise)
    guider = guided_by(model, positive, negative, cfg)
    latent = sampled(guider, NamedSampler(sampler_name), sigmas, drawn, latent_of(latent_image, noise_mask), callback)
    samples: Tensor = latent["samples"]
    return samples


def sample_custom(
    model: Any, noise: Tensor, cfg: float, sampler: Any, sigmas: Tensor, positive: Any, negative: Any,
    latent_image: Tensor, noise_mask: Tensor | None = None, callback: Any = None, disable_pbar: bool = False,
    seed: int | None = None,
) -> Tensor:  # fmt: skip
    """The samples [B, C, h, w] of a latent, denoised by a sampler along noise levels."""
    guider = guided_by(model, positive, negative, cfg)
    latent = sampled(guider, sampler, sigmas, noise_of(noise, seed), latent_of(latent_image, noise_mask), callback)
    samples: Tensor = latent["samples"]
    return samples
