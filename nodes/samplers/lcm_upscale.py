"""The sampler of consistency models, for latents that grow while they are sampled; see `sampler`."""

from __future__ import annotations

import torch
from torch import Tensor

from ..resize import LatentMethod, resize
from .sampler import Denoising, NoiseScaling, StepNoise, steps_of


def lcm_upscale(
    x: Tensor,
    sigmas: Tensor,
    step_noise: StepNoise,
    scaling: NoiseScaling,
    *,
    scale_ratio: float,
    scale_steps: int | None = None,
    method: LatentMethod = "bislerp",
) -> Denoising:
    """`lcm` with each of the first predictions made larger, evenly, until the latent is `scale_ratio` times as large.

    `scale_steps` is how many of them, half of all where it is None. Returns [B, C, h * scale_ratio, w * scale_ratio].
    """
    steps = len(sigmas) - 1
    growing = max((steps + 1) // 2, 1) if scale_steps is None else min(scale_steps, steps)
    height, width = x.shape[-2:]
    for k, (sigma, sigma_next) in enumerate(steps_of(sigmas), 1):
        x = yield x, sigma
        if k <= growing:
            ratio = 1 + (scale_ratio - 1) * k / growing
            x = resize(x, max(round(width * ratio), 1), max(round(height * ratio), 1), method)
        if sigma_next > 0:
            generator = step_noise.generator
            noise = torch.randn(x.shape, dtype=x.dtype, device=x.device, generator=generator)
            x = scaling.noised(x, noise, sigma_next)
    return x
