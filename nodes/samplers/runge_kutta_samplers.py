"""Samplers that predict several times within a step and take nothing over to the next; see `sampler`."""

from __future__ import annotations

import itertools
import math

from torch import Tensor

from .sampler import Denoising, NoiseScaling, StepNoise, ancestral_sigmas, as_level, derivative, steps_of


def dpm_2(x: Tensor, sigmas: Tensor, step_noise: StepNoise, scaling: NoiseScaling) -> Denoising:
    """DPM-Solver-2: the direction at the geometric mean of two noise levels. Lu et al. 2022a, algorithm 1."""
    return (yield from dpm_2_ancestral(x, sigmas, step_noise, scaling, eta=0.0))


def dpm_2_ancestral(
    x: Tensor, sigmas: Tensor, step_noise: StepNoise, scaling: NoiseScaling, *, eta: float = 1.0, s_noise: float = 1.0
) -> Denoising:
    """`dpm_2` to the level down, then fresh noise: `eta` is how much (0 none, 1 as DDPM), `s_noise` scales it."""
    for sigma, sigma_next in steps_of(sigmas):
        denoised = yield x, sigma
        sigma_down, sigma_up = ancestral_sigmas(sigma, sigma_next, eta, scaling)
        if sigma_down == 0:
            x = denoised
            continue
        middle = as_level(math.sqrt(sigma * sigma_down))
        x_middle = x + derivative(x, denoised, sigma) * (middle - sigma)
        x = x + derivative(x_middle, (yield x_middle, middle), middle) * (sigma_down - sigma)
        if eta > 0:
            shrink = scaling.alpha(sigma_next) / scaling.alpha(sigma_down)
            x = x * shrink + step_noise.fresh() * (sigma_up * s_noise)
    return x


def heunpp2(x: Tensor, sigmas: Tensor, step_noise: StepNoise, scaling: NoiseScaling) -> Denoising:
    """Heun's method with a look at two levels ahead, each direction weighed by its level's share of the first one.

    Three predictions a step; two in the last but one, one in the last.
    """
    levels = sigmas.tolist()
    for i in range(len(levels) - 1):
        visited = [levels[i], *(level for level in levels[i + 1 : i + 3] if level > 0)]
        directions, x_ahead = [derivative(x, (yield x, levels[i]), levels[i])], x
        for before, level in itertools.pairwise(visited):
            x_ahead = x_ahead + directions[-1] * (level - before)
            directions.append(derivative(x_ahead, (yield x_ahead, level), level))
        shares = [level / (levels[0] * len(visited)) for level in visited[1:]]
        direction = directions[0] * (1 - sum(shares))
        for share, d in zip(shares, directions[1:], strict=True):
            direction = direction + d * share
        x = x + direction * (levels[i + 1] - levels[i])
    return x
