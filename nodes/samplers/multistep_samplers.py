"""Samplers that predict once a step and remember earlier predictions; see `sampler` for their shape.

The linear ones come down to one: x moves along a polynomial through the last directions dx/dsigma, integrated over
the step. They differ in the variable that it is a polynomial of, and in the order.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.polynomial import Polynomial
from numpy.polynomial.legendre import leggauss
from torch import Tensor

from .sampler import Denoising, NoiseScaling, StepNoise, derivative, steps_of

Weights = Callable[[Sequence[float], float], Sequence[float]]
"""Noise levels, the newest last, and the next level → a factor for the direction at each."""

ADAMS_BASHFORTH = ((1.0,), (-1 / 2, 3 / 2), (5 / 12, -16 / 12, 23 / 12), (-9 / 24, 37 / 24, -59 / 24, 55 / 24))
"""The coefficients for equal steps, the newest last, by the number of directions."""


def _linear(x: Tensor, sigmas: Tensor, order: int, weights: Weights) -> Denoising:
    """A linear multistep method of at most this order; the step to 0 takes the prediction as it is."""
    levels: list[float] = []
    directions: list[Tensor] = []
    for sigma, sigma_next in steps_of(sigmas):
        denoised = yield x, sigma
        if sigma_next == 0:
            return denoised
        if sigma_next == sigma:
            continue
        levels, directions = [*levels, sigma][-order:], [*directions, derivative(x, denoised, sigma)][-order:]
        for weight, direction in zip(weights(levels, sigma_next), directions, strict=True):
            x = x + direction * weight
    return x


def _lagrange(levels: Sequence[float], sigma_next: float) -> list[float]:
    """The integrals, over the step, of the Lagrange polynomials in sigma."""
    integrals = []
    for j, own in enumerate(levels):
        others = [level for k, level in enumerate(levels) if k != j]
        scale = math.prod(own - other for other in others)
        antiderivative = Polynomial.fromroots(others).integ() if others else Polynomial([0.0, 1.0])
        integrals.append(float(antiderivative(sigma_next) - antiderivative(levels[-1])) / scale)
    return integrals


def _equal_steps(levels: Sequence[float], sigma_next: float) -> list[float]:
    """The coefficients of Adams and Bashforth, as if all steps were as long as this one."""
    return [factor * (sigma_next - levels[-1]) for factor in ADAMS_BASHFORTH[len(levels) - 1]]


NODES, NODE_WEIGHTS = leggauss(16)
BETA_MIN, BETA_RANGE = 0.1, 19.9
"""Of the variance-preserving process of Song et al. 2021, whose time is the variable of `deis`."""


def _vp_time(sigma: np.ndarray | Sequence[float]) -> np.ndarray:
    """The time at which the variance-preserving process has a noise level: sigma² + 1 = exp(β_range t²/2 + β_min t)."""
    log = np.log1p(np.square(sigma))
    return (np.sqrt(BETA_MIN**2 + 2 * BETA_RANGE * log) - BETA_MIN) / BETA_RANGE


def _lagrange_in_time(levels: Sequence[float], sigma_next: float) -> list[float]:
    """The integrals, over the step in sigma, of the Lagrange polynomials in the time of the process; by quadrature."""
    half = (sigma_next - levels[-1]) / 2
    times, at = _vp_time(levels), _vp_time(levels[-1] + half * (NODES + 1))
    integrals = []
    for j, own in enumerate(times):
        others = [(at - other) / (own - other) for k, other in enumerate(times) if k != j]
        integrals.append(half * float(NODE_WEIGHTS @ np.prod([np.ones_like(at), *others], axis=0)))
    return integrals


def lms(x: Tensor, sigmas: Tensor, step_noise: StepNoise, scaling: NoiseScaling, *, order: int = 4) -> Denoising:
    """The linear multistep method in sigma: Adams and Bashforth's for steps of any length, of `order` 1 or more."""
    return (yield from _linear(x, sigmas, order, _lagrange))


def ipndm(x: Tensor, sigmas: Tensor, step_noise: StepNoise, scaling: NoiseScaling) -> Denoising:
    """Improved PNDM: Adams and Bashforth's coefficients for equal steps, order 4. Zhang and Chen 2023, table 1."""
    return (yield from _linear(x, sigmas, 4, _equal_steps))


def ipndm_v(x: Tensor, sigmas: Tensor, step_noise: StepNoise, scaling: NoiseScaling) -> Denoising:
    """Improved PNDM with coefficients for the steps as they are, which makes it `lms` of order 4."""
    return (yield from _linear(x, sigmas, 4, _lagrange))


def deis(x: Tensor, sigmas: Tensor, step_noise: StepNoise, scaling: NoiseScaling) -> Denoising:
    """tAB-DEIS, order 3: polynomials in the time of a variance-preserving process. Zhang and Chen 2023, equation 15."""
    return (yield from _linear(x, sigmas, 3, _lagrange_in_time))


def gradient_estimation(
    x: Tensor, sigmas: Tensor, step_noise: StepNoise, scaling: NoiseScaling, *, gamma: float = 2.0
) -> Denoising:
    """Euler's method with the direction drawn out past the one before: gamma d + (1 - gamma) d_before.

    Permenter and Yuan 2024, algorithm 2.
    """
    d_before = None
    for sigma, sigma_next in steps_of(sigmas):
        denoised = yield x, sigma
        if sigma_next == 0:
            return denoised
        d = derivative(x, denoised, sigma)
        estimate = d if d_before is None else d * gamma + d_before * (1 - gamma)
        x, d_before = x + estimate * (sigma_next - sigma), d
    return x
