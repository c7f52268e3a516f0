"""Samplers: the mathematics that walks a noisy latent down a list of noise levels, and nothing else.

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
from typing import Any, Literal, NamedTuple, Protocol

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


class Previous(NamedTuple):
    """What a two-step method remembers of the step before."""

    sigma: float
    denoised: Tensor


def steps_of(sigmas: Tensor) -> Iterator[tuple[float, float]]:
    """The pairs (sigma, sigma_next), as Python floats: read from the device once."""
    return pairwise(sigmas.tolist())


def as_level(sigma: float) -> float:
    """A noise level of a sampler's own, as float32 holds it."""
    return float(np.float32(sigma))


def derivative(x: Tensor, denoised: Tensor, sigma: float) -> Tensor:
    """dx/dsigma of the probability flow; the same expression holds for flow models."""
    return (x - denoised) / sigma


def euler_step(x: Tensor, denoised: Tensor, sigma: float, sigma_next: float) -> Tensor:
    """One step of Euler's method from `sigma` to `sigma_next`."""
    ratio = (sigma_next - sigma) / sigma if sigma else math.nan  # from a level of 0 there is no direction to go
    return torch.add(x, x - denoised, alpha=ratio)


def euler(x: Tensor, sigmas: Tensor, step_noise: StepNoise, scaling: NoiseScaling) -> Denoising:
    """Euler's method: first order, one prediction a step. Karras et al. 2022, algorithm 1, its first half."""
    for sigma, sigma_next in steps_of(sigmas):
        denoised = yield x, sigma
        x = euler_step(x, denoised, sigma, sigma_next)
    return x


def ddim(x: Tensor, sigmas: Tensor, step_noise: StepNoise, scaling: NoiseScaling) -> Denoising:
    """DDIM with eta 0, which is Euler's method in sigma. Song et al. 2021, equation 13.

    Its other difference lies outside the sampler: see `sampler_names.RENOISES_MASK_AFRESH`.
    """
    return (yield from euler(x, sigmas, step_noise, scaling))


def heun(x: Tensor, sigmas: Tensor, step_noise: StepNoise, scaling: NoiseScaling) -> Denoising:
    """Heun's method: second order, two predictions a step save the last. Karras et al. 2022, algorithm 1."""
    for sigma, sigma_next in steps_of(sigmas):
        d = derivative(x, (yield x, sigma), sigma)
        x_next = x + d * (sigma_next - sigma)
        if sigma_next > 0:
            d_next = derivative(x_next, (yield x_next, sigma_next), sigma_next)
            x_next = x + (d + d_next) * (0.5 * (sigma_next - sigma))
        x = x_next
    return x


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


def euler_ancestral(
    x: Tensor, sigmas: Tensor, step_noise: StepNoise, scaling: NoiseScaling, *, eta: float = 1.0, s_noise: float = 1.0
) -> Denoising:
    """Euler's method with fresh noise after each step: `eta` is how much (0 none, 1 as DDPM), `s_noise` scales it."""
    for sigma, sigma_next in steps_of(sigmas):
        denoised = yield x, sigma
        sigma_down, sigma_up = ancestral_sigmas(sigma, sigma_next, eta, scaling)
        if sigma_down == 0:
            x = denoised
            continue
        x = euler_step(x, denoised, sigma, sigma_down)
        if eta > 0:
            shrink = scaling.alpha(sigma_next) / scaling.alpha(sigma_down)
            x = x * shrink + step_noise.fresh() * (sigma_up * s_noise)
    return x


def ddpm(x: Tensor, sigmas: Tensor, step_noise: StepNoise, scaling: NoiseScaling) -> Denoising:
    """The posterior of the forward process: `euler_ancestral` with eta 1. Ho et al. 2020, equations 6 and 7."""
    return (yield from euler_ancestral(x, sigmas, step_noise, scaling))


def lcm(x: Tensor, sigmas: Tensor, step_noise: StepNoise, scaling: NoiseScaling) -> Denoising:
    """Take the prediction and noise it again to the next level: for consistency models. Luo et al. 2023."""
    for sigma, sigma_next in steps_of(sigmas):
        x = yield x, sigma
        if sigma_next > 0:
            x = scaling.noised(x, step_noise.fresh(), sigma_next)
    return x


def dpmpp_2m_step(x: Tensor, denoised: Tensor, sigma: float, sigma_next: float, previous: Previous | None) -> Tensor:
    """One step of DPM-Solver++(2M), the first-order one where there is no `previous`. Lu et al. 2022b, algorithm 2."""
    if sigma_next == 0:
        return denoised
    if sigma_next == sigma:
        return x
    h = math.log(sigma / sigma_next)
    if previous is not None and previous.sigma > sigma:
        r = math.log(previous.sigma / sigma) / h
        denoised = denoised * (1 + 1 / (2 * r)) - previous.denoised * (1 / (2 * r))
    return x * (sigma_next / sigma) - denoised * math.expm1(-h)


def dpmpp_2m(x: Tensor, sigmas: Tensor, step_noise: StepNoise, scaling: NoiseScaling) -> Denoising:
    """DPM-Solver++(2M): second order from one prediction a step and the one before."""
    previous = None
    for sigma, sigma_next in steps_of(sigmas):
        denoised = yield x, sigma
        x = dpmpp_2m_step(x, denoised, sigma, sigma_next, previous)
        previous = Previous(sigma, denoised)
    return x


SolverType = Literal["midpoint", "heun"]


#: The factor of the second-order term, per alpha and per slope of the prediction, from h * (1 + eta).
_SDE_CORRECTIONS: dict[SolverType, Callable[[float], float]] = {
    "midpoint": lambda h_eta: -0.5 * math.expm1(-h_eta),
    "heun": lambda h_eta: 1 + math.expm1(-h_eta) / h_eta,
}


def dpmpp_2m_sde(
    x: Tensor,
    sigmas: Tensor,
    step_noise: StepNoise,
    scaling: NoiseScaling,
    *,
    eta: float = 1.0,
    s_noise: float = 1.0,
    solver_type: SolverType = "midpoint",
    noise_on_device: bool = False,
) -> Denoising:
    """SDE-DPM-Solver++(2M), in half the log-SNR; `eta` 0 is the ODE, 1 the SDE. Lu et al. 2022b.

    The noise is a Brownian path's, so that it stays alike when the number of steps changes; it is drawn on the CPU
    unless `noise_on_device`. Raises ValueError for a `solver_type` that is neither "midpoint" nor "heun".
    """
    if solver_type not in _SDE_CORRECTIONS:
        raise ValueError(f"solver_type {solver_type!r} is not known: dpmpp_2m_sde has 'midpoint' and 'heun'.")
    previous_denoised, previous_h = None, 0.0
    for sigma, sigma_next in steps_of(sigmas):
        denoised = yield x, sigma
        if sigma_next == 0:
            return denoised
        h = scaling.half_log_snr(sigma_next) - scaling.half_log_snr(sigma)
        if h == 0:
            continue
        h_eta, alpha = h * (1 + eta), scaling.alpha(sigma_next)
        x = x * (sigma_next / sigma * math.exp(-h * eta)) - denoised * (alpha * math.expm1(-h_eta))
        if previous_denoised is not None:
            slope = (denoised - previous_denoised) * (h / previous_h)
            x = x + slope * (alpha * _SDE_CORRECTIONS[solver_type](h_eta))
        if eta > 0 and s_noise > 0:
            noise = step_noise.between(sigma, sigma_next, on_device=noise_on_device)
            x = x + noise * (sigma_next * math.sqrt(-math.expm1(-2 * h * eta)) * s_noise)
        previous_denoised, previous_h = denoised, h
    return x


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
