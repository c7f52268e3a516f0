"""SA-Solver, a stochastic Adams method: a predictor, and a corrector with the same noise. Xue et al. 2023.

See `sampler`. In half the log-SNR, lambda, with predictions of x0. tau says how much noise comes in: 0 is the flow,
and 1 as much as DDPM.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.polynomial.legendre import leggauss
from torch import Tensor

from .sampler import Denoising, StepNoise

if TYPE_CHECKING:
    from .schedules import ModelSigmas

NODES, NODE_WEIGHTS = leggauss(32)


class _Known(NamedTuple):
    """A prediction and where it was made, in half the log-SNR."""

    log_snr: float
    denoised: Tensor


@dataclass(frozen=True, eq=False)
class _Step:
    """A step from x, at half a log-SNR, to another.

    Attributes:
        shrink, alpha: the factor of x, and alpha at the end. decay: 1 + tau². noise: what is added, or None.
    """

    x: Tensor
    begin: float
    end: float
    shrink: float
    alpha: float
    decay: float
    noise: Tensor | None

    def moved(self, known: Sequence[_Known]) -> Tensor:
        """x at the end, x0 being the polynomial through these predictions."""
        weights = integrals([one.log_snr for one in known], self.begin, self.end, self.decay)
        x = self.x * self.shrink
        for weight, one in zip(weights, known, strict=True):
            x = x + one.denoised * (self.alpha * weight)
        return x if self.noise is None else x + self.noise


def integrals(places: Sequence[float], begin: float, end: float, decay: float) -> list[float]:
    """Of decay exp(decay (lambda - end)), from `begin` to `end`, with each Lagrange polynomial of `places`."""
    half = (end - begin) / 2
    at = begin + half * (NODES + 1)
    weights = half * decay * NODE_WEIGHTS * np.exp(decay * (at - end))
    found = []
    for j, own in enumerate(places):
        others = [(at - other) / (own - other) for k, other in enumerate(places) if k != j]
        found.append(float(weights @ np.prod([np.ones_like(at), *others], axis=0)))
    return found


def sa_solver(
    x: Tensor,
    sigmas: Tensor,
    step_noise: StepNoise,
    scaling: ModelSigmas,
    *,
    eta: float = 1.0,
    s_noise: float = 1.0,
    start_percent: float = 0.2,
    end_percent: float = 0.8,
    predictor_order: int = 3,
    corrector_order: int = 4,
    evaluates_twice: bool = False,
) -> Denoising:
    """SA-Solver of these orders, which fall towards an end in 0. Algorithm 1 of the paper.

    tau is `eta` between two shares of the sampling range and 0 outside; `s_noise` scales the noise.
    `evaluates_twice` predicts again from each corrected x (PECE). A `corrector_order` of 0 leaves the corrector out.
    """
    levels = sigmas.tolist()
    count, ends_in_zero = len(levels) - 1, levels[-1:] == [0.0]
    highest, lowest = (scaling.percent_to_sigma(percent) for percent in (start_percent, end_percent))
    known, step = list[_Known](), None
    for i, (sigma, sigma_next) in enumerate(pairwise(levels)):
        denoised, here = (yield x, sigma), scaling.half_log_snr(sigma)
        left = count - i if ends_in_zero else count
        if step is not None and corrector_order and (sigma_next > 0 or evaluates_twice):
            x = step.moved([*known, _Known(here, denoised)][-min(corrector_order, left) :])
            if evaluates_twice:
                denoised = yield x, sigma
        if sigma_next == 0:
            return denoised
        if sigma_next == sigma:
            step = None
            continue
        known = [*known, _Known(here, denoised)][-max(predictor_order, corrector_order - 1) :]
        there = scaling.half_log_snr(sigma_next)
        tau_2 = eta**2 if lowest <= sigma_next <= highest and sigma_next < sigma else 0.0
        reach = tau_2 * (there - here)
        noise = None
        if reach > 0 and s_noise > 0:
            noise = step_noise.fresh() * (sigma_next * math.sqrt(-math.expm1(-2 * reach)) * s_noise)
        shrink = sigma_next / sigma * math.exp(-reach)
        step = _Step(x, here, there, shrink, scaling.alpha(sigma_next), 1 + tau_2, noise)
        x = step.moved(known[-min(predictor_order, left - 1 if ends_in_zero else left) :])
    return x
