"""UniPC, a predictor with a corrector that costs no prediction of its own. Zhao et al. 2023, algorithms 5 and 6."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from torch import Tensor

from .sampler import Denoising, NoiseScaling, StepNoise, as_level

LAST_LEVEL = as_level(0.001)
"""In place of 0, which has no log-SNR."""
MAX_ORDER = 3

Variant = Literal["bh1", "bh2"]


@dataclass(frozen=True, eq=False)
class _Known:
    """A prediction and where it was made, in half the log-SNR."""

    log_snr: float
    denoised: Tensor


@dataclass(frozen=True, eq=False)
class _Step:
    """One step in half the log-SNR, from x at a level to the next.

    Attributes:
        known: predictions, the one at the step's beginning last. order: how many of them count.
    """

    x: Tensor
    sigma: float
    sigma_next: float
    known: Sequence[_Known]
    order: int
    scaling: NoiseScaling
    variant: Variant

    @property
    def h(self) -> float:
        return self.scaling.half_log_snr(self.sigma_next) - self.known[-1].log_snr

    def predicted(self) -> Tensor:
        """x at the next level."""
        ratios, slopes = self._slopes()
        weights = [0.5] if self.order == 2 else self._weights(ratios)
        return self._moved(weights, slopes)

    def corrected(self, denoised: Tensor) -> Tensor:
        """x at the next level, now that the prediction there is known."""
        ratios, slopes = self._slopes()
        weights = [0.5] if self.order == 1 else self._weights([*ratios, 1.0])
        return self._moved(weights, [*slopes, denoised - self.known[-1].denoised])

    def _slopes(self) -> tuple[list[float], list[Tensor]]:
        """Of earlier predictions: where they are, in steps, and how fast the prediction changed since."""
        now, h = self.known[-1], self.h
        earlier = self.known[-self.order : -1][::-1]
        ratios = [(one.log_snr - now.log_snr) / h for one in earlier]
        slopes = [(one.denoised - now.denoised) / ratio for one, ratio in zip(earlier, ratios, strict=True)]
        return ratios, slopes

    def _weights(self, ratios: Sequence[float]) -> list[float]:
        """For slopes at these places: the solution of R rho = b, equations 9 to 11 of the paper."""
        if not ratios:
            return []
        z, factorial, phi = -self.h, 1.0, math.expm1(-self.h) / -self.h - 1
        right = []
        for k in range(1, len(ratios) + 1):
            factorial *= k
            right.append(phi * factorial / self._b)
            phi = phi / z - 1 / math.factorial(k + 1)
        rows = np.vander(ratios, increasing=True).T
        return [float(weight) for weight in np.linalg.solve(rows, right)]

    @property
    def _b(self) -> float:
        return -self.h if self.variant == "bh1" else math.expm1(-self.h)

    def _moved(self, weights: Sequence[float], slopes: Sequence[Tensor]) -> Tensor:
        alpha = self.scaling.alpha(self.sigma_next)
        factor = -alpha * math.expm1(-self.h)
        x = self.x * (self.sigma_next / self.sigma) + self.known[-1].denoised * factor
        for weight, slope in zip(weights, slopes, strict=True):
            x = x - slope * (alpha * self._b * weight)
        return x


def uni_pc(
    x: Tensor, sigmas: Tensor, step_noise: StepNoise, scaling: NoiseScaling, *, variant: Variant = "bh1"
) -> Denoising:
    """UniPC on predictions of x0, of order 3 at most, less at both ends.

    `variant`: the function B(h), `"bh1"` is h and `"bh2"` e^h - 1. The last level 0 becomes 0.001.
    """
    levels = [level if level > 0 else LAST_LEVEL for level in sigmas.tolist()]
    steps, known, step = len(levels) - 1, list[_Known](), None
    highest = max(min(MAX_ORDER, steps - 1), 1)
    for i in range(steps):
        denoised = yield x, levels[i]
        if step is not None:
            x = step.corrected(denoised)
        if levels[i + 1] == levels[i]:
            step = None
            continue
        known = [*known, _Known(scaling.half_log_snr(levels[i]), denoised)][-MAX_ORDER:]
        order = min(len(known), highest, steps - i)
        step = _Step(x, levels[i], levels[i + 1], known, order, scaling, variant)
        x = step.predicted()
    return x
