"""DPM-Solver over a whole range of noise levels, in places of its own choice. Lu et al. 2022a; see `sampler`.

Of the levels that it is given only the ends and the number count. Where they end in 0, which has no logarithm, it goes
to the least level above 0 and takes the prediction there.

The flow dx/dsigma = d is walked in -ln sigma, where a step is h long. That is the paper's lambda for models whose alpha
is 1, and the same equation holds for flow models.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from itertools import pairwise
from typing import NamedTuple

from torch import Tensor

from .sampler import Denoising, NoiseScaling, StepNoise, as_level, derivative

LEAST_STEP = 1e-4
"""Of `dpm_adaptive`, in ln sigma. A shorter one is taken whatever its error, so that every run comes to its end."""

Asking = Generator[tuple[Tensor, float], Tensor, Tensor]
TwoAsking = Generator[tuple[Tensor, float], Tensor, tuple[Tensor, Tensor]]


class _Range(NamedTuple):
    """From where to where.

    Attributes:
        steps: how many the levels stand for. is_whole: whether the prediction at `last` is wanted, not x.
    """

    first: float
    last: float
    steps: int
    is_whole: bool

    @classmethod
    def of(cls, levels: Sequence[float]) -> _Range:
        """Of two levels or more. Raises ValueError where they begin at 0."""
        if levels[0] == 0:
            raise ValueError("this sampler cannot begin at the noise level 0; begin above it, at 0.0001 say")
        is_whole = levels[-1] == 0
        return cls(levels[0], levels[-2] if is_whole else levels[-1], len(levels) - 1, is_whole)


def _level(first: float, last: float, share: float) -> float:
    """The level at a share of the way, even in ln sigma."""
    return last if share >= 1 else as_level(first * (last / first) ** share)


def _moved(x: Tensor, sigma: float, level: float, d: Tensor, change: Tensor | None = None) -> Tensor:
    """x at another level, by its direction and, where it is known, how that changes on the way, in a line."""
    moved = x + d * (level - sigma)
    if change is None or level == sigma:
        return moved
    h = math.log(sigma / level)
    return moved - change * (level * (math.expm1(h) / h - 1))


def _direction(x: Tensor, sigma: float) -> Asking:
    """dx/dsigma at x."""
    return derivative(x, (yield x, sigma), sigma)


def _by_two(x: Tensor, sigma: float, level: float, d: Tensor, d_1: Tensor, r: float) -> Tensor:
    """x a step of second order on, by the directions at its beginning and at `r` of it."""
    return x + (d + (d_1 - d) / (2 * r)) * (level - sigma)


def _step(x: Tensor, sigma: float, level: float, d: Tensor, order: int) -> TwoAsking:
    """A step of DPM-Solver-12 or -23: x by one order less, and by `order`, 2 or 3.

    `d` is the direction at x.
    """
    r = 1 / order
    early = _level(sigma, level, r)
    d_1 = yield from _direction(_moved(x, sigma, early, d), early)
    by_two = _by_two(x, sigma, level, d, d_1, r)
    if order == 2:
        return _moved(x, sigma, level, d), by_two
    late = _level(sigma, level, 2 * r)
    d_2 = yield from _direction(_moved(x, sigma, late, d, (d_1 - d) * 2), late)
    return by_two, _moved(x, sigma, level, d, (d_2 - d) / (2 * r))


def orders_for(count: int) -> list[int]:
    """The orders of the steps of DPM-Solver-fast, which make up `count` predictions."""
    threes, left = divmod(count, 3)
    return [*[3] * threes, left] if left else [*[3] * (threes - 1), 2, 1]


def dpm_fast(x: Tensor, sigmas: Tensor, step_noise: StepNoise, scaling: NoiseScaling) -> Denoising:
    """DPM-Solver-fast: as many predictions as steps are given, in steps of three where it goes, even in ln sigma."""
    if len(sigmas) < 2:
        return x
    first, last, steps, is_whole = _Range.of(sigmas.tolist())
    orders = orders_for(steps) if first != last else []
    levels = [_level(first, last, k / len(orders)) for k in range(len(orders) + 1)] if orders else [first]
    for order, (sigma, level) in zip(orders, pairwise(levels), strict=True):
        d = yield from _direction(x, sigma)
        x = _moved(x, sigma, level, d) if order == 1 else (yield from _step(x, sigma, level, d, order))[1]
    return (yield x, last) if is_whole else x


def dpm_adaptive(
    x: Tensor,
    sigmas: Tensor,
    step_noise: StepNoise,
    scaling: NoiseScaling,
    *,
    order: int = 3,
    rtol: float = 0.05,
    atol: float = 0.0078,
    h_init: float = 0.05,
    pcoeff: float = 0.0,
    icoeff: float = 1.0,
    dcoeff: float = 0.0,
    accept_safety: float = 0.81,
) -> Denoising:
    """DPM-Solver-12 or -23 with steps as long as their error allows, whatever their number is said to be.

    `rtol` and `atol` bound the difference of the two orders, relative to x and absolutely; a batch shares its steps.
    `h_init` is the first step, in ln sigma; the rest is `StepControl`'s. All attempts from one x share its prediction.
    """
    if len(sigmas) < 2:
        return x
    first, last, _, is_whole = _Range.of(sigmas.tolist())
    control = StepControl(order, pcoeff, icoeff, dcoeff, accept_safety)
    sigma, left, h, before, d = first, abs(math.log(last / first)), h_init, x, None
    while sigma != last:
        h = min(h, left)
        level = last if h == left else _level(sigma, last, h / left)
        if d is None:
            d = yield from _direction(x, sigma)
        lower, higher = yield from _step(x, sigma, level, d, order)
        allowed = (lower.abs().maximum(before.abs()) * rtol).clamp(min=atol)
        error = float(((lower - higher) / allowed).square().mean().sqrt())
        if math.isnan(error):  # x is not a number, and no step will mend it
            return higher
        is_fine, factor = control.judge(error)
        if is_fine or h <= LEAST_STEP:
            x, before, sigma, left, d = higher, lower, level, left - h, None
        h = max(h * factor, LEAST_STEP)
    return (yield x, last) if is_whole else x


class StepControl:
    """Says from a step's error whether it will do, and how much longer or shorter the next is to be.

    A PID controller: Söderlind 2003, "Digital Filters in Adaptive Time-Stepping", with the limiter of Söderlind and
    Wang 2006. The integral coefficient alone is the rule of the DPM-Solver paper.
    """

    def __init__(
        self, order: int, proportional: float, integral: float, derivative: float, accept_safety: float
    ) -> None:
        self.powers = (
            (proportional + integral + derivative) / order,
            -(proportional + 2 * derivative) / order,
            derivative / order,
        )
        self.accept_safety = accept_safety
        self._earlier: tuple[float, float] | None = None  # inverse errors of accepted steps, the newest first

    def judge(self, error: float) -> tuple[bool, float]:
        """Whether a step of this error (1 is allowed) is accepted, and the factor from its length to the next's."""
        inverse = 1 / (error + 1e-8)
        earlier = self._earlier or (inverse, inverse)
        raw = math.prod(one**power for one, power in zip((inverse, *earlier), self.powers, strict=True))
        factor = 1 + math.atan(raw - 1)
        is_fine = factor >= self.accept_safety
        if is_fine:
            self._earlier = (inverse, earlier[0])
        return is_fine, factor
