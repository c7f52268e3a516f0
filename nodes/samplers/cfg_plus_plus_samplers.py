"""CFG++ samplers: they go to the guided prediction, but along the noise of the unconditional one. Chung et al. 2024.

They are sent a `GuidedPair` in place of a prediction; see `sampler` for the rest. The guidance scale is then small: 1
goes all the way to the prompt, and what is usual lies below 2.
"""

from __future__ import annotations

import math
from collections.abc import Generator
from typing import NamedTuple

from torch import Tensor

from .log_snr_samplers import AncestralStep, level_at
from .sampler import NoiseScaling, StepNoise, ancestral_sigmas, derivative, steps_of


class GuidedPair(NamedTuple):
    """What a sampler of `sampler_names.SEES_UNCONDITIONAL` is sent: two predictions of x0, like x."""

    denoised: Tensor
    unconditional: Tensor


PairDenoising = Generator[tuple[Tensor, float], GuidedPair, Tensor]


def euler_pair_step(
    x: Tensor, denoised: Tensor, unconditional: Tensor, sigma: float, sigma_next: float, scaling: NoiseScaling
) -> Tensor:
    """The guided prediction with the noise of the unconditional one, at the next level. Equation 9 of the paper."""
    noise = (x - unconditional * scaling.alpha(sigma)) / sigma
    return denoised * scaling.alpha(sigma_next) + noise * sigma_next


def euler_cfg_pp(x: Tensor, sigmas: Tensor, step_noise: StepNoise, scaling: NoiseScaling) -> PairDenoising:
    """Euler's method (DDIM) by CFG++. Algorithm 2 of the paper."""
    return (yield from euler_ancestral_cfg_pp(x, sigmas, step_noise, scaling, eta=0.0))


def euler_ancestral_cfg_pp(
    x: Tensor, sigmas: Tensor, step_noise: StepNoise, scaling: NoiseScaling, *, eta: float = 1.0, s_noise: float = 1.0
) -> PairDenoising:
    """`euler_cfg_pp` to the level down, then fresh noise: `eta` is how much (0 none, 1 as DDPM)."""
    for sigma, sigma_next in steps_of(sigmas):
        denoised, unconditional = yield x, sigma
        sigma_down, sigma_up = ancestral_sigmas(sigma, sigma_next, eta, scaling)
        x = euler_pair_step(x, denoised, unconditional, sigma, sigma_down, scaling)
        if eta > 0 and sigma_down > 0:
            shrink = scaling.alpha(sigma_next) / scaling.alpha(sigma_down)
            x = x * shrink + step_noise.fresh() * (sigma_up * s_noise)
    return x


def dpmpp_2s_ancestral_cfg_pp(
    x: Tensor, sigmas: Tensor, step_noise: StepNoise, scaling: NoiseScaling, *, eta: float = 1.0, s_noise: float = 1.0
) -> PairDenoising:
    """`dpmpp_2s_ancestral` from x with the unconditional prediction in it exchanged for the guided one."""
    for sigma, sigma_next in steps_of(sigmas):
        denoised, unconditional = yield x, sigma
        if sigma_next == 0:
            return denoised
        if sigma_next == sigma:
            continue
        step = AncestralStep.between(sigma, sigma_next, eta, scaling)
        middle = level_at(scaling.half_log_snr(sigma) + step.h / 2, scaling)
        x = x + (denoised - unconditional) * scaling.alpha(sigma)
        x_middle = AncestralStep.between(sigma, middle, 0.0, scaling).moved(x, denoised)
        denoised, _ = yield x_middle, middle
        x = step.moved(x, denoised)
        if eta > 0:
            x = x + step_noise.fresh() * (step.noise * s_noise)
    return x


def dpmpp_2m_cfg_pp(x: Tensor, sigmas: Tensor, step_noise: StepNoise, scaling: NoiseScaling) -> PairDenoising:
    """DPM-Solver++(2M) by CFG++: what changed is counted from the unconditional prediction of the step before."""
    before: tuple[float, Tensor] | None = None
    for sigma, sigma_next in steps_of(sigmas):
        denoised, unconditional = yield x, sigma
        if sigma_next == 0:
            return denoised
        h = math.log(sigma / sigma_next)
        if h == 0:
            continue
        x = euler_pair_step(x, denoised, unconditional, sigma, sigma_next, scaling)
        if before is not None:
            x = x - (denoised - before[1]) * (math.expm1(-h) * h / (2 * before[0]))
        before = h, unconditional
    return x


def res_multistep_cfg_pp(x: Tensor, sigmas: Tensor, step_noise: StepNoise, scaling: NoiseScaling) -> PairDenoising:
    """`res_multistep` by CFG++."""
    return (yield from res_multistep_ancestral_cfg_pp(x, sigmas, step_noise, scaling, eta=0.0))


def res_multistep_ancestral_cfg_pp(
    x: Tensor, sigmas: Tensor, step_noise: StepNoise, scaling: NoiseScaling, *, eta: float = 1.0, s_noise: float = 1.0
) -> PairDenoising:
    """`res_multistep_ancestral` of the unconditional prediction, which is then exchanged for the guided one."""
    before: tuple[float, Tensor] | None = None
    for sigma, sigma_next in steps_of(sigmas):
        denoised, unconditional = yield x, sigma
        if sigma_next == 0:
            return denoised
        if sigma_next == sigma:
            continue
        here, step = scaling.half_log_snr(sigma), AncestralStep.between(sigma, sigma_next, eta, scaling)
        x = step.moved_by_two(x, unconditional, before and (before[0] - here, before[1]))
        x = x + (denoised - unconditional) * step.alpha
        if eta > 0:
            x = x + step_noise.fresh() * (step.noise * s_noise)
        before = here, unconditional
    return x


def gradient_estimation_cfg_pp(
    x: Tensor, sigmas: Tensor, step_noise: StepNoise, scaling: NoiseScaling, *, gamma: float = 2.0
) -> PairDenoising:
    """`gradient_estimation` by CFG++."""
    before: Tensor | None = None
    for sigma, sigma_next in steps_of(sigmas):
        denoised, unconditional = yield x, sigma
        if sigma_next == 0:
            return denoised
        d = derivative(x, unconditional, sigma)
        x = euler_pair_step(x, denoised, unconditional, sigma, sigma_next, scaling)
        if before is not None:
            x = x + (d - before) * ((gamma - 1) * (sigma_next - sigma))
        before = d
    return x
