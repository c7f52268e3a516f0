"""The best known samplers: of first order, of second order, and with noise. `sampler` says what all have in common."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal, NamedTuple

from torch import Tensor

from .sampler import Denoising, NoiseScaling, StepNoise, ancestral_sigmas, derivative, steps_of


class Previous(NamedTuple):
    """What a two-step method remembers of the step before."""

    sigma: float
    denoised: Tensor


def euler_step(x: Tensor, denoised: Tensor, sigma: float, sigma_next: float) -> Tensor:
    """One step of Euler's method from `sigma` to `sigma_next`."""
    ratio = (sigma_next - sigma) / sigma if sigma else math.nan  # from a level of 0 there is no direction to go
    return x.add(x - denoised, alpha=ratio)


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
