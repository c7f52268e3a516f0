"""What a sampler is: the mathematics that walks a noisy latent down a list of noise levels, and nothing else.

A sampler is a generator function of one shape:

    sampler(x, sigmas, step_noise, scaling, **options) -> Denoising

- `x`: float tensor [B, C, h, w] (or any other shape) at noise level `sigmas[0]`: x = alpha(sigma) * x0 + sigma * noise,
  with alpha = 1 for models trained on discrete timesteps and alpha = 1 - sigma for flow models.
- `sigmas`: float32 tensor [n + 1], decreasing, usually ending in 0. Fewer than two values: x comes back unchanged.
- `step_noise`: where noise that is added between steps comes from; deterministic samplers never ask.
- `scaling`: what the family of the model means by a noise level.
- It yields `(x, sigma)`, sigma a Python float that float32 holds exactly, and is sent the prediction of x0 for it.
- It returns the final x. It changes no tensor in place, so a driver may keep what was yielded.

Guidance, progress, previews, masks and cancellation belong to whoever drives the generator.

In the bodies, the letters of the papers: `d` the derivative dx/dsigma, `h` a step in log-SNR, `r` a ratio of steps.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterator
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

Denoising = Generator[tuple[Tensor, float], Tensor, Tensor]
SamplerFunction = Callable[..., Denoising]


class StepNoise(Protocol):
    """Standard normal noise of the latent's shape, dtype and device, for the steps of one run."""

    @property
    def generator(self) -> torch.Generator:
        """The generator on the latent's device that `fresh` draws from."""

    def fresh(self) -> Tensor:
        """Noise that is independent of all before it."""

    def between(self, sigma: float, sigma_next: float, *, on_device: bool = False) -> Tensor:
        """The increment of one Brownian path between two noise levels, scaled to unit variance."""


class NoiseScaling(Protocol):
    """How a family of models mixes a latent and noise at a noise level."""

    @property
    def is_flow(self) -> bool:
        """Whether sigma runs from 1 to 0 and x = (1 - sigma) * x0 + sigma * noise."""

    def alpha(self, sigma: float) -> float:
        """The factor of x0 in x."""

    def half_log_snr(self, sigma: float) -> float:
        """ln(alpha / sigma), finite for every sigma > 0 of a schedule."""

    def noised(self, latent: Tensor, noise: Tensor, sigma: float) -> Tensor:
        """alpha * latent + sigma * noise."""


def steps_of(sigmas: Tensor) -> Iterator[tuple[float, float]]:
    """The pairs (sigma, sigma_next), as Python floats: read from the device once."""
    return pairwise(sigmas.tolist())


def as_level(sigma: float) -> float:
    """A noise level of a sampler's own, as float32 holds it."""
    return float(np.float32(sigma))


def derivative(x: Tensor, denoised: Tensor, sigma: float) -> Tensor:
    """dx/dsigma of the probability flow; the same expression holds for flow models."""
    return (x - denoised) / sigma


def ancestral_sigmas(sigma: float, sigma_next: float, eta: float, scaling: NoiseScaling) -> tuple[float, float]:
    """`(sigma_down, sigma_up)`: the level to step down to, and the noise that is then added to arrive at `sigma_next`.

    Song et al. 2021 (DDIM), equation 16; for flow models the level down is interpolated in sigma, and x is to be
    shrunk by alpha(sigma_next) / alpha(sigma_down) before the noise.
    """
    if scaling.is_flow:
        sigma_down = sigma_next * (1 + (sigma_next / sigma - 1) * eta)
        shrink = scaling.alpha(sigma_next) / scaling.alpha(sigma_down)
        return sigma_down, math.sqrt(max(sigma_next**2 - (sigma_down * shrink) ** 2, 0.0))
    sigma_up = min(sigma_next, eta * math.sqrt(sigma_next**2 * (sigma**2 - sigma_next**2) / sigma**2))
    return math.sqrt(sigma_next**2 - sigma_up**2), sigma_up


def single_step(
    sampler: SamplerFunction,
    x: Tensor,
    denoised: Tensor,
    sigma: float,
    sigma_next: float,
    step_noise: StepNoise,
    scaling: NoiseScaling,
    **options: Any,
) -> Tensor:
    """One step of a sampler outside its loop, given the prediction for `(x, sigma)`: bit-equal to the loop's own step.

    `sigma` and `sigma_next` must be float32 values, as a schedule's are. A sampler that uses earlier predictions runs
    without them. Raises ValueError for one that needs a second prediction within the step, such as heun.
    """
    steps = sampler(x, torch.tensor([sigma, sigma_next]), step_noise, scaling, **options)
    next(steps)
    try:
        steps.send(denoised)
    except StopIteration as finished:
        result: Tensor = finished.value
        return result
    raise ValueError("this sampler asks for more than one prediction a step, so a single step cannot be taken with it.")
